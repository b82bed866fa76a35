"""The worker process: everything is made here, started in order and stopped in order."""

import asyncio
import os
import sys
from contextlib import suppress

import uvloop

from control_plane.client.names import id_in, is_name_of
from control_plane.client.tls import ClientTls, client_tls
from control_plane.outgoing.guard import Guard
from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env
from control_plane.runtime.shutdown import stop_event
from control_plane.runtime.tls_files import warn_of_plaintext
from control_plane.runtime.tls_metrics import show_expiry
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
    """Work until ``stopping`` is set, then drain; an exception if the stream's thread fails.

    SettingsError, before anything is begun, if it is unclear how to reach the control plane.
    """
    connection = stream_settings(settings)
    if connection.tls:
        show_expiry(metrics.registry, connection.tls.files)
    host, port = settings.metrics_address()
    metrics_port, stop_metrics = serve_metrics(metrics.registry, host, port)
    connectors = ConnectorCache(
        CONNECTORS, ConnectorContext(clock, metrics.observe_request, Guard.parse(settings.allowed_networks))
    )
    stream = StreamThread(connection, clock, metrics)
    try:
        async with asyncio.TaskGroup() as group:
            executor = Executor(
                group, stream, connectors, clock, metrics,
                slots=settings.worker_slots, call_timeout_s=settings.worker_call_timeout_s,
            )  # fmt: skip
            duties = [group.create_task(connectors.run()), group.create_task(_measure_lag(clock, metrics))]
            stream.start(executor)
            log.info("ready", port=0, metrics_port=metrics_port, worker_id=connection.worker_id, slots=connection.slots)
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
        logs.configure("worker", settings.log_level)
        uvloop.run(run(settings))
    except SettingsError as err:
        sys.exit(f"muster worker: {err}")


def stream_settings(settings: WorkerSettings) -> StreamSettings:
    """Return how to reach the control plane, and as whom; SettingsError if that is not clear."""
    tls = client_tls(settings)
    if tls is None:
        warn_of_plaintext()
    return StreamSettings(
        addresses=settings.control_plane,
        token=settings.worker_token,
        worker_id=_name(settings, tls),
        slots=settings.worker_slots,
        kinds=tuple(CONNECTORS),
        tls=tls,
    )


def _name(settings: WorkerSettings, tls: ClientTls | None) -> str:
    """Return this worker's id: under TLS it begins with the one in its certificate, or leases are refused."""
    if tls is None:
        return settings.name()
    peer = tls.files.material.spiffe_id
    if not settings.worker_id:
        return f"{id_in(peer)}-{settings.name()}"
    if not is_name_of(settings.worker_id, peer):
        raise SettingsError(
            f"MUSTER_WORKER_ID is {settings.worker_id!r}, but the certificate is {peer!r}: use its last part, or begin "
            "with that and '-'"
        )
    return settings.worker_id


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
