"""Calls that do nothing, and streams that last: nobody takes the control plane away from the others with them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.api import server
from control_plane.api.interceptors import lasting, open_services, rates, wrapping
from protos.audit.v1 import audit_pb2
from protos.identity.v1 import identity_pb2
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused
from tests.wire.identities import AUDITOR, OPERATOR, change, person

LIST_TENANTS = "/muster.tenancy.v1.TenantService/ListTenants"


async def code_of(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(5):
        return (await refused(call)).code


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_who_never_sends_the_request_is_asked_for_a_credential_first(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapping, "MESSAGE_S", 0.05)
    half: Any = plane.admin.channel.stream_unary(LIST_TENANTS)
    assert await code_of(half(never())) is grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(half(never(), metadata=plane.admin.metadata())) is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**dict(server.OPTIONS), server.HANDSHAKE: 50}
    monkeypatch.setattr(server, "OPTIONS", tuple(given.items()))


@pytest.mark.parametrize("said", [b"", b"PRI * HTTP/2.0\r\n"])
async def test_a_connection_that_never_begins_is_closed(impatient: None, plane: Plane, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(*plane.address.split(":"))
    writer.write(said)
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()


async def test_a_call_that_ends_without_a_request_is_refused(plane: Plane) -> None:
    empty: Any = plane.admin.channel.stream_unary(LIST_TENANTS)
    assert await code_of(empty(iter(()), metadata=plane.admin.metadata())) is grpc.StatusCode.INVALID_ARGUMENT


async def test_open_services_hold_few_calls_of_each_address(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_services, "FROM_ONE", 2)
    health = health_pb2_grpc.HealthStub(plane.admin.channel)
    watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
    for one in watching:
        assert (await one.read()).status == health_pb2.HealthCheckResponse.SERVING
    assert await code_of(health.Watch(health_pb2.HealthCheckRequest()).read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Another method has places of its own, and what ends makes room.
    await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
    watching[0].cancel()
    async with asyncio.timeout(5):
        while True:
            try:
                await health.Watch(health_pb2.HealthCheckRequest()).read()
            except grpc.aio.AioRpcError:
                continue
            break


async def test_a_caller_has_so_many_streams_at_a_time(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_STREAMS", 1)
    tenant = await plane.tenant()
    _, one = await person(plane, AUDITOR)
    _, other = await person(plane, AUDITOR)
    request = audit_pb2.TailAuditEventsRequest(tenant_id=tenant, after_seq=0)
    first = one.audit.TailAuditEvents(request, metadata=one.metadata())
    await first.read()
    again = one.audit.TailAuditEvents(request, metadata=one.metadata())
    assert await code_of(again.read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Others have streams of their own.
    await other.audit.TailAuditEvents(request, metadata=other.metadata()).read()


@pytest.mark.parametrize("what", ["disabled", "demoted", "key revoked"])
async def test_a_stream_ends_with_its_credential(plane: Plane, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(lasting, "EVERY_S", 0.02)
    tenant = await plane.tenant()
    made, someone = await person(plane, OPERATOR)
    request = audit_pb2.TailAuditEventsRequest(tenant_id=tenant, after_seq=0)
    stream = someone.audit.TailAuditEvents(request, metadata=someone.metadata())
    await stream.read()
    match what:
        case "disabled":
            await change(plane, made.id, disabled=True)
        case "demoted":
            await change(plane, made.id, role=AUDITOR)
        case _:
            keys = await someone.api_keys.ListApiKeys(
                identity_pb2.ListApiKeysRequest(), metadata=someone.metadata(), timeout=5
            )
            revoke = identity_pb2.RevokeApiKeyRequest(id=keys.api_keys[0].id)
            await someone.api_keys.RevokeApiKey(revoke, metadata=someone.metadata(), timeout=5)

    async def rest() -> None:
        while True:
            await stream.read()

    assert await code_of(rest()) is grpc.StatusCode.UNAUTHENTICATED
