"""PURE. Muster's own rules: no I/O, no clock, no wire format."""
