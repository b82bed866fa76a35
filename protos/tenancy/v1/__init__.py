"""Tenants, tokens and targets. Version 1."""
