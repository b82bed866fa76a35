"""The composition root of the gateway: settings -> channel -> token verifier and watch -> HTTP server."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.client.control_plane import ControlPlane
from control_plane.client.lasting_channel import lasting_channel
from control_plane.client.tls import ClientTls, client_tls
from control_plane.runtime import logs
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.metrics_endpoint import serve_metrics
from control_plane.runtime.settings import SettingsError, from_env, host_and_port
from control_plane.runtime.shutdown import stop_event
from control_plane.runtime.tls_files import warn_of_plaintext
from control_plane.runtime.tls_metrics import show_expiry
from scim_gateway.application import Parts, admin_application, edge_of, http_options, scim_application
from scim_gateway.calls import verify_token
from scim_gateway.connections import GuardedRunner
from scim_gateway.edge import edge_headers
from scim_gateway.forwarded import Proxies, parse_networks
from scim_gateway.handlers.health import HealthHandlers
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.middleware.auth import Desk
from scim_gateway.middleware.observe import Observer
from scim_gateway.permits import Permits, take_permits
from scim_gateway.reports import TokenReports, report_token_use
from scim_gateway.settings import GatewaySettings
from scim_gateway.tarpit import Tarpit
from scim_gateway.token_verifier import TokenVerifier
from scim_gateway.token_watch import TokenWatch

log = logs.get_logger(__name__)

BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway at work."""

    port: int
    admin_port: int  # that of the health paths
    verifier: TokenVerifier
    observer: Observer
    reports: TokenReports


@asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, clock: Clock, metrics: GatewayMetrics
) -> AsyncGenerator[Gateway, None]:
    """Serve until the context ends, then drain: accept nothing, finish what is at work, close."""
    tls = _tls(settings)
    if tls:
        show_expiry(metrics.registry, tls.files)
    async with lasting_channel(settings.control_plane, tls) as channel, asyncio.TaskGroup() as group:
        control_plane = ControlPlane(channel, settings.gateway_token)
        parts = _parts(settings, control_plane, clock, metrics)
        desk, observer = parts.desk, parts.observer
        duties = [
            group.create_task(TokenWatch(control_plane, desk.verifier, clock).run()),
            group.create_task(desk.reports.run()),
        ]
        async with AsyncExitStack() as stack:
            try:
                runner = await _serve(stack, scim_application(settings, parts), settings, parts)
                site = await _listen(runner, settings.gateway_listen, reuse_port=settings.gateway_reuse_port)
                admin_port = site.port
                if settings.gateway_admin_listen:
                    admin = await _serve(stack, admin_application(parts), settings, parts)
                    admin_port = (await _listen(admin, settings.gateway_admin_listen, reuse_port=False)).port
                yield Gateway(site.port, admin_port, desk.verifier, observer, desk.reports)
                parts.health.is_stopping = observer.is_stopping = True
                await site.stop()
                if not await observer.wait_until_idle(settings.gateway_drain_s):
                    log.warning("requests cut by the end of the drain", inflight=observer.inflight)
                await desk.reports.finish()
            finally:
                for duty in duties:
                    duty.cancel()


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = stop_event()
    metrics = GatewayMetrics(CollectorRegistry())
    host, port = host_and_port(settings.metrics_listen)
    metrics_port, stop_metrics = serve_metrics(metrics.registry, host, port)
    try:
        async with open_gateway(settings, SystemClock(), metrics) as gateway:
            log.info("ready", port=gateway.port, admin_port=gateway.admin_port, metrics_port=metrics_port)
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
        for listen in (settings.gateway_listen, settings.metrics_listen, settings.gateway_admin_listen):
            if listen:
                host_and_port(listen)
        parse_networks(settings.gateway_trusted_proxies)
    except SettingsError as err:
        sys.exit(f"muster gateway: {err}")
    logs.configure("gateway", settings.log_level)
    try:
        uvloop.run(run(settings))
    except* (OSError, SettingsError) as failed:
        sys.exit(f"muster gateway: {failed.exceptions[0]}")


def _tls(settings: GatewaySettings) -> ClientTls | None:
    """Return how the control plane is called; SettingsError if that is not clear, or nothing says who we are."""
    tls = client_tls(settings)
    if tls is None:
        if not settings.gateway_token:
            raise SettingsError("without TLS, MUSTER_GATEWAY_TOKEN must be set")
        warn_of_plaintext()
    return tls


def _parts(settings: GatewaySettings, control_plane: ControlPlane, clock: Clock, metrics: GatewayMetrics) -> Parts:
    limit_s = settings.gateway_rpc_timeout_s
    ask = partial(verify_token, control_plane, timeout_s=limit_s)
    verifier = TokenVerifier(ask, clock, metrics, settings.gateway_token_cache_size)
    desk = Desk(
        proxies=Proxies(parse_networks(settings.gateway_trusted_proxies)),
        verifier=verifier,
        permits=Permits(partial(take_permits, control_plane, limit_s), clock, metrics),
        reports=TokenReports(partial(report_token_use, control_plane, limit_s), clock),
        tarpit=Tarpit(clock, settings.gateway_refusal_delay_s),
        metrics=metrics,
    )
    observer = Observer(metrics, edge_headers(settings.gateway_public_url))
    return Parts(control_plane, desk, observer, HealthHandlers(verifier))


async def _serve(stack: AsyncExitStack, app: web.Application, settings: GatewaySettings, parts: Parts) -> GuardedRunner:
    """Set up an application behind guarded connections, until the stack ends."""
    runner = GuardedRunner(app, edge_of(settings, parts), parts.desk.metrics, **http_options(settings))
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    return runner


async def _listen(runner: GuardedRunner, listen: str, *, reuse_port: bool) -> web.TCPSite:
    host, port = host_and_port(listen)
    site = web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=reuse_port)
    await site.start()
    return site
