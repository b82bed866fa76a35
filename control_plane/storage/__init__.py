"""PostgreSQL, the only truth: schema, row-level security, transactions and every SQL statement of Muster."""
