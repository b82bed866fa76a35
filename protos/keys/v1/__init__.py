"""Encryption keys. Version 1."""
