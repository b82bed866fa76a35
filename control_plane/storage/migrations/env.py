"""Runs the migrations for ``control_plane.storage.migrate``, which hands over URL and role password as attributes."""

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from control_plane.storage.roles import ensure_roles

# Any fixed number: it names the right to migrate this database ("muster").
MIGRATION_LOCK = 0x6D7573746572
# A migration that cannot get its table lock gives up, rather than queueing every other transaction behind it.
LOCK_TIMEOUT = "10s"


def run() -> None:
    attributes = context.config.attributes
    if "url" not in attributes:
        raise SystemExit("run `muster migrate`: the URL comes from its settings, not from alembic's configuration")
    engine = create_engine(attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        # For the session, so that a step that must commit in between keeps it. Closing the connection gives it back.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        ensure_roles(connection, attributes["role_password"])
        connection.commit()
        _migrate(connection)


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


run()
