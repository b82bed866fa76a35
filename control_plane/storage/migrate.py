"""Brings a database to the schema of this version."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

# Alembic keeps its context in a module: one at a time in a process. Between processes a lock in the database decides.
_alembic = threading.Lock()
MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(owner_url: str, role_password: str | None) -> None:
    """Create the runtime roles and apply every missing migration, as the user of ``owner_url``.

    That user owns the tables afterwards, and needs CREATEROLE if the roles do not exist yet. Safe to run many times
    and from many places at once: one works, the others wait and find nothing left to do. Blocks: call it in a thread.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = make_url(owner_url).set(drivername="postgresql+psycopg")
    config.attributes["role_password"] = role_password
    with _alembic:
        command.upgrade(config, "head")
