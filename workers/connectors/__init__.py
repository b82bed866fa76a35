"""How a worker speaks to target apps: one connector for each kind of target."""
