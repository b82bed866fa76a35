"""PURE, published to the edges. The SCIM 2.0 language: no I/O, no clock, no wire format."""
