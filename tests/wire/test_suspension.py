"""Suspended midway: targets are left alone at once, on every control plane, and afterwards everything arrives."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from protos.lease.v1 import lease_pb2 as pb
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.test_directory import USER, Directory
from tests.wire.test_leases import Worker, connected, done, pending, with_target
from tests.wire.test_tenant_states import delete, restore, resume, suspend

# Short, so that a lease which was revoked is soon free again.
TTL_S = 1.0


@pytest_asyncio.fixture
async def plane(database: Database, queue_url: str) -> AsyncIterator[Plane]:
    """A control plane of this test's own, whose sweeps come when asked for."""
    async with running_plane(settings(database, queue_url, lease_ttl_s=TTL_S, relay_interval_s=60.0)) as one:
        yield one


async def converge(worker: Worker, plane: Plane, directory: Directory, target: str) -> list[str]:
    """Do what is leased until nothing is pending; return the userNames in their order."""
    names: list[str] = []
    async with asyncio.timeout(15):
        while await pending(plane, directory, target):
            lease = await worker.lease()
            assert lease.desired.user_name not in names
            names.append(lease.desired.user_name)
            await worker.turn(done=[done(lease, remote_id=f"remote-{lease.desired.user_name}")])
            await worker.until_settled(lease.fence)
    return names


async def test_nothing_is_written_while_suspended_and_nothing_is_lost(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane, slots=2) as worker:
        names = [f"user-{number}" for number in range(6)]
        for name in names:
            await directory.create(USER, userName=name)
        first, cut = await worker.lease(), await worker.lease()
        await worker.turn(done=[done(first, remote_id="remote-first")])
        await worker.until_settled(first.fence)
        await suspend(plane, directory.tenant)
        assert (await worker.until_lost(cut.fence)).reason == pb.LOSS_REASON_REVOKED
        # Another tenant is served: what the worker gets from now on is none of the suspended one's.
        heard = [lease for message in worker.heard for lease in message.leases]
        for message in worker.heard:
            del message.leases[:]
        other, _ = await with_target(plane, "Other")
        for number in range(4):
            await worker.turn()
            marker = await other.create(USER, userName=f"marker-{number}")
            lease = await worker.lease()
            assert lease.desired.id == marker.id
            await worker.turn(done=[done(lease, remote_id=marker.id)])
            await worker.until_settled(lease.fence)
        # What was on its way when the suspension came was revoked, too.
        for lease in heard:
            assert (await worker.until_lost(lease.fence)).reason == pb.LOSS_REASON_REVOKED
        assert await pending(plane, directory, target) == 5
        await resume(plane, directory.tenant)
        await worker.turn()
        assert sorted([first.desired.user_name, *await converge(worker, plane, directory, target)]) == names


async def test_a_control_plane_hears_of_what_another_one_suspends(
    plane: Plane, database: Database, queue_url: str
) -> None:
    directory, target = await with_target(plane)
    chosen = settings(database, queue_url, lease_ttl_s=TTL_S)
    async with running_plane(chosen) as elsewhere, connected(elsewhere, slots=1) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
        await delete(plane, directory.tenant)
        assert (await worker.until_lost(lease.fence)).reason == pb.LOSS_REASON_REVOKED
        await restore(plane, directory.tenant)
        await worker.turn()
        assert await converge(worker, plane, directory, target) == ["ada"]


async def test_a_worker_that_comes_back_with_a_revoked_lease_is_told(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    async with connected(plane, slots=1) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
    await suspend(plane, directory.tenant)
    held = pb.Held(key=lease.key, epoch=lease.epoch, fence=lease.fence, grant=lease.grant)
    back = Worker(plane, slots=1, held=[held])
    await back.start()
    await back.turn()
    assert (await back.until_lost(lease.fence)).reason == pb.LOSS_REASON_REVOKED
    back.stop()


async def test_what_a_worker_did_before_it_heard_of_the_suspension_counts(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane, slots=1) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
        await suspend(plane, directory.tenant)
        await worker.until_lost(lease.fence)
        await worker.turn(done=[done(lease, remote_id="remote-ada")])
        await worker.until_settled(lease.fence)
        assert await pending(plane, directory, target) == 0
        await resume(plane, directory.tenant)
        assert await pending(plane, directory, target) == 0
