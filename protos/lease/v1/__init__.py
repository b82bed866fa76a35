"""The worker stream. Version 1."""
