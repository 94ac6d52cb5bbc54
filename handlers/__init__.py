"""What we do about it: pure decisions. No I/O, no clock, no chance."""
