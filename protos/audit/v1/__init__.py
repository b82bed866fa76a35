"""The audit trail. Version 1."""
