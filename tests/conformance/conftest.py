"""One running service for all conformance tests, and a fresh tenant for each."""

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import Idp
from tests.conformance.service import ADMIN, Service
from tests.conformance.site import Ground

DATABASE = "muster_conformance"

NewIdp = Callable[..., Idp]


@pytest.fixture(scope="session")
def service(ground: Ground) -> Iterator[Service]:
    """A started control plane and gateway."""
    with ground.site(DATABASE) as one:
        yield one


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
