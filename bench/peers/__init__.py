"""The same work as a competent user of each library writes it from its documentation.

Every worker takes a command, remembers its id, calls the gateway, books the payment in one transaction, publishes an
event and waits for the broker's confirm, and only then acknowledges the command. Queues are quorum queues.
"""
