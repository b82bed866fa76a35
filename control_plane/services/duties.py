"""The background duties of a control plane, each restarted when it fails, all ended together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from control_plane.domain.errors import MusterError
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import EpochLost, LeaseQueue
from control_plane.runtime.logs import get_logger
from control_plane.services.epoch import EpochKeeper
from control_plane.services.leases import LeaseEngine
from control_plane.services.relay import Relay

log = get_logger(__name__)

RESTART_S = 1.0
GAUGES_S = 5.0
CANCEL_TRIES, CANCEL_WAIT_S = 5, 1.0

Duty = Callable[[], Awaitable[None]]


@asynccontextmanager
async def run_duties(
    engine: LeaseEngine,
    relay: Relay,
    queue: LeaseQueue,
    epoch: EpochKeeper,
    metrics: Metrics,
    others: Mapping[str, Duty],
) -> AsyncIterator[None]:
    """Run every duty while the context is open: those of the lease queue, and the ``others`` by their names."""

    async def wake_on_push() -> None:
        while True:
            await relay.enqueued.wait()
            relay.enqueued.clear()
            engine.wake()

    async def wake_on_publish() -> None:
        async for _ in queue.wakes():
            engine.wake()

    async def gauge() -> None:
        while True:
            try:
                stats = await queue.stats(epoch.current)
            except (EpochLost, MusterError):
                stats = None  # the engine deals with it; the gauges keep their last value
            if stats is not None:
                metrics.queue_keys.labels(state="ready").set(stats.ready)
                metrics.queue_keys.labels(state="leased").set(stats.leased)
                metrics.queue_keys.labels(state="delayed").set(stats.delayed)
            await asyncio.sleep(GAUGES_S)

    duties: dict[str, Duty] = {
        "lease engine": engine.run,
        "relay pushes": relay.run_pushes,
        "relay sweeps": relay.run_sweeps,
        "wake on push": wake_on_push,
        "wake on publish": wake_on_publish,
        "gauges": gauge,
        **others,
    }
    tasks = [asyncio.create_task(_keep(name, duty), name=name) for name, duty in duties.items()]
    try:
        yield
    finally:
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel every task and wait; a cancellation that got lost in a driver is sent again, and named."""
    pending = set(tasks)
    for _ in range(CANCEL_TRIES):
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_WAIT_S)
        if not pending:
            return
        log.warning("duties did not end when told", duties=sorted(task.get_name() for task in pending))


async def _keep(name: str, duty: Callable[[], Awaitable[None]]) -> None:
    """Run ``duty`` for ever: a fault nobody foresaw is logged and must not end the process's work."""
    while True:
        try:
            await duty()
        except Exception:
            log.exception("a duty failed and is started again", duty=name)
        await asyncio.sleep(RESTART_S)
