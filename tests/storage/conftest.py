"""Fixtures of the storage tests."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.world import World, make_world

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, template_database: Database) -> Iterator[Database]:
    """One database for all tests of a module: each works in tenants of its own, which is what is tested here."""
    name = f"muster_storage_{next(_numbers)}"
    yield postgres_server.create(name, template_database.name)
    postgres_server.drop(name)


@contextmanager
def filled(server: PostgresServer, template: Database, name: str, fill: str) -> Iterator[Database]:
    """Give a new database, filled past all foreign keys by the statements ``fill``, whose statistics are fresh."""
    database = server.create(name, template.name)
    server.execute_in(database, "SET session_replication_role = replica;" + fill, "ANALYZE")
    yield database
    server.drop(name)


@pytest_asyncio.fixture
async def world(storage: Storage) -> World:
    """A tenant with one active target."""
    return await make_world(storage)
