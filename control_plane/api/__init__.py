"""gRPC in: servicers that translate, and the interceptors around them."""
