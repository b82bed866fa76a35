"""A network that cuts or swallows, between a control plane and those who hang on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import ADMIN, WORKER, Plane, running_plane, settings
from tests.fixtures.postgres import Database, PostgresServer
from tests.fixtures.proxy import Proxy
from tests.wire.test_directory import USER
from tests.wire.test_leases import Worker, connected, done, pending, with_target


@pytest.fixture
async def proxy(plane: Plane, make_proxy: Callable[[int], Awaitable[Proxy]]) -> Proxy:
    """A proxy in front of the control plane."""
    return await make_proxy(plane.running.port)


@pytest.fixture
async def far(plane: Plane, proxy: Proxy) -> AsyncIterator[Plane]:
    """The same control plane, reached through the proxy."""
    async with open_channel(f"127.0.0.1:{proxy.port}") as channel:
        yield replace(plane, admin=ControlPlane(channel, ADMIN), worker=ControlPlane(channel, WORKER))


async def test_a_cut_channel_reconnects_by_itself(far: Plane, proxy: Proxy) -> None:
    request = tenancy_pb2.ListTenantsRequest()
    await far.admin.tenants.ListTenants(request, metadata=far.admin.metadata(), timeout=5)
    proxy.cut()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await far.admin.tenants.ListTenants(request, metadata=far.admin.metadata(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    proxy.heal()
    await far.admin.tenants.ListTenants(request, metadata=far.admin.metadata(), timeout=5, wait_for_ready=True)


async def test_a_worker_behind_a_black_hole_loses_its_lease_and_its_late_result(
    plane: Plane, far: Plane, proxy: Proxy
) -> None:
    directory, target = await with_target(plane)
    cut_off = Worker(far)
    await cut_off.start()
    await cut_off.turn()
    await directory.create(USER, userName="ada")
    lost = await cut_off.lease()
    proxy.blackhole()
    async with connected(plane) as other:
        again = await other.lease()
        assert (again.stale, again.fence > lost.fence) == (1, True)
        await other.turn(done=[done(again, remote_id="right")])
        await other.until_settled(again.fence)
        proxy.heal()
        await cut_off.turn(credit=0, done=[done(lost, remote_id="wrong")])
        await cut_off.until_settled(lost.fence)
        verify = await other.lease()
        assert verify.remote_id == "right"
        await other.turn(done=[done(verify, remote_id="right", effect=1)])
        await other.until_settled(verify.fence)
    assert await pending(plane, directory, target) == 0
    cut_off.stop()


async def test_a_control_plane_that_is_deaf_to_revocations_does_not_say_that_all_is_well(
    database: Database, queue_url: str, postgres_server: PostgresServer, make_proxy: Callable[[int], Awaitable[Proxy]]
) -> None:
    proxy = await make_proxy(postgres_server.port)
    far_url = database.app_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    async with running_plane(settings(database, queue_url, postgres_url=far_url)) as plane:
        watch = plane.gateway.tokens.WatchTokens(tenancy_pb2.WatchTokensRequest(), metadata=plane.gateway.metadata())
        async with asyncio.timeout(20):
            await heartbeat(watch)
            proxy.blackhole()
            await silence(watch)
            proxy.heal()
        watch.cancel()


async def heartbeat(watch: Any) -> None:
    """Wait for a sign that all is well."""
    while not (await watch.read()).heartbeat:
        pass


async def silence(watch: Any) -> None:
    """Wait until more than three heartbeats in a row are missing."""
    while True:
        try:
            async with asyncio.timeout(3.2):
                await watch.read()
        except TimeoutError:
            return
