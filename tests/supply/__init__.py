"""What Muster is made of: its bill of materials, and the audit of it (docs/supply-chain.md)."""
