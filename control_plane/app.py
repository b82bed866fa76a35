"""Composition root of a control-plane process: settings -> storage -> queue -> services -> gRPC server."""

import asyncio
import base64
import binascii
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import uvloop

from control_plane.api.audit import AuditServicer
from control_plane.api.directory import DirectoryServicer
from control_plane.api.leases import LeaseServicer
from control_plane.api.paging import PageTokens
from control_plane.api.policy import Role
from control_plane.api.schemas import SchemaServicer
from control_plane.api.server import Server, Servicers
from control_plane.api.tenancy import TargetServicer, TenantServicer, TokenServicer
from control_plane.domain.errors import MusterError
from control_plane.domain.secrets import Sealer
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import LeaseQueue
from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env, host_and_port
from control_plane.runtime.shutdown import stop_event
from control_plane.services.audit import AuditService
from control_plane.services.bulk import BulkService
from control_plane.services.directory import DirectoryService
from control_plane.services.dispatch import Dispatcher
from control_plane.services.duties import run_duties
from control_plane.services.epoch import EpochKeeper
from control_plane.services.leases import LeaseEngine
from control_plane.services.queries import QueryService
from control_plane.services.relay import Relay
from control_plane.services.schemas import SchemaService
from control_plane.services.targets import TargetService
from control_plane.services.tenant_rules import TenantRules
from control_plane.services.tenants import TenantService
from control_plane.services.tokens import Kdf, TokenService, TokenWatch
from control_plane.settings import ControlPlaneSettings
from control_plane.storage.engine import Storage

log = logs.get_logger(__name__)

CLOSE_LIMIT_S = 3.0
# One connection in so many may be held by a stream of a group's members.
STREAMS_SHARE = 4
# And one in so many by lists that no prepared statement answers.
WALKS_SHARE = 2


@dataclass(frozen=True, slots=True)
class Running:
    """A started control plane: where it listens, and what tests look at."""

    port: int
    metrics_port: int
    metrics: Metrics
    engine: LeaseEngine
    relay: Relay


@asynccontextmanager
async def control_plane(settings: ControlPlaneSettings, clock: Clock | None = None) -> AsyncIterator[Running]:
    """Run a control plane while the context is open; leaving it drains."""
    clock, metrics = clock or SystemClock(), Metrics()
    keys = _keys(settings.sealing_key)
    async with AsyncExitStack() as stack:
        storage = await Storage.open(
            settings.postgres_url, pool_size=settings.postgres_pool_size, timeout_s=settings.postgres_timeout_s
        )
        stack.push_async_callback(_within, CLOSE_LIMIT_S, "storage", storage.close)
        queue = await LeaseQueue.open(settings.redis_url)
        stack.push_async_callback(_within, CLOSE_LIMIT_S, "queue", queue.close)
        epoch = EpochKeeper(storage, queue, metrics)
        await epoch.open()
        relay = Relay(storage, queue, epoch, metrics, clock, settings.relay_interval_s)
        relay.request_sweep()
        engine = LeaseEngine(
            storage, queue, epoch, relay, Dispatcher(storage, keys.sealer, clock), metrics, clock, settings.lease_ttl_s
        )
        kdf = Kdf(metrics)
        stack.callback(kdf.close)
        tokens = TokenService(storage, clock, kdf, env=settings.token_env, iterations=settings.token_iterations)
        watch, rules, pages = TokenWatch(storage.listen, clock), TenantRules(storage, clock), PageTokens(keys.pages)
        servicers = Servicers(
            tenants=TenantServicer(TenantService(storage, clock, rules), pages),
            tokens=TokenServicer(tokens, watch, pages),
            targets=TargetServicer(TargetService(storage, clock, keys.sealer, relay), pages),
            directory=DirectoryServicer(
                DirectoryService(
                    storage, clock, relay, rules, streams=max(1, settings.postgres_pool_size // STREAMS_SHARE)
                ),
                QueryService(
                    storage,
                    clock,
                    rules,
                    keys.cursors,
                    timeout_s=settings.filter_timeout_s,
                    walks=max(1, settings.postgres_pool_size // WALKS_SHARE),
                ),
                BulkService(storage, clock, relay, rules),
            ),
            schemas=SchemaServicer(SchemaService(storage, clock, rules)),
            audit=AuditServicer(AuditService(storage), pages),
            leases=LeaseServicer(engine),
        )
        roles = {
            Role.ADMIN: settings.admin_token,
            Role.GATEWAY: settings.gateway_token,
            Role.WORKER: settings.worker_token,
        }
        server = Server(servicers, metrics, roles, with_reflection=settings.reflection)
        await stack.enter_async_context(run_duties(engine, relay, watch, rules, queue, epoch, metrics))
        serving_metrics, stop_metrics = serve_metrics(metrics.registry, *host_and_port(settings.metrics_listen))
        stack.push_async_callback(asyncio.to_thread, stop_metrics)
        port = await server.start(settings.control_plane_listen)
        stack.push_async_callback(
            _within, settings.drain_s + CLOSE_LIMIT_S, "server", lambda: server.stop(settings.drain_s)
        )
        # Before the server waits for calls to end: streams would hold it for the whole time.
        stack.callback(watch.close)
        stack.callback(engine.stop)
        yield Running(port, serving_metrics, metrics, engine, relay)


async def _within(limit_s: float, name: str, close: Callable[[], Awaitable[None]]) -> None:
    """Close something in its time: a driver that hangs must not keep the process from ending."""
    try:
        async with asyncio.timeout(limit_s):
            await close()
    except TimeoutError:
        log.error("did not close in time", part=name, limit_s=limit_s)


@dataclass(frozen=True, slots=True)
class _Keys:
    """What the sealing key serves for, a key of its own for each."""

    sealer: Sealer = field(repr=False)
    pages: bytes = field(repr=False)
    cursors: bytes = field(repr=False)


def _keys(encoded: str) -> _Keys:
    """Return all keys, from the sealing key; SettingsError if it is no key."""
    try:
        key = base64.b64decode(encoded, validate=True)
        pages, cursors = (hashlib.sha256(use + key).digest() for use in (b"page tokens", b"scim cursors"))
        return _Keys(Sealer(key), pages, cursors)
    except (binascii.Error, ValueError) as err:
        raise SettingsError("MUSTER_SEALING_KEY must be the base64 of 32 bytes") from err


async def run(settings: ControlPlaneSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = stop_event()
    async with control_plane(settings) as running:
        log.info("ready", port=running.port, metrics_port=running.metrics_port)
        await stopping.wait()
        log.info("draining", seconds=settings.drain_s)


def main() -> None:
    """Start a control plane from the environment."""
    try:
        settings = from_env(ControlPlaneSettings, os.environ)
        logs.configure("control-plane", settings.log_level)
        for listen in (settings.control_plane_listen, settings.metrics_listen):
            host_and_port(listen)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (SettingsError, MusterError, OSError, RuntimeError) as err:
        # What an operator can mend: a setting, an engine that does not answer, a port that is taken.
        sys.exit(f"muster control-plane: {err}")
