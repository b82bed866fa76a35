"""The process: starts everything in order, and stops it in the other order."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvloop

from control_plane.api.interceptors.audit import AuditInterceptor
from control_plane.api.interceptors.auth import AuthInterceptor
from control_plane.api.interceptors.rates import RateInterceptor
from control_plane.api.server import Guards, Server
from control_plane.api.tls import transport
from control_plane.app.callers import authenticator
from control_plane.app.foundation import CLOSE_LIMIT_S, lay, within
from control_plane.app.use_cases import duties, servicers
from control_plane.domain.errors import MusterError
from control_plane.metrics import Metrics
from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env, host_and_port
from control_plane.runtime.shutdown import stop_event
from control_plane.runtime.tls_metrics import show_expiry
from control_plane.services.duties import run_duties
from control_plane.services.leases import LeaseEngine
from control_plane.services.relay import Relay
from control_plane.settings import ControlPlaneSettings

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A started control plane: where it listens, and what tests look at. Without an admin port of its own it is 0."""

    port: int
    admin_port: int
    metrics_port: int
    metrics: Metrics
    engine: LeaseEngine
    relay: Relay


@asynccontextmanager
async def control_plane(settings: ControlPlaneSettings, clock: Clock | None = None) -> AsyncIterator[Running]:
    """Run a control plane while the context is open; leaving it drains."""
    clock = clock or SystemClock()
    reached = transport(settings, settings.gateway_token, settings.worker_token)
    async with AsyncExitStack() as stack:
        f = await lay(settings, clock, stack)
        if reached.files:
            show_expiry(f.metrics.registry, reached.files)
        callers = authenticator(settings, f.storage, clock, f.kdf)
        guards = Guards(
            AuthInterceptor(callers, settings.tls_trust_domain, f.metrics),
            AuditInterceptor(f.refusals, f.reads),
            RateInterceptor(clock),
        )
        server = Server(servicers(f), f.metrics, guards, with_reflection=settings.reflection)
        await stack.enter_async_context(run_duties(f.engine, f.relay, f.queue, f.epoch, f.metrics, duties(f)))
        metrics_port, stop_metrics = serve_metrics(f.metrics.registry, *host_and_port(settings.metrics_listen))
        stack.push_async_callback(asyncio.to_thread, stop_metrics)
        port, admin_port = await server.start(
            settings.control_plane_listen, settings.control_plane_admin_listen, reached
        )
        stack.push_async_callback(
            within, settings.drain_s + CLOSE_LIMIT_S, "server", lambda: server.stop(settings.drain_s)
        )
        # Before the server waits for calls to end: streams would hold it for the whole time.
        for streaming in (f.watch.close, f.tail.close, f.engine.stop):
            stack.callback(streaming)
        yield Running(port, admin_port, metrics_port, f.metrics, f.engine, f.relay)


async def run(settings: ControlPlaneSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = stop_event()
    async with control_plane(settings) as running:
        log.info("ready", port=running.port, admin_port=running.admin_port, metrics_port=running.metrics_port)
        await stopping.wait()
        log.info("draining", seconds=settings.drain_s)


def main() -> None:
    """Start a control plane from the environment."""
    try:
        settings = from_env(ControlPlaneSettings, os.environ)
        logs.configure("control-plane", settings.log_level)
        for listen in (settings.control_plane_listen, settings.metrics_listen, settings.control_plane_admin_listen):
            if listen:
                host_and_port(listen)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (SettingsError, MusterError, OSError, RuntimeError) as err:
        # What an operator can mend: a setting, an engine that does not answer, a port that is taken.
        sys.exit(f"muster control-plane: {err}")
