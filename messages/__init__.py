"""What is said: money, ids, commands, events and the envelope they travel in. Imports nothing else of ours."""
