"""The stream of leases, with a worker of the test's own on the other end."""

import asyncio
import json
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import grpc
import redis.asyncio

from protos.lease.v1 import lease_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.test_directory import GROUP, USER, Directory


class Worker:
    """Speaks the worker's side of one stream by hand."""

    def __init__(self, plane: Plane, slots: int = 4, held: list[pb.Held] | None = None, name: str = "hand") -> None:
        self._call = plane.worker.leases.StreamLeases(metadata=plane.worker.metadata())
        self._hello = pb.Hello(
            worker_id=name,
            session=os.urandom(16),
            protocol=1,
            kinds=[tenancy_pb2.TARGET_KIND_SCIM],
            slots=slots,
            held=held or [],
        )
        self._slots, self._seq = slots, 0
        self.heard: list[pb.StreamLeasesResponse] = []

    async def start(self) -> pb.Control:
        await self._call.write(pb.StreamLeasesRequest(hello=self._hello))
        return (await self._read()).control

    async def turn(self, credit: int | None = None, **fields: object) -> int:
        self._seq += 1
        turn = pb.Turn(seq=self._seq, credit=self._slots if credit is None else credit, **fields)  # type: ignore[arg-type]  # test data
        await self._call.write(pb.StreamLeasesRequest(turn=turn))
        return self._seq

    async def lease(self) -> pb.Lease:
        """Return the next lease."""
        while True:
            for message in self.heard:
                if message.leases:
                    lease = message.leases[0]
                    del message.leases[0]
                    return lease
            await self._read()

    async def until_settled(self, fence: int) -> None:
        while not any(fence in message.settled for message in self.heard):
            await self._read()

    async def until_lost(self, fence: int) -> pb.Lost:
        while True:
            for message in self.heard:
                for lost in message.lost:
                    if lost.fence == fence:
                        return lost
            await self._read()

    async def _read(self) -> pb.StreamLeasesResponse:
        async with asyncio.timeout(10):
            message = await self._call.read()
        assert isinstance(message, pb.StreamLeasesResponse), "the stream ended"
        self.heard.append(message)
        return message

    def stop(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def connected(plane: Plane, slots: int = 4) -> AsyncIterator[Worker]:
    worker = Worker(plane, slots)
    await worker.start()
    await worker.turn()
    yield worker
    worker.stop()


async def with_target(plane: Plane, name: str = "Acme") -> tuple[Directory, str]:
    """Return a tenant's directory and its active target."""
    tenant = await plane.tenant(name)
    config = tenancy_pb2.ScimTargetConfig(base_url="http://127.0.0.1:9/scim", bearer_token="t0p-secret")
    meta = plane.admin.metadata()
    request = tenancy_pb2.CreateTargetRequest(tenant_id=tenant, display_name="App", scim=config)
    target = (await plane.admin.targets.CreateTarget(request, metadata=meta)).target
    await plane.admin.targets.ActivateTarget(
        tenancy_pb2.ActivateTargetRequest(tenant_id=tenant, id=target.id), metadata=meta
    )
    return Directory(plane, tenant), target.id


async def pending(plane: Plane, directory: Directory, target: str) -> int:
    request = tenancy_pb2.GetTargetStatusRequest(tenant_id=directory.tenant, id=target)
    return (await plane.admin.targets.GetTargetStatus(request, metadata=plane.admin.metadata())).pending


def done(lease: pb.Lease, remote_id: str = "r1", effect: int = 2) -> pb.Done:
    return pb.Done(fence=lease.fence, applied_version=lease.version, remote_id=remote_id, effect=effect)  # type: ignore[arg-type]  # test data


async def test_a_write_becomes_a_lease_and_its_result_is_durable(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        user = await directory.create(USER, userName="ada")
        lease = await worker.lease()
        assert (lease.desired.id, lease.version, lease.attempt, lease.stale) == (user.id, 1, 1, 0)
        assert json.loads(lease.desired.document)["userName"] == "ada"
        snapshots = [one for message in worker.heard for one in message.targets]
        assert [(one.id, one.scim.bearer_token) for one in snapshots] == [(target, "t0p-secret")]
        await worker.turn(done=[done(lease)])
        await worker.until_settled(lease.fence)
        assert await pending(plane, directory, target) == 0
        event = (await directory.audit(action="target.apply"))[0]
        assert (event.actor_id, event.resource_id) == ("hand", user.id)
        assert "t0p-secret" not in str(await directory.audit())


async def test_changes_while_leased_come_as_one_more_lease(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        user = await directory.create(USER, userName="ada")
        first = await worker.lease()
        for title in ("a", "b", "c"):
            await directory.patch(user, {"op": "replace", "path": "title", "value": title})
        await worker.turn(done=[done(first)])
        second = await worker.lease()
        assert second.remote_id == "r1"
        assert json.loads(second.desired.document)["title"] == "c"
        assert second.fence > first.fence
        await worker.turn(done=[done(second, effect=4)])
        await worker.until_settled(second.fence)
        assert await pending(plane, directory, target) == 0


async def test_no_more_leases_than_slots(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    for number in range(5):
        await directory.create(USER, userName=f"u{number}")
    async with connected(plane, slots=2) as worker:
        held = [await worker.lease(), await worker.lease()]
        await worker.turn(credit=2, beat=[pb.Beat(fence=one.fence) for one in held])
        await worker.turn(credit=1, done=[done(held[0])])
        await worker.until_settled(held[0].fence)
        third = await worker.lease()
        sent = {one.fence for one in held} | {third.fence}
        assert len(sent) == 3
        assert not any(message.leases for message in worker.heard)


async def test_a_silent_workers_leases_are_recovered_and_counted(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as silent:
        await directory.create(USER, userName="ada")
        lost = await silent.lease()
        async with connected(plane) as other:
            await silent.turn(credit=0)
            again = await other.lease()
            assert (again.desired.id, again.stale) == (lost.desired.id, 1)
            assert plane.running.metrics.registry.get_sample_value("scim_job_stale_lease_total") == 1
            # The late result of the first is fenced: it changes nothing, and the key is verified once more.
            await silent.turn(credit=0, done=[done(lost, remote_id="wrong")])
            await silent.until_settled(lost.fence)
            await other.turn(done=[done(again, remote_id="right")])
            verify = await other.lease()
            assert verify.remote_id == "right"
            await other.turn(done=[done(verify, remote_id="right", effect=1)])
            await other.until_settled(verify.fence)
        assert await pending(plane, directory, target) == 0
        assert plane.running.metrics.registry.get_sample_value("scim_job_fenced_result_total") == 1


async def test_beats_keep_a_lease_beyond_its_ttl(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
        for _ in range(9):  # 4.5 s with a TTL of 3 s: time is the subject here
            await asyncio.sleep(0.5)
            await worker.turn(beat=[pb.Beat(fence=lease.fence)])
        assert plane.running.metrics.registry.get_sample_value("scim_job_stale_lease_total") == 0
        await worker.turn(done=[done(lease)])
        await worker.until_settled(lease.fence)


async def test_a_reconnected_worker_keeps_what_it_holds(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
    again = Worker(plane, held=[held_by(lease)])
    await again.start()
    await again.turn(done=[done(lease)])
    await again.until_settled(lease.fence)
    assert await pending(plane, directory, target) == 0
    again.stop()


async def test_another_control_plane_adopts_a_lease(plane: Plane, database: Database, queue_url: str) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
    async with running_plane(settings(database, queue_url)) as second:
        again = Worker(second, held=[held_by(lease)])
        await again.start()
        await again.turn(done=[done(lease)])
        await again.until_settled(lease.fence)
        assert await pending(plane, directory, target) == 0
        again.stop()


async def test_a_lease_is_of_no_use_to_another_worker(plane: Plane) -> None:
    directory, target = await with_target(plane)
    user = await directory.create(USER, userName="ada")
    async with connected(plane, slots=1) as worker:
        first = await worker.lease()
        await directory.create(GROUP, displayName="G", members=[{"value": user.id}])
        await worker.turn(done=[done(first, remote_id="remote-ada")])
        lease = await worker.lease()
        # Key, epoch and fence are all right; nothing proves that they were granted to this one.
        for grant in (b"", lease.grant, first.grant, os.urandom(32)):
            thief = Worker(plane, held=[held_by(lease, grant)], name="thief")
            await thief.start()
            await thief.turn(credit=0, done=[done(lease, remote_id="wrong")], beat=[pb.Beat(fence=lease.fence)])
            await thief.until_lost(lease.fence)
            assert not any(message.targets for message in thief.heard)
            thief.stop()
            refusal = await refused(members(plane, held_by(lease, grant), "thief"))
            assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.ABORTED, "LEASE_LOST")
        assert await pending(plane, directory, target) == 1
        await worker.turn(done=[done(lease, remote_id="right")])
        await worker.until_settled(lease.fence)
        assert await pending(plane, directory, target) == 0
    assert "wrong" not in str(await directory.audit())


def held_by(lease: pb.Lease, grant: bytes | None = None) -> pb.Held:
    return pb.Held(key=lease.key, epoch=lease.epoch, fence=lease.fence, grant=lease.grant if grant is None else grant)


def members(plane: Plane, lease: pb.Held, name: str = "hand") -> AsyncIterable[pb.StreamLeaseMembersResponse]:
    request = pb.StreamLeaseMembersRequest(lease=lease, worker_id=name)
    return plane.worker.leases.StreamLeaseMembers(request, metadata=plane.worker.metadata())


async def test_a_released_lease_comes_back_without_an_attempt(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        first = await worker.lease()
        await worker.turn(nack=[pb.Nack(fence=first.fence, failure_class=pb.FAILURE_CLASS_RELEASED)])
        assert (await worker.lease()).attempt == 1


async def test_a_failure_comes_back_later_and_shows_in_the_status(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        user = await directory.create(USER, userName="ada")
        first = await worker.lease()
        nack = pb.Nack(fence=first.fence, failure_class=pb.FAILURE_CLASS_TRANSIENT, error="the app said 500")
        nack.retry_after.FromMilliseconds(50)
        await worker.turn(nack=[nack])
        second = await worker.lease()
        assert second.attempt == 2
        request = tenancy_pb2.GetTargetStatusRequest(tenant_id=directory.tenant, id=target)
        status = await plane.admin.targets.GetTargetStatus(request, metadata=plane.admin.metadata())
        assert (status.failing, status.last_error) == (1, "the app said 500")
        failures = await directory.audit(resource_id=user.id, outcome=2, include_personal=True)
        # What a target says may name persons: it is theirs.
        told = [(event.reason, json.loads(event.personal)) for event in failures]
        assert told == [("transient", {"error": "the app said 500"})]


async def test_flushall_loses_nothing(plane: Plane, queue_url: str) -> None:
    directory, target = await with_target(plane)
    async with connected(plane, slots=1) as worker:
        for number in range(3):
            await directory.create(USER, userName=f"u{number}")
        held = await worker.lease()
        async with redis.asyncio.from_url(queue_url) as client:
            await client.flushall()
        await worker.turn(credit=0, beat=[pb.Beat(fence=held.fence)])
        assert (await worker.until_lost(held.fence)).reason == pb.LOSS_REASON_EPOCH
        seen = set()
        for _ in range(3):
            await worker.turn()
            lease = await worker.lease()
            assert lease.epoch == held.epoch + 1
            seen.add(lease.desired.user_name)
            await worker.turn(done=[done(lease, remote_id=lease.desired.user_name)])
            await worker.until_settled(lease.fence)
        assert seen == {"u0", "u1", "u2"}
        assert await pending(plane, directory, target) == 0
        assert plane.running.metrics.registry.get_sample_value("scim_job_stale_lease_total") == 1


async def test_a_paused_target_gets_no_leases_until_it_is_active_again(plane: Plane) -> None:
    directory, target = await with_target(plane)
    reference = {"tenant_id": directory.tenant, "id": target}
    await plane.admin.targets.PauseTarget(tenancy_pb2.PauseTargetRequest(**reference), metadata=plane.admin.metadata())
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        other, _ = await with_target(plane, "Other")
        marker = await other.create(USER, userName="marker")
        assert (await worker.lease()).desired.id == marker.id
        await plane.admin.targets.ActivateTarget(
            tenancy_pb2.ActivateTargetRequest(**reference), metadata=plane.admin.metadata()
        )
        assert (await worker.lease()).desired.user_name == "ada"


async def test_a_group_waits_for_its_members(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    user = await directory.create(USER, userName="ada")
    async with connected(plane, slots=1) as worker:
        first = await worker.lease()
        group = await directory.create(GROUP, displayName="G", members=[{"value": user.id}])
        await worker.turn(done=[done(first, remote_id="remote-ada")])
        lease = await worker.lease()
        assert lease.desired.id == group.id
        pages = members(plane, held_by(lease))
        assert [one async for page in pages for one in page.remote_ids] == ["remote-ada"]
        former = pb.Held(key=lease.key, epoch=lease.epoch, fence=lease.fence - 1, grant=lease.grant)
        refusal = await refused(members(plane, former))
        assert refusal.info.reason == "LEASE_LOST"
