"""Cases: what waits for a person, who has it, and how it was resolved."""
