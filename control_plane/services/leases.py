"""The lease engine: one loop that records results, extends leases, claims work and hands it to workers.

Order of a settle: PostgreSQL first, Redis second, then the worker is told. A crash in between costs one lease that
finds nothing to do, because dispatch drops keys whose applied version has caught up.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.errors import LeaseLost, Unavailable
from control_plane.domain.jobs import BACK_OFF, Effect, Failure, Fence, JobKey, Result
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import EpochLost, Extend, LeaseQueue, Settle, SettleKind, TurnResult
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.dispatch import Dispatcher
from control_plane.services.epoch import EpochKeeper
from control_plane.services.relay import Relay
from control_plane.services.sessions import Done, Held, Nack, Session, Turn
from control_plane.storage import audit, provisioning
from control_plane.storage.engine import Storage

log = get_logger(__name__)

TICK_S = 1.0
RETRY_S = 0.5
BUSY_S = 0.25
MAX_CLAIMS = 64
MAX_RESULTS = 1_000
# Each page reads the whole group in the database, so pages are large: 5,000 ids are about 200 kB.
MEMBERS_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class _Report:
    """A worker's result, to be recorded and then settled in the queue."""

    session: Session
    held: Held
    result: Result
    settle: Settle


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass of the loop did."""

    recorded: int
    granted: int
    reaped: int
    again: bool  # there is more to do at once


class LeaseEngine:
    """Owns every worker session of this process."""

    def __init__(
        self,
        storage: Storage,
        queue: LeaseQueue,
        epoch: EpochKeeper,
        relay: Relay,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        ttl_s: float,
    ) -> None:
        """``ttl_s`` is how long a lease lasts after its last heartbeat."""
        self._storage, self._queue, self._epoch, self._relay = storage, queue, epoch, relay
        self._dispatcher, self._metrics, self._clock = dispatcher, metrics, clock
        self._scribe = Scribe(clock)
        self.ttl_s = ttl_s
        self._sessions: list[Session] = []
        self._reports: deque[_Report] = deque()
        self._settles: deque[Settle] = deque()
        self._late: list[JobKey] = []
        self._wake = asyncio.Event()
        self._pause_s = TICK_S

    def open(self, worker: str, slots: int, held: list[Held]) -> Session:
        """Begin a session; leases that the worker still holds are adopted if they are still its own."""
        session = Session(worker, slots, held)
        self._sessions.append(session)
        self._metrics.sessions.set(len(self._sessions))
        log.info("worker connected", worker=worker, slots=slots, held=len(held))
        self._wake.set()
        return session

    def close(self, session: Session) -> None:
        """End a session; its leases run on until the worker is back or their time is up."""
        session.close()
        if session in self._sessions:
            self._sessions.remove(session)
            self._metrics.sessions.set(len(self._sessions))
            log.info("worker disconnected", worker=session.worker, held=len(session.held))

    def receive(self, session: Session, turn: Turn) -> None:
        """Take a worker's turn."""
        session.seen_seq, session.credit, session.draining = turn.seq, turn.credit, turn.draining
        session.beats.update(fence for fence in turn.beats if fence in session.held)
        # A beat for a lease that is not held here: the worker must learn that it is on its own.
        session.lost += [(fence, False) for fence in turn.beats if fence not in session.held]
        for done in turn.done:
            self._take(session, done.fence, done)
        for nack in turn.nacks:
            self._take(session, nack.fence, nack)
        self._wake.set()

    async def members(self, key: JobKey, fence: Fence, after: str | None) -> list[str]:
        """Return the next page of a leased group's members as ids in the target; LeaseLost if it is leased anew."""
        if fence.epoch != self._epoch.current:
            raise LeaseLost("the lease belongs to an earlier life of the queue")
        async with self._storage.begin_batch([key.tenant]) as tx:
            return await provisioning.member_remote_ids(tx, key, fence, after, MEMBERS_PAGE)

    def wake(self) -> None:
        """Ask for a pass now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                done = await self.run_once()
            except Unavailable as err:
                log.warning("lease engine waits", error=str(err))
                self._pause_s = RETRY_S
                continue
            if done.again:
                self._wake.set()

    async def run_once(self) -> Pass:
        """Record, settle, extend, claim and dispatch once. Unavailable: nothing of it is lost, call again."""
        truth_up = await self._record()
        self._pause_s = TICK_S if truth_up else RETRY_S
        want = min(sum(session.free() for session in self._sessions), MAX_CLAIMS) if truth_up else 0
        settles = [self._settles.popleft() for _ in range(min(len(self._settles), MAX_RESULTS))]
        extends = [(session, fence) for session in self._sessions for fence in session.beats if fence in session.held]
        # A turn read while Redis is asked is not confirmed by this pass: its beats are not among the extends.
        seen = [(session, session.seen_seq) for session in self._sessions]
        try:
            turn = await self._queue.turn(
                self._epoch.current,
                want,
                int(self.ttl_s * 1000),
                settles,
                [Extend(session.held[fence].key, session.held[fence].fence) for session, fence in extends],
            )
        except EpochLost:
            await self._recover()
            return Pass(0, 0, 0, again=True)
        except Unavailable:
            self._settles.extendleft(reversed(settles))
            raise
        for session, seq in seen:
            session.confirmed_seq = seq
        self._after_turn(turn, settles, extends)
        granted = await self._grant(turn) if turn.claims else 0
        for session in self._sessions:
            session.tell()
        if turn.next_wake_s is not None:
            # Keys that are ready while no worker is free are no reason to spin.
            free = any(session.free() for session in self._sessions)
            self._pause_s = min(self._pause_s, max(turn.next_wake_s, 0.001 if free else BUSY_S))
        again = bool(self._settles or self._reports) and truth_up
        return Pass(len(settles), granted, turn.reaped, again or len(turn.claims) == MAX_CLAIMS)

    def _take(self, session: Session, fence: int, said: Done | Nack) -> None:
        held = session.end_lease(fence)
        session.beats.discard(fence)
        if held is None:
            # A repeat of a result that is durable already, or of a lease from before a restart: settled either way,
            # since what the database says is what counts.
            session.settled.append(fence)
            return
        self._reports.append(self._report(session, held, said))

    def _report(self, session: Session, held: Held, said: Done | Nack) -> _Report:
        now = self._clock.now()
        if isinstance(said, Done):
            result = Result(
                held.key,
                held.fence,
                session.worker,
                now,
                applied_version=said.applied_version,
                effect=said.effect,
                remote_id=said.remote_id,
            )
            settle = Settle(held.key, held.fence, SettleKind.DONE, version=said.applied_version)
            return _Report(session, held, result, settle)
        remote_id = said.remote_id or None
        result = Result(
            held.key, held.fence, session.worker, now, failure=said.failure, error=said.error, remote_id=remote_id
        )
        if said.failure is Failure.RELEASED:
            return _Report(session, held, result, Settle(held.key, held.fence, SettleKind.RELEASE))
        wait_s = said.retry_after_s
        if wait_s is None:
            wait_s = BACK_OFF[said.failure].wait_s(held.attempt, self._clock.jitter())
        # A newer input may mend what the target refused, so it need not wait; a target in trouble must be left alone.
        version = held.version if said.failure in (Failure.INVALID, Failure.TRANSIENT) else 0
        settle = Settle(held.key, held.fence, SettleKind.RETRY, version=version, delay_ms=int(wait_s * 1000))
        return _Report(session, held, result, settle)

    async def _record(self) -> bool:
        """Write what workers reported; False if the database is down (the reports wait, leases are kept alive)."""
        if not self._reports and not self._late:
            return True
        batch = [self._reports.popleft() for _ in range(min(len(self._reports), MAX_RESULTS))]
        tenants = {one.result.key.tenant for one in batch} | {key.tenant for key in self._late}
        try:
            async with self._storage.begin_batch(tenants) as tx:
                outcome = await provisioning.settle(tx, [one.result for one in batch])
                refused = [one.result.key for one in batch if one.result.key not in outcome.accepted]
                redirtied = await provisioning.redirty(tx, [*refused, *self._late], self._clock.now())
                await audit.append(tx, [event for one in batch if (event := self._event(one)) is not None])
        except Unavailable as err:
            self._reports.extendleft(reversed(batch))
            log.warning("results wait for the database", results=len(self._reports), error=str(err))
            return False
        self._late.clear()
        self._metrics.fenced_results.inc(len(refused))
        for lag_s in outcome.lags_s:
            self._metrics.convergence_s.observe(lag_s)
        for one in batch:
            one.session.settled.append(one.result.fence.fence)
            failure = one.result.failure
            self._metrics.results.labels(outcome=failure.name.lower() if failure else "done").inc()
            if one.result.key in outcome.accepted:
                self._settles.append(one.settle)
        self._relay.push([*outcome.raised, *redirtied])
        return True

    def _event(self, report: _Report) -> AuditEvent | None:
        """Return the audit event of a result; none where nothing happened, or for repeats of a failure."""
        result = report.result
        if result.failure is Failure.RELEASED or (result.failure is not None and report.held.attempt > 1):
            return None
        if result.failure is None and result.effect is Effect.NONE:
            return None
        details: dict[str, object] = {"target": str(result.key.target)}
        if result.failure is None:
            details |= {"effect": result.effect.name.lower(), "version": result.applied_version}
        else:
            details |= {"failure": result.failure.name.lower()}
        deed = Deed("target.apply", report.held.noun, str(result.key.resource), details)
        caller = Caller(Actor(ActorType.WORKER, result.worker))
        return self._scribe.event(result.key.tenant, caller, deed, reason=result.error if result.failure else "")

    def _after_turn(self, turn: TurnResult, settles: list[Settle], extends: list[tuple[Session, int]]) -> None:
        for settle, taken in zip(settles, turn.settled, strict=True):
            if not taken and settle.kind is SettleKind.DONE:
                # Somebody else may have written to the target meanwhile: make the key converge once more.
                self._late.append(settle.key)
        for (session, fence), alive in zip(extends, turn.extended, strict=True):
            session.beats.discard(fence)
            if not alive:
                session.lose(fence, epoch=False)
        if turn.reaped:
            self._metrics.stale_leases.inc(turn.reaped)
            log.warning("stale leases recovered", leases=turn.reaped)

    async def _grant(self, turn: TurnResult) -> int:
        """Hand claimed keys to workers; what needs no work is settled, what cannot be handed out is released."""
        try:
            plan = await self._dispatcher.assign(turn.claims, self._sessions)
        except Unavailable as err:
            log.warning("claimed keys go back: the database is down", keys=len(turn.claims), error=str(err))
            self._settles.extend(Settle(claim.key, claim.fence, SettleKind.RELEASE) for claim in turn.claims)
            self._pause_s = RETRY_S
            return 0
        self._settles.extend(plan.settles)
        for session, leases, targets in plan.grants:
            if session.closed:
                self._settles.extend(Settle(one.key, one.fence, SettleKind.RELEASE) for one in leases)
                continue
            for one in leases:
                session.held[one.fence.fence] = Held(
                    one.key, one.fence, one.attempt, one.work.desired_version, one.work.type.noun
                )
            session.tell(tuple(leases), tuple(targets))
        count = sum(len(leases) for _, leases, _ in plan.grants)
        self._metrics.leases_granted.inc(count)
        return count

    async def _recover(self) -> None:
        """Begin again after the queue was lost: every lease of the old life is over."""
        await self._epoch.recover()
        self._settles.clear()
        for session in self._sessions:
            for fence in list(session.held):
                session.lose(fence, epoch=True)
            session.beats.clear()
            session.tell()
        self._relay.request_sweep()

    def sessions(self) -> Iterable[Session]:
        """Return the sessions of this process."""
        return tuple(self._sessions)
