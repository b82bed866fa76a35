"""Makes the database inside the embedded PostgreSQL: what an operator's CREATE DATABASE is elsewhere."""

import psycopg
from psycopg import sql


async def ensure_database(superuser_url: str, name: str) -> None:
    """Create database ``name`` if it is not there."""
    connection = await psycopg.AsyncConnection.connect(superuser_url, autocommit=True)
    async with connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
