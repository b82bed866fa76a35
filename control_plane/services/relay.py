"""Brings what the database says is wanted (desired > applied) into the lease queue.

Two ways lead there. A write that has just committed is pushed at once, many in one call. And a sweep over all that is
dirty finds what a crash, a full buffer or a lost queue left behind; enqueuing twice is harmless, keys coalesce.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from control_plane.domain.errors import Unavailable
from control_plane.domain.ids import TargetId, TenantId
from control_plane.domain.jobs import JobKey
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import Entry, EpochLost, LeaseQueue
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.epoch import EpochKeeper
from control_plane.storage import provisioning, tenants
from control_plane.storage.engine import Storage
from control_plane.storage.provisioning import Dirty, Raised

log = get_logger(__name__)

# Pushed keys that wait for the queue; beyond that they are dropped here and found by the next sweep.
PUSH_LIMIT = 20_000
BATCH = 500
TENANTS_PER_PAGE = 500
# A sweep may take at most this share of the time, however much is dirty.
SWEEP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class _Sweep:
    """What one sweep does besides: count the leases that ended with the queue, hurry some targets' keys."""

    counting: bool
    expedited: frozenset[TargetId]


class Relay:
    """Owns the way from the database to the queue in this process."""

    def __init__(
        self, storage: Storage, queue: LeaseQueue, epoch: EpochKeeper, metrics: Metrics, clock: Clock, interval_s: float
    ) -> None:
        """``interval_s`` is the pause between sweeps."""
        self._storage, self._queue, self._epoch = storage, queue, epoch
        self._metrics, self._clock, self._interval_s = metrics, clock, interval_s
        self._pushed: deque[Entry] = deque()
        self._push_wake, self._sweep_wake = asyncio.Event(), asyncio.Event()
        self._expedited: set[TargetId] = set()
        self.enqueued = asyncio.Event()  # set after each push or sweep that put something into the queue

    def push(self, raised: Iterable[Raised]) -> None:
        """Take what a committed write raised. Never waits and never fails: what is lost here is found by the sweep."""
        for one in raised:
            if not one.active:
                continue
            if len(self._pushed) >= PUSH_LIMIT:
                self.request_sweep()
                break
            self._pushed.append(Entry(one.key, one.version))
        if self._pushed:
            self._push_wake.set()

    def request_sweep(self, expedite: TargetId | None = None) -> None:
        """Ask for a sweep now; keys of the target ``expedite`` that wait after a failure are tried at once."""
        if expedite is not None:
            self._expedited.add(expedite)
        self._sweep_wake.set()

    async def run_pushes(self) -> None:
        """Pass pushes on until cancelled."""
        while True:
            await self._push_wake.wait()
            self._push_wake.clear()
            await self.push_once()

    async def push_once(self) -> int:
        """Enqueue everything that was pushed; return how many keys. On a fault they are left to the sweep."""
        count = 0
        while self._pushed:
            batch = list(islice(_drain(self._pushed), BATCH))
            try:
                await self._queue.enqueue(self._epoch.current, batch)
            except (Unavailable, EpochLost) as err:
                log.warning("keys not enqueued, the sweep will find them", keys=len(batch), error=str(err))
                self._pushed.clear()
                self.request_sweep()
                return count
            count += len(batch)
            self._metrics.relay_enqueued.labels(way="push").inc(len(batch))
            self.enqueued.set()
        return count

    async def run_sweeps(self) -> None:
        """Sweep every interval, and when asked, until cancelled."""
        pause_s = self._interval_s
        while True:
            try:
                async with asyncio.timeout(pause_s):
                    await self._sweep_wake.wait()
            except TimeoutError:
                pass
            self._sweep_wake.clear()
            began = self._clock.monotonic()
            try:
                await self.sweep_once()
            except (Unavailable, EpochLost) as err:
                log.warning("sweep cut short", error=str(err))
                pause_s = 0.5
                continue
            pause_s = max(self._interval_s, (self._clock.monotonic() - began) / SWEEP_SHARE)

    async def sweep_once(self) -> int:
        """Enqueue every dirty key of every tenant that is served; return how many."""
        sweep = _Sweep(counting=self._epoch.take_began(), expedited=frozenset(self._expedited))
        count = 0
        after = TenantId(provisioning.NIL)
        while True:
            async with self._storage.begin_batch(()) as tx:
                page = await tenants.list_active(tx, after, TENANTS_PER_PAGE)
            if page:
                count += await self._sweep_tenants(page, sweep)
            if len(page) < TENANTS_PER_PAGE:
                self._expedited -= sweep.expedited
                return count
            after = page[-1]

    async def _sweep_tenants(self, page: list[TenantId], sweep: "_Sweep") -> int:
        count = 0
        after: JobKey | None = None
        while True:
            dirty = await self._dirty_page(page, after)
            if dirty:
                entries = [Entry(one.key, one.version, expedite=one.key.target in sweep.expedited) for one in dirty]
                await self._queue.enqueue(self._epoch.current, entries)
                self._metrics.relay_enqueued.labels(way="sweep").inc(len(dirty))
                if sweep.counting:
                    self._count_cut_off(dirty)
                self.enqueued.set()
                count += len(dirty)
                after = dirty[-1].key
            if len(dirty) < BATCH:
                return count

    async def _dirty_page(self, page: list[TenantId], after: JobKey | None) -> list[Dirty]:
        async with self._storage.begin_batch(page) as tx:
            return await provisioning.dirty_page(tx, after, BATCH)

    def _count_cut_off(self, dirty: list[Dirty]) -> None:
        """Count the leases that ended because the queue was lost: they are dirty rows dispatched in an earlier life."""
        cut_off = sum(1 for row in dirty if row.held is not None and row.held.epoch < self._epoch.current)
        if cut_off:
            self._metrics.stale_leases.inc(cut_off)
            log.warning("leases ended with the queue's life", leases=cut_off)


def _drain(pushed: deque[Entry]) -> Iterator[Entry]:
    while pushed:
        yield pushed.popleft()
