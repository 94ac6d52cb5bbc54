"""What waits for a person, found by real handlers in real books."""
