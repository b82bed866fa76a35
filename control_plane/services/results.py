"""Writes what workers report: fenced, many in one transaction, and none of it lost while the database is away."""

import re
from collections import deque
from dataclasses import dataclass, replace

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.errors import Unavailable
from control_plane.domain.jobs import BACK_OFF, Effect, Failure, JobKey, Result
from control_plane.domain.resources import ResourceType
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import Settle, SettleKind
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.relay import Relay
from control_plane.services.sessions import Done, Held, Nack, Session
from control_plane.services.trail import Trail
from control_plane.storage import provisioning
from control_plane.storage.engine import Storage

log = get_logger(__name__)

MAX_RESULTS, MAX_ERROR = 1_000, 1_200
# How an error begins that our worker put into words: the request, the status, the scimType.
OURS = re.compile(r"[A-Z]{3,7} /[A-Za-z]{1,20} was answered with \d{3}( \([A-Za-z]{1,20}\))?")
# Who reports a lease that failed before any worker saw it.
CONTROL_PLANE = "control-plane"


@dataclass(frozen=True, slots=True)
class Report:
    """A result, what it means for the queue, and the session that waits for word of it (None: nobody)."""

    session: Session | None
    held: Held
    result: Result
    settle: Settle


class ResultWriter:
    """Takes results at any time and writes them when told. What is durable waits in ``settles`` for the queue."""

    def __init__(self, storage: Storage, relay: Relay, trail: Trail, metrics: Metrics, clock: Clock) -> None:
        self._storage, self._relay, self._metrics, self._clock = storage, relay, metrics, clock
        self._trail = trail
        self._scribe = Scribe(clock)
        self._reports: deque[Report] = deque()
        self._redo: list[JobKey] = []
        self.settles: deque[Settle] = deque()

    @property
    def waiting(self) -> int:
        """How many results are not written yet."""
        return len(self._reports)

    def take(self, session: Session | None, held: Held, said: Done | Nack) -> None:
        """Take one result."""
        self._reports.append(self._report(session, held, said))

    def redo(self, key: JobKey) -> None:
        """Have a key made to converge once more: a worker without its lease may have written to the target."""
        self._redo.append(key)

    async def write(self) -> bool:
        """Write what is there; False if the database is down: all of it waits."""
        if not self._reports and not self._redo:
            return True
        batch = [self._reports.popleft() for _ in range(min(len(self._reports), MAX_RESULTS))]
        redo, self._redo = self._redo, []
        try:
            await self._store(batch, redo)
        except Unavailable as err:
            self._reports.extendleft(reversed(batch))
            self._redo += redo
            log.warning("results wait for the database", results=len(self._reports), error=str(err))
            return False
        except Exception:
            # One result that the database refuses must not take its neighbours, other tenants' too, with it.
            log.exception("a batch of results was refused and is written one by one", results=len(batch))
            return await self._write_apart(batch)
        return True

    async def _write_apart(self, batch: list[Report]) -> bool:
        """Write results one by one; one that is refused becomes a failure of its own resource."""
        for at, report in enumerate(batch):
            try:
                if not await self._try(report):
                    await self._try(self._refused(report))
            except Unavailable:
                self._reports.extendleft(reversed(batch[at:]))
                return False
        return True

    async def _try(self, report: Report) -> bool:
        try:
            await self._store([report], [])
        except Unavailable:
            raise
        except Exception:
            log.exception("a result was refused", key=report.result.key.pack().hex())
            return False
        return True

    async def _store(self, batch: list[Report], redo: list[JobKey]) -> None:
        """Write results in one transaction, then do what follows from them."""
        tenants = {one.result.key.tenant for one in batch} | {key.tenant for key in redo}
        async with self._storage.begin_batch(tenants) as tx:
            outcome = await provisioning.settle(tx, [one.result for one in batch])
            refused = [one.result.key for one in batch if one.result.key not in outcome.accepted]
            redirtied = await provisioning.redirty(tx, [*refused, *redo], self._clock.now())
            told = [one for one in batch if one.result.key not in outcome.repeated]
            await self._trail.append_many(tx, [event for one in told if (event := self._event(one)) is not None])
        self._metrics.fenced_results.inc(len(refused))
        for lag_s in outcome.lags_s:
            self._metrics.convergence_s.observe(lag_s)
        for one in batch:
            if one.session is not None:
                one.session.settled.append(one.result.fence.fence)
            failure = one.result.failure
            self._metrics.results.labels(outcome=failure.name.lower() if failure else "done").inc()
            if one.result.key in outcome.accepted:
                self.settles.append(one.settle)
        self._relay.push([*outcome.raised, *redirtied])

    def _report(self, session: Session | None, held: Held, said: Done | Nack) -> Report:
        worker = session.worker if session else CONTROL_PLANE
        result = Result(held.key, held.fence, worker, self._clock.now())
        if isinstance(said, Done):
            result = replace(result, applied_version=said.applied_version, effect=said.effect, remote_id=said.remote_id)
            settle = Settle(held.key, held.fence, SettleKind.DONE, version=said.applied_version)
            return Report(session, held, result, settle)
        result = replace(result, failure=said.failure, error=said.error, remote_id=said.remote_id or None)
        if said.failure is Failure.RELEASED:
            return Report(session, held, result, Settle(held.key, held.fence, SettleKind.RELEASE))
        return Report(session, held, result, self._retry(held, said.failure, said.retry_after_s))

    def _retry(self, held: Held, failure: Failure, wait_s: float | None) -> Settle:
        if wait_s is None:
            wait_s = BACK_OFF[failure].wait_s(held.attempt, self._clock.jitter())
        # A newer input may mend what the target refused, so it need not wait; a target in trouble must be left alone.
        version = held.version if failure in (Failure.INVALID, Failure.TRANSIENT) else 0
        return Settle(held.key, held.fence, SettleKind.RETRY, version=version, delay_ms=int(wait_s * 1000))

    def _refused(self, report: Report) -> Report:
        """Return the failure that stands for a result which cannot be stored."""
        error = "what the worker reported cannot be stored; the control plane's log has the reason"
        result = replace(report.result, failure=Failure.INVALID, error=error, remote_id=None)
        return replace(report, result=result, settle=self._retry(report.held, Failure.INVALID, None))

    def _event(self, report: Report) -> AuditEvent | None:
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
        if result.failure is not None and report.held.noun == ResourceType.USER.noun:
            deed = replace(deed, subject=result.key.resource, personal={"error": result.error[:MAX_ERROR]})
        caller = Caller(Actor(ActorType.WORKER, result.worker))
        reason = _reason(result.failure, result.error) if result.failure else ""
        return self._scribe.event(result.key.tenant, caller, deed, reason=reason)


def _reason(failure: Failure, error: str) -> str:
    """Return why, without what the target said in its own words: it may name persons, and this is for all to see."""
    known = OURS.match(error)
    return f"{failure.name.lower()}: {known[0]}" if known else failure.name.lower()
