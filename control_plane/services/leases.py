"""The lease engine: one loop that records results, extends leases, claims work and hands it to workers.

Order of a settle: PostgreSQL first, Redis second, then the worker is told. A crash in between costs one lease that
finds nothing to do, because dispatch drops keys whose applied version has caught up.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.errors import LeaseLost, Unavailable
from control_plane.domain.ids import TenantId
from control_plane.domain.jobs import Failure, Fence, JobKey, Loss
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import EpochLost, Extend, LeaseQueue, Settle, SettleKind, TurnResult
from control_plane.runtime.logs import get_logger
from control_plane.services.dispatch import Dispatcher
from control_plane.services.epoch import EpochKeeper
from control_plane.services.relay import Relay
from control_plane.services.results import MAX_RESULTS, ResultWriter
from control_plane.services.sessions import Done, Granted, Held, Nack, Session, Turn
from control_plane.storage import provisioning, tenants
from control_plane.storage.engine import Storage

log = get_logger(__name__)

TICK_S = 1.0
RETRY_S = 0.5
BUSY_S = 0.25
MAX_CLAIMS = 64
UNREADABLE = "the target's stored secret cannot be opened: see `muster keys status`, or set it again"
# Each page reads the whole group in the database, so pages are large: 5,000 ids are about 200 kB.
MEMBERS_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class _Beats:
    """Leases to extend in one pass, and the turn of each session that they came with."""

    fences: list[tuple[Session, int]]
    seen: list[tuple[Session, int]]

    def put_back(self) -> None:
        """Undo the taking: Redis was not reached."""
        for session, fence in self.fences:
            session.beats.add(fence)

    def confirm(self) -> None:
        """Let the workers know up to which turn their beats were extended."""
        for session, seq in self.seen:
            session.confirmed_seq = seq


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
        results: ResultWriter,
        metrics: Metrics,
        ttl_s: float,
    ) -> None:
        """``ttl_s`` is how long a lease lasts after its last heartbeat."""
        self._storage, self._queue, self._epoch, self._relay = storage, queue, epoch, relay
        self._dispatcher, self._results, self._metrics = dispatcher, results, metrics
        self.ttl_s = ttl_s
        self._sessions: list[Session] = []
        self._settles = self._results.settles
        self._wake = asyncio.Event()
        self._pause_s = TICK_S
        self._truth_up, self._stopping = True, False
        # Tenants that may be served no longer; None stands for all of them.
        self._doubtful: set[TenantId | None] = set()

    def open(self, worker: str, slots: int, held: list[Held], foreign: Sequence[int] = ()) -> Session:
        """Begin a session; leases that the worker still holds are adopted if they are still its own.

        It is told that those with the ``foreign`` fences are lost: they were never granted to it. Unavailable while
        this process stops: another one adopts them.
        """
        if self._stopping:
            raise Unavailable("this control plane is stopping and", retry_after_s=0.2)
        session = Session(worker, slots, held)
        session.lost += [(fence, Loss.EXPIRED) for fence in foreign]
        self._sessions.append(session)
        self._doubtful |= {one.key.tenant for one in held}
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

    def stop(self) -> None:
        """Claim nothing more and end every stream: workers go on elsewhere with what they hold."""
        self._stopping = True
        for session in tuple(self._sessions):
            session.close()

    def receive(self, session: Session, turn: Turn) -> None:
        """Take a worker's turn."""
        session.seen_seq, session.credit, session.draining = turn.seq, turn.credit, turn.draining
        session.beats.update(fence for fence in turn.beats if fence in session.held)
        # A beat for a lease that is not held here: the worker must learn that it is on its own.
        session.lost += [(fence, Loss.EXPIRED) for fence in turn.beats if fence not in session.held]
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

    def recheck(self, tenant: TenantId | None) -> None:
        """Have the leases of a tenant (None: of all) revoked if it is served no longer."""
        self._doubtful.add(tenant)
        self._wake.set()

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
        self._truth_up = await self._results.write()
        await self._revoke()
        settles = [self._settles.popleft() for _ in range(min(len(self._settles), MAX_RESULTS))]
        beats = self._take_beats()
        try:
            turn = await self._queue.turn(
                self._epoch.current,
                self._want(),
                int(self.ttl_s * 1000),
                settles,
                [Extend(session.held[fence].key, session.held[fence].fence) for session, fence in beats.fences],
            )
        except EpochLost:
            await self._recover()
            return Pass(0, 0, 0, again=True)
        except Unavailable:
            self._settles.extendleft(reversed(settles))
            beats.put_back()
            raise
        beats.confirm()
        self._after_turn(turn, settles, beats)
        granted = await self._grant(turn) if turn.claims else 0
        for session in self._sessions:
            session.tell()
        self._pause_s = self._next_pause_s(turn)
        more = bool(self._settles or self._results.waiting) or len(turn.claims) == MAX_CLAIMS
        return Pass(len(settles), granted, turn.reaped, again=more and self._truth_up)

    async def _revoke(self) -> None:
        """End the leases of tenants that are suspended or deleted.

        In the queue they run out by themselves: until their worker has heard of it, nobody else should begin.
        """
        doubtful, self._doubtful = self._doubtful, set()
        held = {one.key.tenant for session in self._sessions for one in session.held.values()} if doubtful else set()
        asked = held if None in doubtful else held & doubtful
        if not asked:
            return
        try:
            async with self._storage.begin_batch(()) as tx:
                gone = asked - await tenants.active_among(tx, asked)
        except Unavailable:
            self._doubtful |= doubtful
            self._truth_up = False
            return
        for session in self._sessions:
            for fence in [fence for fence, one in session.held.items() if one.key.tenant in gone]:
                session.lose(fence, Loss.REVOKED)
                session.beats.discard(fence)
        if gone:
            log.info("leases revoked", tenants=[str(tenant) for tenant in gone])

    def _want(self) -> int:
        """Return how many keys to claim: none while what is wanted cannot be read."""
        if self._stopping or not self._truth_up:
            return 0
        return min(sum(session.free() for session in self._sessions), MAX_CLAIMS)

    def _next_pause_s(self, turn: TurnResult) -> float:
        """Return how long to wait for something to happen: until the next key is due, but no longer than a tick."""
        if not self._truth_up:
            return RETRY_S
        if turn.next_wake_s is None:
            return TICK_S
        # Keys that are ready while no worker is free are no reason to spin.
        free = any(session.free() for session in self._sessions)
        return min(TICK_S, max(turn.next_wake_s, 0.001 if free else BUSY_S))

    def _take_beats(self) -> "_Beats":
        """Take the beats that have come, so that one which comes while Redis is asked waits for the next pass.

        A turn may be confirmed to its worker only when its beats were extended: the worker fences itself by that.
        """
        fences = [(session, fence) for session in self._sessions for fence in session.beats if fence in session.held]
        for session in self._sessions:
            session.beats = set()
        return _Beats(fences, [(session, session.seen_seq) for session in self._sessions])

    def _take(self, session: Session, fence: int, said: Done | Nack) -> None:
        held = session.end_lease(fence)
        session.beats.discard(fence)
        if held is None:
            # A repeat of a result that is durable already, or of a lease from before a restart: settled either way,
            # since what the database says is what counts.
            session.settled.append(fence)
            return
        self._results.take(session, held, said)

    def _after_turn(self, turn: TurnResult, settles: list[Settle], beats: _Beats) -> None:
        for settle, taken in zip(settles, turn.settled, strict=True):
            if not taken and settle.kind is SettleKind.DONE:
                # Somebody else may have written to the target meanwhile: make the key converge once more.
                self._results.redo(settle.key)
        for (session, fence), alive in zip(beats.fences, turn.extended, strict=True):
            if not alive:
                session.lose(fence, Loss.EXPIRED)
        if turn.reaped:
            self._metrics.stale_leases.inc(turn.reaped)
            log.warning("stale leases recovered", leases=turn.reaped)

    async def _grant(self, turn: TurnResult) -> int:
        """Hand claimed keys to workers; what needs no work is settled, what cannot be handed out is released."""
        try:
            plan = await self._dispatcher.assign(turn.claims, self._sessions)
        except Exception as err:
            self._truth_up = False
            self._settles.extend(Settle(claim.key, claim.fence, SettleKind.RELEASE) for claim in turn.claims)
            log.warning("claimed keys go back", keys=len(turn.claims), error=str(err))
            if isinstance(err, Unavailable):
                return 0
            raise
        self._settles.extend(plan.settles)
        for one in plan.broken:
            self._results.take(None, _held(one), Nack(one.fence.fence, Failure.AUTH, None, UNREADABLE, ""))
        count = 0
        for grant in plan.grants:
            session = grant.session
            if session.closed or session.draining:
                self._settles.extend(Settle(one.key, one.fence, SettleKind.RELEASE) for one in grant.leases)
                continue
            for one in grant.leases:
                session.held[one.fence.fence] = _held(one)
            session.grant(grant.leases, grant.targets)
            count += len(grant.leases)
        self._metrics.leases_granted.inc(count)
        return count

    async def _recover(self) -> None:
        """Begin again after the queue was lost: every lease of the old life is over."""
        await self._epoch.recover()
        self._settles.clear()
        for session in self._sessions:
            for fence in list(session.held):
                session.lose(fence, Loss.EPOCH)
            session.beats.clear()
            session.tell()
        self._relay.request_sweep()


def _held(granted: Granted) -> Held:
    """Return what to remember of a lease that is handed out."""
    work = granted.work
    return Held(granted.key, granted.fence, granted.attempt, work.desired_version, work.type.noun)
