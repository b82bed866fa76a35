"""The aiohttp applications of the gateway, put together from its parts: the SCIM endpoint, and health by itself."""

from dataclasses import dataclass

from aiohttp import web

from control_plane.client.control_plane import ControlPlane
from scim_gateway.base_url import BaseUrl
from scim_gateway.calls import Deadlines, DirectoryCalls
from scim_gateway.connections import ConnectionLimits, Edge
from scim_gateway.edge import edge_headers
from scim_gateway.handlers.asking import Rules
from scim_gateway.handlers.bulk import BulkHandlers
from scim_gateway.handlers.discovery import DiscoveryHandlers
from scim_gateway.handlers.health import HealthHandlers
from scim_gateway.handlers.lists import ListHandlers
from scim_gateway.handlers.resources import ResourceHandlers
from scim_gateway.kinds import GROUP, USER
from scim_gateway.middleware.auth import Authenticator, Desk, Ways
from scim_gateway.middleware.errors import errors_as_scim
from scim_gateway.middleware.framing import refuse_ambiguous
from scim_gateway.middleware.observe import Observer
from scim_gateway.routes import PUBLIC_ROUTES, READ_ROUTES, Handlers, add_health, add_outside, add_routes
from scim_gateway.settings import GatewaySettings

# How long aiohttp reads and discards what is left of a refused body, so that the client gets to see the answer.
LINGERING_S = 2.0
# After the drain: the last bytes of the last answer.
FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class Parts:
    """What the applications are made of."""

    control_plane: ControlPlane
    desk: Desk
    observer: Observer
    health: HealthHandlers


def scim_application(settings: GatewaySettings, parts: Parts) -> web.Application:
    """Return the SCIM endpoint; health too, unless that has a port of its own."""
    directory = DirectoryCalls(parts.control_plane, _deadlines(settings))
    base_url = BaseUrl(settings.gateway_public_url, parts.desk.proxies)
    rules = Rules(base_url, settings.gateway_max_body_bytes, settings.gateway_body_timeout_s)
    authenticator = Authenticator(parts.desk, Ways(PUBLIC_ROUTES, READ_ROUTES))
    observe = parts.observer.observe
    app = web.Application(middlewares=[observe, errors_as_scim, refuse_ambiguous, authenticator.authenticate])
    app.on_response_prepare.append(parts.observer.set_headers)
    handlers = Handlers(
        users=ResourceHandlers(USER, directory, rules),
        groups=ResourceHandlers(GROUP, directory, rules),
        user_lists=ListHandlers(USER, directory, rules),
        group_lists=ListHandlers(GROUP, directory, rules),
        root_lists=ListHandlers(None, directory, rules),
        bulk=BulkHandlers(directory, rules),
        discovery=DiscoveryHandlers(directory, rules),
    )
    add_routes(app, handlers)
    if not settings.gateway_admin_listen:
        add_health(app, parts.health)
    add_outside(app)
    return app


def admin_application(parts: Parts) -> web.Application:
    """Return the health paths, and nothing else."""
    app = web.Application(middlewares=[parts.observer.observe, errors_as_scim, refuse_ambiguous])
    app.on_response_prepare.append(parts.observer.set_headers)
    add_health(app, parts.health)
    add_outside(app)
    return app


def edge_of(settings: GatewaySettings, parts: Parts) -> Edge:
    """Return what holds for connections."""
    limits = ConnectionLimits(
        max_connections=settings.gateway_max_connections,
        max_per_source=settings.gateway_max_connections_per_source,
        max_line_bytes=settings.gateway_max_line_bytes,
        header_timeout_s=settings.gateway_header_timeout_s,
        write_timeout_s=settings.gateway_write_timeout_s,
    )
    return Edge(limits, parts.desk.proxies, edge_headers(settings.gateway_public_url))


def http_options(settings: GatewaySettings) -> dict[str, object]:
    """Return what aiohttp is told of one connection."""
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


def _deadlines(settings: GatewaySettings) -> Deadlines:
    return Deadlines(settings.gateway_rpc_timeout_s, settings.gateway_stream_timeout_s, settings.gateway_bulk_timeout_s)
