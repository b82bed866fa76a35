"""The worker's lease stream over real gRPC: credit, heartbeats, results that survive a cut, losses, drain."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from control_plane.runtime.clock import SystemClock
from protos.lease.v1 import lease_pb2
from protos.tenancy.v1 import tenancy_pb2
from tests.fakes.lease_server import TOKEN, FakeLeaseServer, lease_of, lease_server
from workers.bridge import StreamThread
from workers.messages import Assigned, Done, Effect, Failure, Nack, TargetKind
from workers.metrics import WorkerMetrics
from workers.stream import LeaseGone, StreamSettings

SLOTS = 4
USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada", "active": True}
LIMIT_S = 4.0


@dataclass
class Notes:
    """An inbox that writes down what it gets."""

    assigned_leases: list[Assigned] = field(default_factory=list)
    deadlines: dict[int, float] = field(default_factory=dict)
    revoked_fences: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def assigned(self, leases: Sequence[Assigned]) -> None:
        self.assigned_leases += leases
        self.changed.set()

    def renewed(self, deadlines: dict[int, float]) -> None:
        self.deadlines |= deadlines
        self.changed.set()

    def revoked(self, fences: Sequence[int]) -> None:
        self.revoked_fences += fences
        self.changed.set()

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def streaming(server: FakeLeaseServer) -> AsyncIterator[tuple[StreamThread, Notes]]:
    stream, notes = StreamThread(_settings(server), SystemClock(), WorkerMetrics()), Notes()
    stream.start(notes)
    try:
        await server.connected()
        yield stream, notes
    finally:
        await stream.close()
    assert stream.ended.done()
    stream.ended.result()


def _settings(server: FakeLeaseServer) -> StreamSettings:
    return StreamSettings(server.address, TOKEN, "worker-1", SLOTS, (TargetKind.SCIM,))


def done(fence: int) -> Done:
    return Done(fence, fence * 10, f"remote-{fence}", Effect.CREATED, 3)


async def test_hello_and_the_first_turn() -> None:
    async with lease_server() as server, streaming(server):
        [hello] = server.hellos
        assert (hello.worker_id, hello.protocol, hello.slots) == ("worker-1", 1, SLOTS)
        assert len(hello.session) == 16
        assert list(hello.kinds) == [tenancy_pb2.TARGET_KIND_SCIM]
        assert server.metadata[0]["authorization"] == f"Bearer {TOKEN}"
        assert (server.turns[0].seq, server.turns[0].credit) == (1, SLOTS)


async def test_credit_is_what_is_free_and_results_come_at_once() -> None:
    # The heartbeat is longer than the test waits: what arrives was sent because something changed.
    async with lease_server(ttl_s=60, heartbeat_s=20) as server, streaming(server) as (stream, notes):
        await server.give(*(lease_of(fence, document=USER, resource=fence) for fence in (1, 2, 3)))
        await notes.until(lambda: len(notes.assigned_leases) == 3)
        assert notes.assigned_leases[0].lease.target is not None
        stream.progress(2, 7)
        stream.finish(done(1))
        result = await server.result(1)
        assert result == lease_pb2.Done(
            fence=1, applied_version=10, remote_id="remote-1", effect=lease_pb2.EFFECT_CREATED, calls=3
        )
        turn = server.turns[-1]
        assert turn.credit == SLOTS - 2
        assert {beat.fence: beat.progress for beat in turn.beat} == {2: 7, 3: 0}
        assert await stream.settled(LIMIT_S)


async def test_a_nack_carries_everything() -> None:
    async with lease_server() as server, streaming(server) as (stream, notes):
        await server.give(lease_of(1, document=USER))
        await notes.until(lambda: notes.assigned_leases)
        stream.finish(Nack(1, Failure.THROTTLED, "slow down", 2.5, "remote-1"))
        nack = await server.result(1)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_THROTTLED
        assert (nack.error, nack.remote_id) == ("slow down", "remote-1")
        assert nack.retry_after.ToTimedelta().total_seconds() == 2.5


async def test_an_unsettled_result_is_sent_again_after_a_cut_and_only_then() -> None:
    async with lease_server(heartbeat_s=0.05) as server, streaming(server) as (stream, notes):
        server.settles = False
        await server.give(lease_of(1, document=USER), lease_of(2, document=USER, resource=2))
        await notes.until(lambda: len(notes.assigned_leases) == 2)
        stream.finish(done(1))
        await server.result(1)
        turns = len(server.turns)
        await server.until(lambda: len(server.turns) >= turns + 3, "three more turns")
        assert len(server.results(1)) == 1

        server.cut()
        await server.connected(times=2)
        assert server.hellos[1].session == server.hellos[0].session
        assert {held.fence: held.grant for held in server.hellos[1].held} == {1: b"grant of 1", 2: b"grant of 2"}
        assert server.results(1) == [await server.result(1)] * 2
        assert notes.revoked_fences == []
        assert not await stream.settled(0.05)

        server.settles = True
        server.cut()
        await server.connected(times=3)
        assert await stream.settled(LIMIT_S)
        assert len(server.results(1)) == 3
        server.cut()
        await server.connected(times=4)
        assert {held.fence for held in server.hellos[3].held} == {2}
        assert len(server.results(1)) == 3


async def test_a_lost_lease_is_revoked_and_its_result_dropped() -> None:
    async with lease_server(heartbeat_s=0.05) as server, streaming(server) as (stream, notes):
        await server.give(lease_of(1, document=USER))
        await notes.until(lambda: notes.assigned_leases)
        await server.lose(1)
        await notes.until(lambda: notes.revoked_fences == [1])
        stream.finish(done(1))
        turns = len(server.turns)
        await server.until(lambda: len(server.turns) >= turns + 3, "three more turns")
        assert server.results(1) == []
        assert server.turns[-1].credit == SLOTS


async def test_confirmed_heartbeats_move_the_deadline() -> None:
    async with lease_server(ttl_s=60, heartbeat_s=0.05) as server, streaming(server) as (_, notes):
        before = time.monotonic()
        await server.give(lease_of(1, document=USER))
        await notes.until(lambda: notes.assigned_leases)
        assert notes.assigned_leases[0].deadline <= time.monotonic() + 60
        await notes.until(lambda: notes.deadlines.get(1, 0.0) > before + 60)
        assert notes.deadlines[1] <= time.monotonic() + 60


async def test_without_confirmation_the_worker_reconnects_and_then_gives_up_its_leases() -> None:
    async with lease_server(ttl_s=0.8, heartbeat_s=0.1) as server, streaming(server) as (_, notes):
        await server.give(lease_of(1, document=USER))
        await notes.until(lambda: notes.assigned_leases)
        server.confirms = False
        await notes.until(lambda: notes.revoked_fences == [1])
        assert len(server.hellos) >= 2, "half a lease of silence: reconnected before"
        server.confirms = True
        nack = await server.result(1)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_RELEASED


async def test_a_control_plane_that_is_away_is_found_when_it_comes() -> None:
    async with lease_server() as server:
        address = server.address
    # Nobody listens there now.
    server.address = address
    stream, notes = StreamThread(_settings(server), SystemClock(), WorkerMetrics()), Notes()
    stream.start(notes)
    try:
        async with lease_server(port=int(address.rsplit(":", 1)[1])) as back:
            await back.connected()
    finally:
        await stream.close()


async def test_heartbeats_go_on_while_a_handler_blocks_its_loop() -> None:
    class Blocking(Notes):
        def assigned(self, leases: Sequence[Assigned]) -> None:
            time.sleep(1.2)  # the subject of this test: a handler that never yields, for longer than a lease lives
            super().assigned(leases)

    async def worker(server: FakeLeaseServer) -> Blocking:
        stream, notes = StreamThread(_settings(server), SystemClock(), WorkerMetrics()), Blocking()
        stream.start(notes)
        await notes.until(lambda: notes.assigned_leases)
        stream.finish(done(1))
        assert await stream.settled(LIMIT_S)
        await stream.close()
        return notes

    async with lease_server(ttl_s=0.9, heartbeat_s=0.1) as server:
        working = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(worker(server))))
        await server.connected()
        await server.give(lease_of(1, document=USER))
        await server.until(lambda: server.beats(1) >= 8, "eight heartbeats of the lease")
        assert server.results(1) == []
        notes = await working
        assert notes.revoked_fences == []
        assert isinstance(await server.result(1), lease_pb2.Done)


async def test_members_of_a_group() -> None:
    async with lease_server() as server, streaming(server) as (stream, notes):
        server.members[1] = ["a", "b", "a"]
        server.refused_members.add(2)
        await server.give(*(lease_of(fence, document={}, group=True, resource=fence) for fence in (1, 2)))
        await notes.until(lambda: len(notes.assigned_leases) == 2)
        first, second = (assigned.lease for assigned in notes.assigned_leases)
        assert await stream.members(first) == {"a", "b"}
        [asked] = server.asked_members
        assert (asked.worker_id, asked.lease.grant) == ("worker-1", b"grant of 1")
        with pytest.raises(LeaseGone):
            await stream.members(second)


async def test_a_lease_granted_in_the_last_moment_is_handed_back_while_the_stream_stands() -> None:
    async with lease_server(heartbeat_s=20) as server:
        server.parting = [lease_of(7, document=USER)]
        async with streaming(server) as (_, notes):
            pass
        await server.until(lambda: server.goodbyes == 1, "the worker ends its stream in order")
        [nack] = server.results(7)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_RELEASED
        assert notes.assigned_leases == []


async def test_the_goodbye_waits_until_the_server_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.stream.GOODBYE_S", LIMIT_S)
    monkeypatch.setattr("workers.bridge.JOIN_S", LIMIT_S)
    async with lease_server(heartbeat_s=0.05) as server, streaming(server) as (stream, _):
        server.confirms = False
        closing = asyncio.create_task(stream.close())
        await server.until(lambda: sum(turn.draining for turn in server.turns) >= 3, "turns that say draining")
        assert server.goodbyes == 0
        server.confirms = True
        await closing
        await server.until(lambda: server.goodbyes == 1, "the worker ends its stream in order")


async def test_what_is_still_held_at_the_goodbye_is_handed_back() -> None:
    async with lease_server(heartbeat_s=20) as server, streaming(server) as (stream, notes):
        await server.give(lease_of(1, document=USER))
        await notes.until(lambda: notes.assigned_leases)
        await stream.close()
        [nack] = server.results(1)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_RELEASED
        await notes.until(lambda: notes.revoked_fences == [1])


async def test_a_server_that_confirms_nothing_cannot_hold_up_the_goodbye() -> None:
    async with lease_server(heartbeat_s=0.05) as server, streaming(server) as (stream, _):
        server.confirms = False
        await stream.close()
        assert stream.ended.done()


async def test_a_result_that_the_wire_refuses_does_not_wedge_the_stream() -> None:
    async with lease_server() as server, streaming(server) as (stream, notes):
        await server.give(*(lease_of(fence, document=USER, resource=fence) for fence in (1, 2)))
        await notes.until(lambda: len(notes.assigned_leases) == 2)
        stream.finish(Done(1, 10, "\ud800" * 2000, Effect.CREATED, 1))
        stream.finish(Nack(2, Failure.INVALID, "\ud800\0" * 2000, float("inf"), "r\0"))
        for fence in (1, 2):
            nack = await server.result(fence)
            assert isinstance(nack, lease_pb2.Nack)
            assert (nack.failure_class, nack.remote_id) == (lease_pb2.FAILURE_CLASS_INVALID, "")
        assert await stream.settled(LIMIT_S)
        assert len(server.hellos) == 1


@pytest.mark.parametrize("cleanly", [True, False], ids=["clean end", "UNAVAILABLE"])
async def test_a_stream_that_stood_is_replaced_at_once_whatever_failed_before(cleanly: bool) -> None:
    class Pauses(SystemClock):
        dice = 0.0

        def jitter(self) -> float:
            return self.dice

    clock, metrics = Pauses(), WorkerMetrics()
    async with lease_server() as server:
        address = server.address
    stream = StreamThread(_settings(server), clock, metrics)
    stream.start(Notes())
    try:
        async with asyncio.timeout(LIMIT_S):
            while metrics.registry.get_sample_value("muster_worker_stream_ends_total") != 6:
                await asyncio.sleep(0.01)
        clock.dice = 0.99  # the longest of pauses: 3 s if the failures before still counted
        async with lease_server(port=int(address.rsplit(":", 1)[1])) as back:
            back.cuts_cleanly = cleanly
            await back.connected()
            cut_at = time.monotonic()
            back.cut()
            await back.connected(times=2)
            assert 0.1 <= time.monotonic() - cut_at < 1.0
    finally:
        await stream.close()
