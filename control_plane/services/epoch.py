"""The life of the queue: a number in PostgreSQL that rises whenever Redis lost what it knew.

Every script refuses to run unless Redis holds the same number, so that an emptied Redis is noticed at the next call and
a fence of an earlier life can never be taken for one of this (a fencing token kept only in Redis is not a fence).
"""

from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import EpochLost, LeaseQueue
from control_plane.runtime.logs import get_logger
from control_plane.storage import queue_state
from control_plane.storage.engine import Storage

log = get_logger(__name__)


class EpochKeeper:
    """Knows the current epoch, and begins a new one when the queue was lost."""

    def __init__(self, storage: Storage, queue: LeaseQueue, metrics: Metrics) -> None:
        self._storage, self._queue, self._metrics = storage, queue, metrics
        self.current = 0
        self._began = False

    async def open(self) -> None:
        """Learn the epoch at start-up; begin a new one if Redis does not hold it."""
        async with self._storage.begin_batch(()) as tx:
            self._set(await queue_state.current(tx))
        try:
            await self._queue.stats(self.current)
        except EpochLost:
            await self.recover()

    async def recover(self) -> None:
        """Agree with the other control planes on the new epoch after EpochLost, and begin it in Redis if nobody has."""
        async with self._storage.begin_batch(()) as tx:
            latest = await queue_state.current(tx)
            if latest == self.current:
                latest = await queue_state.advance(tx, self.current)
        self._set(latest)
        if await self._queue.reset(latest):
            self._began = True
            log.warning("the queue was lost: a new life begins", epoch=latest)

    def take_began(self) -> bool:
        """Tell, once, that this process began the current epoch: it counts the leases that ended with the old one."""
        began, self._began = self._began, False
        return began

    def _set(self, epoch: int) -> None:
        self.current = epoch
        self._metrics.epoch.set(epoch)
