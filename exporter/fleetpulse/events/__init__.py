"""What happens in the service: a durable log of it, and the handlers that are told."""
