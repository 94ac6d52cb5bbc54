"""Neighbours of the payment service, to try it with and to begin from. They import nothing of it."""
