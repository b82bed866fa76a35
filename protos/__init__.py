"""The wire contract: .proto sources with their generated modules beside them."""
