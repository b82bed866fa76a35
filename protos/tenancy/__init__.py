"""Tenants, tokens and targets."""
