"""Muster's control plane: tenancy, tokens, directory, audit and the lease queue behind one gRPC server."""
