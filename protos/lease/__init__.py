"""The worker stream."""
