"""Tests of the ledger's pure values: journals and states."""
