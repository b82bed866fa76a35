"""Users and groups. Version 1."""
