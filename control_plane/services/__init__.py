"""Use cases: the only layer that combines storage, queue and rules."""
