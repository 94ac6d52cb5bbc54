"""Dead letters: drained from their queues into the database, looked at there, mended, and sent back."""
