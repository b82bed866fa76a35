"""Row 15: an address that a tenant chose leads nowhere that only we can reach: not when saved, not when connecting."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from control_plane.outgoing.guard import Guard
from control_plane.runtime.clock import SystemClock
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.unit.outgoing.test_guard import MALFORMED, ODD_NUMBERS, PRIVATE
from tests.web.test_scim_connector import FreePermit
from tests.wire.conftest import Refusal, refused
from workers.connectors.base import Unreachable
from workers.connectors.scim import ScimConnector
from workers.connectors.scim_http import ScimClient
from workers.messages import ScimTarget

PUBLIC = "93.184.216.34"
FIELD = "scim.base_url"


@pytest_asyncio.fixture
async def plane(database: Database, queue_url: str) -> AsyncIterator[Plane]:
    """A control plane as it comes: no private network is allowed."""
    async with running_plane(settings(database, queue_url, allowed_networks="")) as one:
        yield one


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that lets names under .example resolve to one address after the other, the last for ever."""
    real, left = asyncio.base_events.BaseEventLoop.getaddrinfo, list[str]()

    async def getaddrinfo(loop: Any, host: str, port: int, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return await real(loop, host, port, **options)
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)
    return lambda *addresses: left.extend(addresses)


async def create(plane: Plane, tenant: str, url: str) -> str:
    """Return the id of a new target."""
    config = pb.ScimTargetConfig(base_url=url, bearer_token="t" * 20)
    request = pb.CreateTargetRequest(tenant_id=tenant, display_name="app", scim=config)
    return (await plane.admin.targets.CreateTarget(request, metadata=plane.admin.metadata(), timeout=10)).target.id


async def update(plane: Plane, tenant: str, target: str, url: str) -> None:
    request = pb.UpdateTargetRequest(
        tenant_id=tenant, id=target, scim=pb.ScimTargetConfig(base_url=url), update_mask=FieldMask(paths=[FIELD])
    )
    await plane.admin.targets.UpdateTarget(request, metadata=plane.admin.metadata(), timeout=10)


def check(answer: Refusal, url: str) -> None:
    assert (answer.code, set(answer.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, {FIELD}), (url, answer.text)
    # What a name resolves to is not told: the answers would be a map of the inside.
    assert PUBLIC not in answer.text


@pytest.mark.row(15)
async def test_a_private_address_is_refused_when_saved_however_it_is_written(
    plane: Plane, names: Callable[..., None]
) -> None:
    names(PUBLIC)
    tenant = await plane.tenant()
    target = await create(plane, tenant, "https://app.example/scim/v2")
    for url in (*PRIVATE, *ODD_NUMBERS, *MALFORMED, "http://localhost/", "http://LOCALHOST:8080/"):
        check(await refused(create(plane, tenant, url)), url)
        check(await refused(update(plane, tenant, target, url)), url)
    asked = pb.ListTargetsRequest(tenant_id=tenant)
    kept = await plane.admin.targets.ListTargets(asked, metadata=plane.admin.metadata(), timeout=10)
    assert [one.scim.base_url for one in kept.targets] == ["https://app.example/scim/v2"]


@pytest.mark.row(15)
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "fd00:ec2::254"])
async def test_a_name_that_resolves_to_a_private_address_is_refused_when_saved(
    plane: Plane, names: Callable[..., None], address: str
) -> None:
    names(address)
    check(await refused(create(plane, await plane.tenant(), "https://inside.example/scim")), address)


@pytest.mark.row(15)
async def test_a_name_that_turns_private_afterwards_is_refused_when_connecting(
    plane: Plane, names: Callable[..., None]
) -> None:
    """DNS rebinding: public for whoever checks, loopback for whoever connects."""
    names(PUBLIC, "127.0.0.1")
    met = asyncio.Event()

    async def trap(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        writer.close()

    async with await asyncio.start_server(trap, "127.0.0.1", 0) as server:
        url = f"http://rebind.example:{server.sockets[0].getsockname()[1]}"
        assert await create(plane, await plane.tenant(), url)
        client = ScimClient(ScimTarget(url, "secret"), SystemClock(), lambda *_: None, Guard())
        connector = ScimConnector(client)
        try:
            with pytest.raises(Unreachable) as refusal:
                await connector.open(FreePermit())
        finally:
            await connector.close()
    assert not met.is_set()
    assert "127.0.0.1" not in str(refusal.value)
