"""Gateways as programs of their own, with faults on demand: for tests, and for people who try the service.

They stand where Stripe, Adyen and PayPal stand in production and share no code with the service.
"""
