"""What gateways tell us unasked: the one door that is open to the outside, and as small as it can be."""
