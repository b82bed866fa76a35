"""Works on leases: as many at once as there are slots, each in a task of its own, on the handlers' loop."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import orjson

from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from workers.connectors.base import Desired, TargetError
from workers.connectors.cache import ConnectorCache
from workers.converge import Convergence
from workers.leases import result_label
from workers.limits import acceptable, shortened
from workers.messages import Assigned, Done, Failure, Lease, Nack, ResourceKind, Result
from workers.metrics import WorkerMetrics
from workers.outcomes import nack_of
from workers.permit import LeaseExpired, LeasePermit
from workers.stream import ControlPlaneAway, LeaseGone

# How long cancelled handlers may take to clean up at the end of a drain.
CANCEL_S = 0.3

log = get_logger(__name__)


class Outbox(Protocol):
    """Where results go: the lease stream, by way of the bridge."""

    def finish(self, result: Result) -> None:
        """Report a result."""
        ...

    def progress(self, fence: int, calls: int) -> None:
        """Tell that a lease moves."""
        ...

    async def members(self, lease: Lease) -> frozenset[str]:
        """Return the target's ids of a leased group's members; LeaseGone or ControlPlaneAway."""
        ...


@dataclass(slots=True)
class _Entry:
    lease: Lease
    permit: LeasePermit
    task: asyncio.Task[None] | None = None


class Executor:
    """The inbox of the lease stream. All its methods are called on the handlers' loop."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        outbox: Outbox,
        connectors: ConnectorCache,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        slots: int,
        call_timeout_s: float,
    ) -> None:
        """``group`` owns the tasks of the leases."""
        self._group, self._outbox, self._connectors = group, outbox, connectors
        self._clock, self._metrics = clock, metrics
        self._slots, self._call_timeout_s = slots, call_timeout_s
        self._running: dict[int, _Entry] = {}
        # Leases that came while we were telling the server that we are full; at most as many again as there are slots.
        self._waiting: dict[int, _Entry] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._measure()

    # What the stream tells.

    def assigned(self, leases: Sequence[Assigned]) -> None:
        """Begin these leases as soon as there are slots; hand back what is too much."""
        for assigned in leases:
            fence = assigned.lease.fence
            if self._draining or len(self._waiting) >= 2 * self._slots - len(self._running):
                self._report(Nack(fence, Failure.RELEASED, "the worker is full or stopping"))
                continue
            permit = LeasePermit(
                self._clock, assigned.deadline, assigned.ttl_s, self._call_timeout_s,
                partial(self._outbox.progress, fence),
            )  # fmt: skip
            self._waiting[fence] = _Entry(assigned.lease, permit)
        self._fill()

    def renewed(self, deadlines: dict[int, float]) -> None:
        """Take new deadlines by fence."""
        for fence, deadline in deadlines.items():
            if entry := self._running.get(fence) or self._waiting.get(fence):
                entry.permit.renew(deadline)

    def revoked(self, fences: Sequence[int]) -> None:
        """Stop working on these leases; report nothing about them."""
        for fence in fences:
            self._waiting.pop(fence, None)
            if (entry := self._running.get(fence)) and entry.task:
                entry.task.cancel()
        self._measure()

    # What the process tells.

    async def drain(self, grace_s: float) -> None:
        """Take no more leases, hand back what is not begun, let the rest finish for ``grace_s``, then hand it back."""
        self._draining = True
        waiting, self._waiting = self._waiting, {}
        for fence in waiting:
            self._report(Nack(fence, Failure.RELEASED, "the worker is stopping"))
        self._measure()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        for fence, entry in list(self._running.items()):
            # The result first: the task reports nothing once it is cancelled.
            self._report(Nack(fence, Failure.RELEASED, f"not finished {grace_s:g} s after the worker was told to stop"))
            if entry.task:
                entry.task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self._idle.wait()

    def halt(self) -> None:
        """Begin nothing more; what runs is cancelled by the owner of the tasks."""
        self._draining = True
        self._waiting.clear()

    # The work.

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            fence = next(iter(self._waiting))
            entry = self._running[fence] = self._waiting.pop(fence)
            self._idle.clear()
            entry.task = self._group.create_task(self._work(entry))
            # Not a "finally" in the task: one that is cancelled before its first step never gets to it.
            entry.task.add_done_callback(partial(self._leave, entry))
        self._measure()

    async def _work(self, entry: _Entry) -> None:
        self._report(await self._attempt(entry))

    def _leave(self, entry: _Entry, _task: asyncio.Task[None]) -> None:
        del self._running[entry.lease.fence]
        if not self._running:
            self._idle.set()
        self._fill()

    async def _attempt(self, entry: _Entry) -> Result:
        """Return the result of one lease."""
        lease, permit = entry.lease, entry.permit
        if lease.target is None:
            return Nack(lease.fence, Failure.TRANSIENT, "the lease came without a target that this worker can speak to")
        convergence: Convergence | None = None
        try:
            async with self._connectors.use(lease.target, permit) as connector:
                convergence = Convergence(connector, permit, await self._desired(lease), lease.remote_id)
                converged = await convergence.run()
            return Done(lease.fence, lease.version, converged.remote_id, converged.effect, permit.calls)
        except (LeaseExpired, LeaseGone) as err:
            # Whatever was found out is dropped. The hand-back is fenced: it changes nothing for another holder.
            return Nack(lease.fence, Failure.RELEASED, shortened(str(err)))
        except ControlPlaneAway as err:
            return Nack(lease.fence, Failure.TRANSIENT, shortened(str(err)))
        except Exception as err:  # whatever one lease does, the others go on
            if not isinstance(err, TargetError):
                log.exception("defect while working on a lease", fence=lease.fence, target=lease.target.id)
            linked_id = convergence.linked_id if convergence else lease.remote_id
            return nack_of(err, lease.fence, linked_id)

    async def _desired(self, lease: Lease) -> Desired:
        if lease.desired is None:
            return Desired(lease.kind, "", former=lease.former)
        members = await self._outbox.members(lease) if lease.kind is ResourceKind.GROUP else frozenset()
        document = orjson.loads(lease.desired.document)
        # The envelope decides: the document's externalId is the same, or missing.
        if lease.desired.external_id:
            document["externalId"] = lease.desired.external_id
        return Desired(lease.kind, lease.desired.id, document, members)

    def _report(self, told: Result) -> None:
        # The stream does the same to all results; here, so that what is counted and logged is what is sent.
        result = acceptable(told)
        outcome = "done" if isinstance(result, Done) else "nack"
        self._metrics.results.labels(outcome, result_label(result)).inc()
        if isinstance(result, Nack) and result.failure is not Failure.RELEASED:
            log.warning("lease given up", fence=result.fence, failure=result.failure.name, error=result.error)
        self._outbox.finish(result)

    def _measure(self) -> None:
        self._metrics.slots.labels("busy").set(len(self._running))
        self._metrics.slots.labels("free").set(self._slots - len(self._running))
        self._metrics.slots.labels("waiting").set(len(self._waiting))
