"""Generated: the rules language of protovalidate."""
