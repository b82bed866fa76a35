"""Operators and API keys. Version 1."""
