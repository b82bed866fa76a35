"""What surrounds every RPC, outermost first: request id, metrics, errors, authentication, policy, validation."""
