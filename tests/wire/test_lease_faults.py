"""One tenant's broken target, secret or answer never stops another tenant's leases."""

import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from control_plane.domain.errors import MusterError
from control_plane.domain.jobs import Result
from control_plane.queue.lease_queue import Extend, LeaseQueue, Settle, TurnResult
from control_plane.services.sessions import Turn
from control_plane.storage import provisioning
from control_plane.storage.engine import Tx
from protos.lease.v1 import lease_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.test_directory import USER
from tests.wire.test_leases import connected, done, pending, with_target


async def test_a_result_that_cannot_be_stored_fails_alone(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    real = provisioning.settle

    async def settle(tx: Tx, results: Sequence[Result]) -> provisioning.SettleOutcome:
        if any(result.remote_id == "poison" for result in results):
            raise MusterError("the database refused a statement")
        return await real(tx, results)

    monkeypatch.setattr(provisioning, "settle", settle)
    (poisoned, target), (healthy, other) = await with_target(plane, "Poisoned"), await with_target(plane, "Healthy")
    async with connected(plane) as worker:
        await poisoned.create(USER, userName="ada")
        await healthy.create(USER, userName="bob")
        leases = {lease.desired.user_name: lease for lease in [await worker.lease(), await worker.lease()]}
        bad, good = done(leases["ada"], remote_id="poison"), done(leases["bob"], remote_id="r-1")
        await worker.turn(done=[bad, good])
        await worker.until_settled(good.fence)
        await worker.until_settled(bad.fence)
        assert await pending(plane, healthy, other) == 0
        request = tenancy_pb2.GetTargetStatusRequest(tenant_id=poisoned.tenant, id=target)
        status = await plane.admin.targets.GetTargetStatus(request, metadata=plane.admin.metadata())
        assert (status.pending, status.failing) == (1, 1)


async def test_a_secret_that_cannot_be_opened_fails_its_own_target_only(plane: Plane, database: Database) -> None:
    (broken, target), (healthy, other) = await with_target(plane, "Broken"), await with_target(plane, "Healthy")
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("UPDATE targets SET secret_sealed = 'x' WHERE id = %s", [target])
    async with connected(plane) as worker:
        await broken.create(USER, userName="ada")
        await healthy.create(USER, userName="bob")
        lease = await worker.lease()
        assert lease.desired.user_name == "bob"
        await worker.turn(done=[done(lease)])
        await worker.until_settled(lease.fence)
    assert await pending(plane, healthy, other) == 0
    request = tenancy_pb2.GetTargetStatusRequest(tenant_id=broken.tenant, id=target)
    status = await plane.admin.targets.GetTargetStatus(request, metadata=plane.admin.metadata())
    assert "set it again" in status.last_error


async def test_large_documents_come_in_several_messages(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    for number in range(12):
        await directory.create(USER, userName=f"big-{number}", nickName="x" * 500_000)
    async with connected(plane, slots=12) as worker:
        names = {(await worker.lease()).desired.user_name for _ in range(12)}
        assert len(names) == 12
        assert len(worker.heard) > 2


async def test_a_new_credential_is_tried_at_once(plane: Plane) -> None:
    directory, target = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        first = await worker.lease()
        nack = pb.Nack(fence=first.fence, failure_class=pb.FAILURE_CLASS_AUTH, error="401")
        nack.retry_after.FromSeconds(300)
        await worker.turn(nack=[nack])
        await worker.until_settled(first.fence)
        request = tenancy_pb2.UpdateTargetRequest(
            tenant_id=directory.tenant, id=target, scim=tenancy_pb2.ScimTargetConfig(bearer_token="new")
        )
        request.update_mask.paths.append("scim.bearer_token")
        # The settle in Redis follows the one in PostgreSQL: the key is surely delayed once the next pass is over.
        await worker.turn()
        await plane.admin.targets.UpdateTarget(request, metadata=plane.admin.metadata())
        second = await worker.lease()
        assert second.attempt == 2
        tokens = [one.scim.bearer_token for message in worker.heard for one in message.targets]
        assert tokens[-1] == "new"


async def test_a_beat_is_confirmed_only_when_it_was_extended(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that is read while Redis is asked must wait for the next pass: the worker fences itself by the ack."""
    directory, _ = await with_target(plane)
    async with connected(plane) as worker:
        await directory.create(USER, userName="ada")
        lease = await worker.lease()
        engine = plane.running.engine
        session = engine._sessions[0]
        real, extended, late = LeaseQueue.turn, list[int](), 1_000

        async def turn(
            queue: LeaseQueue, epoch: int, want: int, ttl_ms: int, settles: list[Settle], extends: list[Extend]
        ) -> TurnResult:
            extended.append(len(extends))
            if extends and session.seen_seq < late:
                engine.receive(session, Turn(seq=late, credit=0, beats=(lease.fence,)))
                return await real(queue, epoch, want, ttl_ms, settles, extends)
            result = await real(queue, epoch, want, ttl_ms, settles, extends)
            if extends:
                assert session.confirmed_seq < late
                extended.append(-1)  # the late beat was extended by a pass of its own
            return result

        monkeypatch.setattr(LeaseQueue, "turn", turn)
        await worker.turn(credit=0, beat=[pb.Beat(fence=lease.fence)])
        async with asyncio.timeout(5):
            while not any(message.ack_seq == late for message in worker.heard):
                await worker._read()
        assert -1 in extended
