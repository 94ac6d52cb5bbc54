"""The ingestor as it runs in earnest: a process on a port of its own, real signatures, both brokers."""
