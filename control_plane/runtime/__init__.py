"""Published: what every process shares. Logs, clock, request context, shutdown, metrics endpoint, settings."""
