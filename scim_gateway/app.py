"""The composition root of the gateway: settings -> channel -> token verifier and watch -> HTTP server."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env, host_and_port
from control_plane.runtime.shutdown import stop_event
from scim_gateway.base_url import BaseUrl, parse_networks
from scim_gateway.calls import Deadlines, DirectoryCalls, verify_token
from scim_gateway.connections import ConnectionLimits, GuardedRunner
from scim_gateway.handlers.asking import Rules
from scim_gateway.handlers.bulk import BulkHandlers
from scim_gateway.handlers.discovery import DiscoveryHandlers
from scim_gateway.handlers.health import HealthHandlers
from scim_gateway.handlers.lists import ListHandlers
from scim_gateway.handlers.resources import ResourceHandlers
from scim_gateway.kinds import GROUP, USER
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.middleware.auth import Authenticator
from scim_gateway.middleware.errors import errors_as_scim
from scim_gateway.middleware.observe import Observer, set_headers
from scim_gateway.routes import PUBLIC_ROUTES, READ_ROUTES, Handlers, add_routes
from scim_gateway.settings import GatewaySettings
from scim_gateway.token_verifier import TokenVerifier
from scim_gateway.token_watch import TokenWatch

log = logs.get_logger(__name__)

# How long aiohttp reads and discards what is left of a refused body, so that the client gets to see the answer.
LINGERING_S = 2.0
BACKLOG = 512
# After the drain: the last bytes of the last answer.
FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway at work."""

    port: int
    verifier: TokenVerifier
    observer: Observer


@asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, clock: Clock, metrics: GatewayMetrics
) -> AsyncGenerator[Gateway, None]:
    """Serve until the context ends, then drain: accept nothing, finish what is at work, close."""
    async with open_channel(settings.control_plane) as channel, asyncio.TaskGroup() as group:
        control_plane = ControlPlane(channel, settings.gateway_token)
        ask = partial(verify_token, control_plane, timeout_s=settings.gateway_rpc_timeout_s)
        verifier = TokenVerifier(ask, clock, metrics, settings.gateway_token_cache_size)
        watching = group.create_task(TokenWatch(control_plane, verifier, clock).run())
        observer, health = Observer(metrics), HealthHandlers(verifier)
        app = _build(settings, control_plane, verifier, observer, health)
        runner = GuardedRunner(app, _limits(settings), metrics, **_options(settings))
        try:
            await runner.setup()
            host, port = host_and_port(settings.gateway_listen)
            site = web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=settings.gateway_reuse_port)
            await site.start()
            yield Gateway(site.port, verifier, observer)
            health.is_stopping = observer.is_stopping = True
            await site.stop()
            if not await observer.wait_until_idle(settings.gateway_drain_s):
                log.warning("requests cut by the end of the drain", inflight=observer.inflight)
        finally:
            await runner.cleanup()
            watching.cancel()


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = stop_event()
    metrics = GatewayMetrics(CollectorRegistry())
    host, port = host_and_port(settings.metrics_listen)
    metrics_port, stop_metrics = serve_metrics(metrics.registry, host, port)
    try:
        async with open_gateway(settings, SystemClock(), metrics) as gateway:
            log.info("ready", port=gateway.port, metrics_port=metrics_port)
            await stopping.wait()
            log.info("stopping", inflight=gateway.observer.inflight)
    finally:
        # Last, so that the drain can be watched.
        await asyncio.to_thread(stop_metrics)
    log.info("stopped")


def main() -> None:
    """Run one gateway with settings from the environment."""
    try:
        settings = from_env(GatewaySettings, os.environ)
        for listen in (settings.gateway_listen, settings.metrics_listen):
            host_and_port(listen)
        parse_networks(settings.gateway_trusted_proxies)
    except SettingsError as err:
        sys.exit(f"muster gateway: {err}")
    logs.configure("gateway", settings.log_level)
    try:
        uvloop.run(run(settings))
    except* OSError as failed:
        sys.exit(f"muster gateway: {failed.exceptions[0]}")


def _build(
    settings: GatewaySettings,
    control_plane: ControlPlane,
    verifier: TokenVerifier,
    observer: Observer,
    health: HealthHandlers,
) -> web.Application:
    directory = DirectoryCalls(control_plane, _deadlines(settings))
    base_url = BaseUrl(settings.gateway_public_url, parse_networks(settings.gateway_trusted_proxies))
    rules = Rules(base_url, settings.gateway_max_body_bytes, settings.gateway_body_timeout_s)
    authenticator = Authenticator(verifier, observer.metrics, PUBLIC_ROUTES, READ_ROUTES)
    app = web.Application(middlewares=[observer.observe, errors_as_scim, authenticator.authenticate])
    app.on_response_prepare.append(set_headers)
    handlers = Handlers(
        users=ResourceHandlers(USER, directory, rules),
        groups=ResourceHandlers(GROUP, directory, rules),
        user_lists=ListHandlers(USER, directory, rules),
        group_lists=ListHandlers(GROUP, directory, rules),
        root_lists=ListHandlers(None, directory, rules),
        bulk=BulkHandlers(directory, rules),
        discovery=DiscoveryHandlers(directory, rules),
        health=health,
    )
    add_routes(app, handlers)
    return app


def _deadlines(settings: GatewaySettings) -> Deadlines:
    return Deadlines(settings.gateway_rpc_timeout_s, settings.gateway_stream_timeout_s, settings.gateway_bulk_timeout_s)


def _limits(settings: GatewaySettings) -> ConnectionLimits:
    return ConnectionLimits(
        settings.gateway_max_connections,
        settings.gateway_max_line_bytes,
        settings.gateway_header_timeout_s,
        settings.gateway_write_timeout_s,
    )


def _options(settings: GatewaySettings) -> dict[str, object]:
    return {
        "access_log": None,
        # A compressed body is refused; it must not be unpacked before that.
        "auto_decompress": False,
        "keepalive_timeout": settings.gateway_keepalive_timeout_s,
        "lingering_time": LINGERING_S,
        "max_field_size": settings.gateway_max_header_bytes,
        "max_headers": settings.gateway_max_headers,
        "shutdown_timeout": FLUSH_S,
    }
