"""The neighbours in `examples/`, beside a real worker, on a real RabbitMQ."""
