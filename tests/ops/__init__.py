"""How the service is run and documented."""
