"""A service on a database and a Valkey of its own, for a session or a module of tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.devstack.valkey import EmbeddedValkey
from tests.conformance.service import Service
from tests.fixtures.postgres import Database, PostgresServer
from tests.fixtures.valkey import QueueServer, free_port


@dataclass(frozen=True, slots=True)
class Ground:
    """Where sites are built: the run's PostgreSQL, the migrated template, folders."""

    server: PostgresServer
    template: Database
    folders: pytest.TempPathFactory

    @contextmanager
    def site(self, name: str, gateways: int = 1, more: dict[str, dict[str, str]] | None = None) -> Iterator[Service]:
        """Start a service on a new database ``name``; stop it and drop the database at the end."""
        folder = Path(self.folders.mktemp(name))
        queue = QueueServer(EmbeddedValkey(folder / "valkey", free_port()))
        queue.start()
        database = self.server.create(name, self.template.name)
        one = Service(folder, database.app_url, queue.url, gateways=gateways, more=more or {})
        try:
            one.start()
            yield one
        finally:
            one.stop()
            queue.stop()
            self.server.drop(name)


@pytest.fixture(scope="session")
def ground(
    postgres_server: PostgresServer, template_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Ground:
    """The run's engines, to build sites on."""
    return Ground(postgres_server, template_database, tmp_path_factory)
