"""`payments doctor`: looks a deployment over, point by point, and says of each whether it is well and what to do."""
