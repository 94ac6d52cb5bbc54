"""The ledger on both databases: what it keeps, what it refuses, what it survives, and what verification finds."""
