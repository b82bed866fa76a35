"""One running service for all conformance tests, and a fresh tenant for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control_plane.devstack.valkey import EmbeddedValkey
from tests.conformance.admin import Admin
from tests.conformance.client import Idp
from tests.conformance.service import ADMIN, Service
from tests.fixtures.postgres import Database, PostgresServer
from tests.fixtures.valkey import QueueServer, free_port

DATABASE = "muster_conformance"

NewIdp = Callable[..., Idp]


@pytest.fixture(scope="session")
def service(
    postgres_server: PostgresServer, template_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A started control plane and gateway, on a database and a Valkey of their own."""
    folder = tmp_path_factory.mktemp("conformance")
    queue = QueueServer(EmbeddedValkey(folder / "valkey", free_port()))
    queue.start()
    database = postgres_server.create(DATABASE, template_database.name)
    one = Service(Path(folder), database.app_url, queue.url)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        queue.stop()
        postgres_server.drop(DATABASE)


@pytest.fixture(scope="session")
def admin(service: Service) -> Iterator[Admin]:
    """The administrator of the service."""
    one = Admin(service.control_plane, ADMIN, service.scim_base)
    yield one
    one.close()


@pytest.fixture
def new_idp(admin: Admin) -> Iterator[NewIdp]:
    """A function that makes a tenant: ``new_idp("entra", replace_creates=False)``."""
    made: list[Idp] = []

    def make(provider: str = "generic", **switches: bool) -> Idp:
        made.append(admin.idp(provider, **switches))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def idp(new_idp: NewIdp) -> Idp:
    """The holder of the token of an empty tenant with the generic preset."""
    return new_idp()
