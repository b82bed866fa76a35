"""The executor: slots, hand-backs, failures and open connectors, with a connector that does as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from control_plane.outgoing.guard import Guard
from tests.fakes.clock import FakeClock
from workers.connectors.base import (
    Conflict,
    Desired,
    Gone,
    Op,
    Permit,
    Plan,
    PlanAgain,
    Rejected,
    Remote,
    Step,
    StepResult,
    TargetFailed,
    Unreachable,
)
from workers.connectors.cache import IDLE_S, ConnectorCache
from workers.connectors.registry import ConnectorContext
from workers.executor import Executor
from workers.messages import (
    Assigned,
    DesiredResource,
    Done,
    Effect,
    Failure,
    Lease,
    Nack,
    ResourceKind,
    Result,
    ScimTarget,
    Target,
    TargetKind,
)
from workers.metrics import WorkerMetrics
from workers.stream import ControlPlaneAway, LeaseGone

USER, GROUP = ResourceKind.USER, ResourceKind.GROUP


async def nothing(_step: Step) -> None:
    """Let a step succeed."""


@dataclass
class FakeConnector:
    """One account per lease; ``before`` runs before each step and may raise."""

    before: Callable[[Step], Awaitable[None]] = nothing
    there: dict[str, Remote] = field(default_factory=dict)
    found: Remote | None = None
    steps: list[Op] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    refuses_to_open: bool = False

    async def open(self, permit: Permit) -> None:
        await permit.call()
        self.opened += 1
        await asyncio.sleep(0)
        if self.refuses_to_open:
            raise Unreachable("nobody there")

    async def close(self) -> None:
        self.closed += 1

    async def fetch(self, permit: Permit, kind: ResourceKind, remote_id: str) -> Remote | None:
        await permit.call()
        return self.there.get(remote_id)

    async def find(self, permit: Permit, desired: Desired) -> Remote | None:
        await permit.call()
        return self.found

    async def find_former(self, permit: Permit, desired: Desired) -> Remote | None:
        return await self.find(permit, desired)

    def plan(self, desired: Desired, have: Remote | None) -> Plan:
        if desired.document is None:
            return Plan([Step(Op.DELETE, desired.kind, have.remote_id)] if have else [], Effect.DELETED)
        if have is None:
            adds = [Step(Op.ADD_MEMBERS, desired.kind, "", members=tuple(sorted(desired.members)))]
            return Plan([Step(Op.CREATE, desired.kind), *(adds if desired.members else [])], Effect.CREATED)
        return Plan([Step(Op.UPDATE, desired.kind, have.remote_id)], Effect.UPDATED)

    async def apply(self, permit: Permit, step: Step) -> StepResult:
        await permit.call()
        self.steps.append(step.op)
        await self.before(step)
        return StepResult({Op.CREATE: "made", Op.DELETE: ""}.get(step.op, step.remote_id))


@dataclass
class Outbox:
    """Keeps results; answers for members."""

    results: dict[int, Result] = field(default_factory=dict)
    progressed: list[tuple[int, int]] = field(default_factory=list)
    member_ids: frozenset[str] | Exception = frozenset()
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, result: Result) -> None:
        self.results[result.fence] = result
        self.changed.set()

    def progress(self, fence: int, calls: int) -> None:
        self.progressed.append((fence, calls))

    async def members(self, lease: Lease) -> frozenset[str]:
        if isinstance(self.member_ids, Exception):
            raise self.member_ids
        return self.member_ids

    async def result(self, fence: int) -> Result:
        async with asyncio.timeout(2):
            while fence not in self.results:
                self.changed.clear()
                await self.changed.wait()
        return self.results[fence]


@dataclass
class Bench:
    """An executor with everything around it."""

    executor: Executor
    outbox: Outbox
    connector: FakeConnector
    cache: ConnectorCache
    clock: FakeClock
    made: list[int]

    def give(self, *leases: Lease) -> None:
        self.executor.assigned([Assigned(lease, self.clock.monotonic() + 30.0, 30.0) for lease in leases])

    async def failure(self, fence: int) -> Nack:
        result = await self.outbox.result(fence)
        assert isinstance(result, Nack)
        return result

    async def success(self, fence: int) -> Done:
        result = await self.outbox.result(fence)
        assert isinstance(result, Done)
        return result


@asynccontextmanager
async def bench(slots: int = 2) -> AsyncIterator[Bench]:
    clock, outbox, connector, made = FakeClock(), Outbox(), FakeConnector(), list[int]()

    def factory(target: Target, _context: ConnectorContext) -> FakeConnector:
        made.append(target.revision)
        return connector

    cache = ConnectorCache({TargetKind.SCIM: factory}, ConnectorContext(clock, lambda *_: None, Guard()))
    async with asyncio.TaskGroup() as group:
        executor = Executor(group, outbox, cache, clock, WorkerMetrics(), slots=slots, call_timeout_s=10.0)
        yield Bench(executor, outbox, connector, cache, clock, made)
        await executor.drain(0)


def target(revision: int = 1) -> Target:
    return Target("t", "tenant", TargetKind.SCIM, revision, ScimTarget("http://x", "secret"))


def lease(
    fence: int, *, kind: ResourceKind = USER, remote_id: str = "", deleted: bool = False, revision: int = 1
) -> Lease:
    desired = None if deleted else DesiredResource("id", "", orjson.dumps({"userName": "ada"}).decode())
    return Lease(b"k" * 48, 1, fence, fence * 10, 1, 0, kind, desired, remote_id, target(revision))


async def test_a_create_and_what_is_reported() -> None:
    async with bench() as b:
        b.give(lease(1))
        assert await b.success(1) == Done(1, 10, "made", Effect.CREATED, 3)
        assert b.outbox.progressed == [(1, 1), (1, 2), (1, 3)]


async def test_a_delete() -> None:
    async with bench() as b:
        b.give(lease(1, remote_id="r", deleted=True))
        assert await b.success(1) == Done(1, 10, "", Effect.DELETED, 2)


async def test_more_leases_than_slots_wait_and_many_more_are_handed_back() -> None:
    go = asyncio.Event()

    async def wait(_step: Step) -> None:
        await go.wait()

    async with bench(slots=2) as b:
        b.connector.before = wait
        b.give(*(lease(fence) for fence in range(1, 7)))
        released = [await b.failure(fence) for fence in (5, 6)]
        assert {nack.failure for nack in released} == {Failure.RELEASED}
        go.set()
        for fence in (1, 2, 3, 4):
            await b.success(fence)


async def test_a_revoked_lease_is_cancelled_and_says_nothing() -> None:
    started = asyncio.Event()

    async def hang(_step: Step) -> None:
        started.set()
        await asyncio.Event().wait()

    async with bench(slots=1) as b:
        b.connector.before = hang
        b.give(lease(1), lease(2))
        await started.wait()
        b.connector.before = nothing
        b.executor.revoked([1])
        await b.success(2)
        assert 1 not in b.outbox.results


async def test_a_defect_costs_one_lease_only() -> None:
    async def boom(_step: Step) -> None:
        raise ZeroDivisionError("secret in a text")

    async with bench(slots=1) as b:
        b.connector.before = boom
        b.give(lease(1))
        nack = await b.failure(1)
        assert (nack.failure, nack.error) == (Failure.TRANSIENT, "defect in the worker: ZeroDivisionError")
        b.connector.before = nothing
        b.give(lease(2))
        await b.success(2)


async def test_an_id_that_became_known_before_a_failure_is_reported() -> None:
    async def fail_adds(step: Step) -> None:
        if step.op is Op.ADD_MEMBERS:
            raise TargetFailed("no")

    async with bench() as b:
        b.outbox.member_ids = frozenset({"m"})
        b.connector.before = fail_adds
        b.give(lease(1, kind=GROUP))
        assert (await b.failure(1)).remote_id == "made"


async def test_an_account_that_was_only_found_is_not_reported_as_linked() -> None:
    async def refuse(_step: Step) -> None:
        raise Rejected("no")

    async with bench() as b:
        b.connector.found = Remote("theirs")
        b.connector.before = refuse
        b.give(lease(1))
        nack = await b.failure(1)
        assert (nack.failure, nack.remote_id) == (Failure.INVALID, "")
        b.connector.before = nothing
        b.give(lease(2))
        assert (await b.success(2)).effect is Effect.ADOPTED


async def test_members_that_cannot_be_read() -> None:
    async with bench() as b:
        b.outbox.member_ids = ControlPlaneAway("away")
        b.give(lease(1, kind=GROUP))
        assert (await b.failure(1)).failure is Failure.TRANSIENT
        b.outbox.member_ids = LeaseGone("taken")
        b.give(lease(2, kind=GROUP))
        assert (await b.failure(2)).failure is Failure.RELEASED
        assert b.connector.steps == []


async def test_a_target_that_never_holds_still_is_given_up() -> None:
    async def again(_step: Step) -> None:
        raise PlanAgain("changed its mind")

    async with bench() as b:
        b.connector.there["r"] = Remote("r")
        b.connector.before = again
        b.give(lease(1, remote_id="r"))
        nack = await b.failure(1)
        assert nack.failure is Failure.TRANSIENT
        assert "changed its mind" in nack.error


async def test_conflict_and_gone_look_before_they_write() -> None:
    async with bench() as b:

        async def taken(_step: Step) -> None:
            b.connector.before, b.connector.found = nothing, Remote("there")
            raise Conflict("taken")

        b.connector.before = taken
        b.give(lease(1))
        assert (await b.success(1)).effect is Effect.ADOPTED
        assert b.connector.steps == [Op.CREATE, Op.UPDATE]

    async with bench() as b:

        async def vanish(_step: Step) -> None:
            b.connector.before = nothing
            b.connector.there.clear()
            raise Gone("404")

        b.connector.there["r"] = Remote("r")
        b.connector.before = vanish
        b.give(lease(1, remote_id="r"))
        done = await b.success(1)
        assert (done.effect, done.remote_id) == (Effect.CREATED, "made")


async def test_a_lease_without_a_target_is_given_up() -> None:
    async with bench() as b:
        b.give(Lease(b"k" * 48, 1, 1, 10, 1, 0, USER, None, "r", None))
        assert (await b.failure(1)).failure is Failure.TRANSIENT


async def test_connectors_are_shared_replaced_and_closed() -> None:
    async with bench() as b:
        for fence, revision in ((1, 1), (2, 1), (3, 2), (4, 1)):
            b.give(lease(fence, revision=revision))
            await b.success(fence)
        assert b.made == [1, 2], "one per revision; an older lease uses the newest"
        assert b.connector.opened == 2
        assert await b.cache.run_once() == 1, "the replaced one"
        b.clock.advance(IDLE_S)
        assert await b.cache.run_once() == 1, "the idle one"
        assert b.connector.closed == 2


async def test_leases_that_wait_for_one_opening_share_its_failure() -> None:
    async with bench(slots=3) as b:
        b.connector.refuses_to_open = True
        b.give(*(lease(fence) for fence in (1, 2, 3)))
        failures = [(await b.failure(fence)).failure for fence in (1, 2, 3)]
        assert failures == [Failure.UNREACHABLE] * 3
        assert b.connector.opened == 1
        b.connector.refuses_to_open = False
        b.give(lease(4))
        await b.success(4)


async def test_a_lease_revoked_before_its_first_step_gives_its_slot_back() -> None:
    async with bench(slots=1) as b:
        b.give(lease(1), lease(2))
        b.executor.revoked([1])
        await b.success(2)
        assert 1 not in b.outbox.results


async def test_drain_releases_what_does_not_finish() -> None:
    started = asyncio.Event()

    async def hang(_step: Step) -> None:
        started.set()
        await asyncio.Event().wait()

    async with bench(slots=1) as b:
        b.connector.before = hang
        b.give(lease(1), lease(2))
        await started.wait()
        await b.executor.drain(0.01)
        b.give(lease(3))
        for fence in (1, 2, 3):
            assert (await b.failure(fence)).failure is Failure.RELEASED
