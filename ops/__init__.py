"""How it is run: settings, logs, the `payments` command line."""
