"""The service as its neighbours see it: other libraries, other processes, only the wire contract."""
