"""How messages come and go: topology, the bus over RabbitMQ or the embedded broker, the worker's cycle."""
