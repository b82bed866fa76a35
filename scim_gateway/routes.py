"""Every path of the gateway, with its methods. What is not listed is 404, another method 405."""

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from scim_gateway.handlers.discovery import DiscoveryHandlers
from scim_gateway.handlers.health import HealthHandlers
from scim_gateway.handlers.refused import MethodGuard, not_found, not_implemented
from scim_gateway.handlers.resources import ResourceHandlers
from scim_gateway.requests import SCIM_PREFIX

OUTSIDE = "/{outside}"
UNKNOWN = SCIM_PREFIX + "/{unknown}"
PUBLIC_ROUTES = frozenset({"/livez", "/readyz", OUTSIDE})
# Parts of RFC 7644 that come later: refused honestly, and not advertised.
NOT_YET = ("/Bulk", "/Me", "/.search", "/Users/.search", "/Groups/.search")


@dataclass(frozen=True, slots=True)
class Handlers:
    """All handlers."""

    users: ResourceHandlers
    groups: ResourceHandlers
    discovery: DiscoveryHandlers
    health: HealthHandlers


def add_routes(app: web.Application, handlers: Handlers) -> None:
    """Add every path to ``app``."""
    for path in NOT_YET:
        _add(app, SCIM_PREFIX + path, {"*": not_implemented})
    for name, resources in (("Users", handlers.users), ("Groups", handlers.groups)):
        _add(app, f"{SCIM_PREFIX}/{name}", {"GET": resources.list, "POST": resources.create})
        one: dict[str, Handler] = {
            "GET": resources.get,
            "PUT": resources.replace,
            "PATCH": resources.patch,
            "DELETE": resources.delete,
        }
        _add(app, f"{SCIM_PREFIX}/{name}/{{id}}", one)
    discovery = handlers.discovery
    for path, handler in (
        ("/ServiceProviderConfig", discovery.service_provider_config),
        ("/Schemas", discovery.schemas),
        ("/Schemas/{id}", discovery.schema),
        ("/ResourceTypes", discovery.resource_types),
        ("/ResourceTypes/{name}", discovery.resource_type),
    ):
        _add(app, SCIM_PREFIX + path, {"GET": handler})
    _add(app, "/livez", {"GET": handlers.health.livez})
    _add(app, "/readyz", {"GET": handlers.health.readyz})
    # Catch-alls, so that "not found" passes the middlewares like everything else.
    _add(app, SCIM_PREFIX, {"*": not_found})
    app.router.add_route("*", SCIM_PREFIX + "/{unknown:.*}", not_found, expect_handler=_expect_later)
    app.router.add_route("*", "/{outside:.*}", not_found, expect_handler=_expect_later)


def _add(app: web.Application, path: str, methods: dict[str, Handler]) -> None:
    for variant in (path, path + "/"):  # OneLogin and the Microsoft suite end paths with a slash
        resource = app.router.add_resource(variant)
        for method, handler in methods.items():
            resource.add_route(method, handler, expect_handler=_expect_later)
        if "*" not in methods:
            resource.add_route("*", MethodGuard(", ".join(methods)).refuse, expect_handler=_expect_later)


async def _expect_later(_request: web.Request) -> None:
    """Do not send "100 Continue" yet: first comes authentication, and the body's reader sends it."""
