"""Row 25: the gRPC port itself: sizes, deadlines, numbers of streams, unknown methods. TLS: tests/wire/test_tls.py."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest

from control_plane.api.policy import POLICY
from control_plane.api.server import MAX_CONCURRENT_RPCS
from control_plane.client.names import MAX_MESSAGE_BYTES
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.conformance.service import ADMIN, GATEWAY, WORKER, Service
from tests.fixtures.postgres import PostgresServer
from tests.hardening.calls import call
from tests.hardening.conftest import DATABASE
from tests.hardening.sockets import until

Record = Callable[[str, object], None]
TENANTS, TOKENS = "/muster.tenancy.v1.TenantService/", "/muster.tenancy.v1.TokenService/"
TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED
# Each connection may have 500 calls at a time.
CONNECTIONS, STREAMS_OF_EACH = 3, 450


@pytest.fixture
def channel(site: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(site.control_plane) as one:
        yield one


@pytest.mark.row(25)
@pytest.mark.parametrize("token", ["", ADMIN])
def test_a_message_above_4_mib_is_not_read(channel: grpc.Channel, token: str) -> None:
    said = call(channel, TENANTS + "ListTenants", token, b"\0" * (MAX_MESSAGE_BYTES + 1))
    # A stranger may be sent away before that is noticed.
    assert said.code is TOO_MUCH or (not token and said.code is grpc.StatusCode.UNAUTHENTICATED)
    assert call(channel, TENANTS + "ListTenants", ADMIN, {}).code is grpc.StatusCode.OK


@pytest.mark.row(25)
def test_without_a_deadline_the_servers_holds(
    channel: grpc.Channel, postgres_server: PostgresServer, record_property: Record
) -> None:
    """Somebody locks the table, so that the call cannot end by itself."""
    name = TENANTS + "TakePermits"
    limit_s = POLICY[name].deadline_s
    assert limit_s is not None
    take: Any = channel.unary_unary(name)
    request = pb.TakePermitsRequest(tenant_id=str(uuid4()), want=1).SerializeToString()
    with psycopg.connect(postgres_server.engine.superuser_url(DATABASE)) as connection:
        connection.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            take(request, metadata=(("authorization", f"Bearer {GATEWAY}"),))
        took = time.monotonic() - began
        connection.rollback()
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    record_property("figure", f"a call without a deadline ended after {took:.1f} s, of {limit_s:g}")


@pytest.mark.row(25)
def test_an_unknown_method_is_like_a_forbidden_one(channel: grpc.Channel) -> None:
    for token in ("", "x" * 40):
        answers = {
            (err.code(), err.details())
            for name in (TENANTS + "ListTenants", TENANTS + "DropEverything", "/no.such.v1.Service/Thing")
            for err in [refusal(channel, name, token)]
        }
        assert len(answers) == 1
        assert answers.pop()[0] is grpc.StatusCode.UNAUTHENTICATED
    # Who is somebody, but may not call this.
    assert refusal(channel, TENANTS + "ListTenants", WORKER).code() is grpc.StatusCode.PERMISSION_DENIED


def refusal(channel: grpc.Channel, name: str, token: str) -> Any:
    method: Any = channel.unary_unary(name)
    with pytest.raises(grpc.RpcError) as refused:
        method(b"", metadata=(("authorization", f"Bearer {token}"),) if token else (), timeout=10)
    return refused.value


@asynccontextmanager
async def watchers(site: Service) -> AsyncIterator[list[Any]]:
    """Open streams that nobody ends, with a gateway's token: it has no limit of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(CONNECTIONS):
            channel = grpc.aio.insecure_channel(site.control_plane, options=options)
            await stack.enter_async_context(channel)
            method: Any = channel.unary_stream(TOKENS + "WatchTokens")
            metadata = (("authorization", f"Bearer {GATEWAY}"),)
            streams += [method(b"", metadata=metadata) for _ in range(STREAMS_OF_EACH)]
        yield streams


async def first_word(stream: Any) -> grpc.StatusCode:
    try:
        await stream.read()
    except grpc.aio.AioRpcError as err:
        return err.code()
    return grpc.StatusCode.OK


@pytest.mark.row(25)
async def test_streams_are_bounded_and_the_rest_is_told(
    site: Service, channel: grpc.Channel, record_property: Record
) -> None:
    async with watchers(site) as streams, asyncio.timeout(30):
        codes = await asyncio.gather(*(first_word(one) for one in streams))
    told = codes.count(TOO_MUCH)
    record_property("figure", f"of {len(streams)} streams at once {told} were told RESOURCE_EXHAUSTED")
    # One that is refused while the next is on its way may be reset instead.
    assert set(codes) <= {grpc.StatusCode.OK, TOO_MUCH, grpc.StatusCode.CANCELLED}
    assert told > 0
    assert codes.count(grpc.StatusCode.OK) <= MAX_CONCURRENT_RPCS
    await asyncio.to_thread(until, lambda: call(channel, TENANTS + "ListTenants", ADMIN, {}).code is grpc.StatusCode.OK)
