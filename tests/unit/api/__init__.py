"""The gRPC layer, without a server."""
