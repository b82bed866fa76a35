"""The worker process: everything is made here, started in order and stopped in order."""

import asyncio
import os
import sys
from contextlib import suppress

import uvloop

from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env
from control_plane.runtime.shutdown import stop_event
from workers.bridge import StreamThread
from workers.connectors.cache import ConnectorCache
from workers.connectors.registry import CONNECTORS, ConnectorContext
from workers.executor import Executor
from workers.metrics import WorkerMetrics
from workers.settings import WorkerSettings
from workers.stream import StreamSettings

# How long the last results may take to be settled, after the drain; with the goodbye it stays below 2 s.
SETTLE_S = 0.8
LAG_PERIOD_S = 0.5

log = logs.get_logger(__name__)


async def run(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT, then drain: all ends within ``worker_drain_s`` + 2 seconds."""
    await serve(settings, stop_event(), SystemClock(), WorkerMetrics())


async def serve(settings: WorkerSettings, stopping: asyncio.Event, clock: Clock, metrics: WorkerMetrics) -> None:
    """Work until ``stopping`` is set, then drain; an exception if the stream's thread fails."""
    host, port = settings.metrics_address()
    metrics_port, stop_metrics = serve_metrics(metrics.registry, host, port)
    connectors = ConnectorCache(CONNECTORS, ConnectorContext(clock, metrics.observe_request))
    stream = StreamThread(_stream_settings(settings), clock, metrics)
    try:
        async with asyncio.TaskGroup() as group:
            executor = Executor(
                group, stream, connectors, clock, metrics,
                slots=settings.worker_slots, call_timeout_s=settings.worker_call_timeout_s,
            )  # fmt: skip
            duties = [group.create_task(connectors.run()), group.create_task(_measure_lag(clock, metrics))]
            stream.start(executor)
            log.info("ready", port=0, metrics_port=metrics_port, worker_id=settings.name(), slots=settings.worker_slots)
            try:
                await _stopped(stopping, stream)
                await _drain(settings, stream, executor)
            finally:
                executor.halt()
            for duty in duties:
                duty.cancel()
    finally:
        await asyncio.gather(stream.close(), connectors.close(), asyncio.to_thread(stop_metrics))


def main() -> None:
    """Run a worker with the settings of the environment; exit status 2 if they are wrong."""
    try:
        settings = from_env(WorkerSettings, os.environ)
    except SettingsError as err:
        sys.exit(f"muster worker: {err}")
    logs.configure("worker", settings.log_level)
    uvloop.run(run(settings))


def _stream_settings(settings: WorkerSettings) -> StreamSettings:
    return StreamSettings(
        addresses=settings.control_plane,
        token=settings.worker_token,
        worker_id=settings.name(),
        slots=settings.worker_slots,
        kinds=tuple(CONNECTORS),
    )


async def _stopped(stopping: asyncio.Event, stream: StreamThread) -> None:
    """Return when we are told to stop; raise what ended the stream's thread, if it ends before."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(stopping.wait())
        stream.ended.add_done_callback(lambda _: waiting.cancel())
    if stream.ended.done():
        stream.ended.result()


async def _drain(settings: WorkerSettings, stream: StreamThread, executor: Executor) -> None:
    """Take nothing new, finish or hand back, wait until the results are safe, close."""
    log.info("draining", grace_s=settings.worker_drain_s)
    stream.drain()
    await executor.drain(settings.worker_drain_s)
    settled = await stream.settled(SETTLE_S)
    log.info("stopped", all_settled=settled)
    await stream.close()


async def _measure_lag(clock: Clock, metrics: WorkerMetrics) -> None:
    """Tell how late this loop wakes up: a handler that blocks it shows here."""
    with suppress(asyncio.CancelledError):
        while True:
            before = clock.monotonic()
            await asyncio.sleep(LAG_PERIOD_S)
            metrics.loop_lag.set(max(0.0, clock.monotonic() - before - LAG_PERIOD_S))
