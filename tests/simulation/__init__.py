"""A deterministic simulation of crashes at the money boundary: one seed decides everything that happens.

The real handlers, the real ledger and the real cycle, among a broker, a gateway and a clock that are made up. Every
commit, publish, confirm, ack and call is an edge at which a worker can die, be overtaken, or lose its line.
"""
