"""A control plane and two gateways as processes, with short deadlines, for all hardening tests; tenants to attack."""

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import Idp
from tests.conformance.service import ADMIN, Service
from tests.conformance.site import Ground

DATABASE = "muster_hardening"
# Shorter than the defaults, so that the tests are; the defaults are held by tests/rules and docs/hardening.md.
HEADER_TIMEOUT_S, BODY_TIMEOUT_S = 1.0, 2.0


@pytest.fixture(scope="session")
def site(ground: Ground) -> Iterator[Service]:
    """The site under attack."""
    settings = {
        # Hundreds of slow clients come from one address here.
        "MUSTER_GATEWAY_MAX_CONNECTIONS_PER_SOURCE": "1500",
        "MUSTER_GATEWAY_HEADER_TIMEOUT_S": str(HEADER_TIMEOUT_S),
        "MUSTER_GATEWAY_BODY_TIMEOUT_S": str(BODY_TIMEOUT_S),
    }
    with ground.site(DATABASE, gateways=2, more={"gateway": settings}) as one:
        yield one


@pytest.fixture(scope="session")
def admin(site: Service) -> Iterator[Admin]:
    """Whoever has the admin token."""
    one = Admin(site.control_plane, ADMIN, site.scim_base)
    yield one
    one.close()


@pytest.fixture
def new_idp(admin: Admin) -> Iterator[Callable[[], Idp]]:
    """A function that makes a tenant and returns the holder of its token."""
    made: list[Idp] = []

    def make() -> Idp:
        made.append(admin.idp())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def idp(new_idp: Callable[[], Idp]) -> Idp:
    """The holder of the token of an empty tenant."""
    return new_idp()


@pytest.fixture(scope="session")
def worker(site: Service) -> str:
    """The name of a worker of the site, which gives up on a call after a second."""
    site.more["worker"] = {"MUSTER_WORKER_CALL_TIMEOUT_S": "1"}
    site.add_worker("worker-1")
    return "worker-1"
