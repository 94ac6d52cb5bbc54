"""The runbook, tried: its commands exist, and each was typed against the fault it is for."""
