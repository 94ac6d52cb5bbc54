"""How fast the service is, beside what one would write with the usual libraries: `make bench`."""
