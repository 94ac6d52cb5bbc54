"""Tests of the decisions: every row of the state tables, and what must hold whatever happens."""
