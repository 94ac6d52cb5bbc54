"""The benchmark counts what was done, and only that."""
