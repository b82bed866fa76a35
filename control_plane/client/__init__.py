"""Published: the typed gRPC client of the control plane, for edges, the CLI and internal services."""
