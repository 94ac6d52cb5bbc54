"""Who moves the money: one protocol, one adapter a file. Adapters never import each other."""
