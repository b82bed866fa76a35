"""Migrations: once, whoever runs them and how often; what they make is what the code believes."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from control_plane.storage.migrate import migrate
from control_plane.storage.roles import RoleTooPowerfulError
from control_plane.storage.schema import metadata
from tests.fixtures.postgres import OWNER, Database, PostgresServer

NAME = "muster_test_migrate"


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database without any table."""
    postgres_server.execute(f"CREATE DATABASE {NAME} OWNER {OWNER}")
    yield postgres_server.database(NAME)
    postgres_server.drop(NAME)


def test_two_at_once_do_not_collide(empty: Database) -> None:
    program = "import sys; from control_plane.storage.migrate import migrate; migrate(sys.argv[1], None)"
    runs = [
        subprocess.Popen([sys.executable, "-c", program, empty.owner_url], stderr=subprocess.PIPE) for _ in range(2)
    ]
    threads = [threading.Thread(target=migrate, args=(empty.owner_url, None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.communicate(timeout=60)[1] for run in runs] == [b"", b""]
    with psycopg.connect(empty.superuser_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert connection.execute("SELECT epoch FROM queue_state").fetchall() == [(1,)]


def test_again_changes_nothing(database: Database) -> None:
    migrate(database.owner_url, None)


def test_the_owner_needs_no_superuser(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.engine.superuser_url()) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = %s", (OWNER,)
        ).fetchone()
    assert found == (False, False)


def test_the_tables_are_those_that_the_code_believes_in(database: Database) -> None:
    engine = create_engine(database.superuser_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": known, "compare_type": True, "include_object": columns_only}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def known(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether Core statements use this table."""
    return kind != "table" or name in metadata.tables


def columns_only(_object: object, _name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    """Leave indexes and keys to the migration: Core does not need to know them."""
    return kind in ("table", "column")


def test_a_password_is_stored_hashed(database: Database) -> None:
    migrate(database.owner_url, "correct horse")
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname ~ '^muster_(app|batch)$'").fetchall()
    assert len(rows) == 2
    assert all(str(row[0]).startswith("SCRAM-SHA-256$") for row in rows)


def test_a_role_that_could_ignore_the_policies_is_refused(postgres_server: PostgresServer, database: Database) -> None:
    postgres_server.execute("ALTER ROLE muster_app BYPASSRLS")
    try:
        with pytest.raises(RoleTooPowerfulError):
            migrate(database.owner_url, None)
    finally:
        postgres_server.execute("ALTER ROLE muster_app NOBYPASSRLS")
