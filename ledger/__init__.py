"""What we write down: states, double-entry books, inbox, outbox, audit chain."""
