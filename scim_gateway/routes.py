"""Every path of the gateway, with its methods. What is not listed is 404, another method 405."""

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from scim_gateway.base_url import SCIM_PREFIX
from scim_gateway.handlers.bulk import BulkHandlers
from scim_gateway.handlers.discovery import DiscoveryHandlers
from scim_gateway.handlers.health import HealthHandlers
from scim_gateway.handlers.lists import ListHandlers
from scim_gateway.handlers.refused import MethodGuard, no_me, not_found
from scim_gateway.handlers.resources import ResourceHandlers

OUTSIDE = "/{outside}"
UNKNOWN = SCIM_PREFIX + "/{unknown}"
PUBLIC_ROUTES = frozenset({"/livez", "/readyz", "/startupz", OUTSIDE})
SEARCHES = ("/.search", "/Users/.search", "/Groups/.search")
# A search is a POST that reads (RFC 7644 section 3.4.3).
READ_ROUTES = frozenset(SCIM_PREFIX + path for path in SEARCHES)


@dataclass(frozen=True, slots=True)
class Handlers:
    """All handlers."""

    users: ResourceHandlers
    groups: ResourceHandlers
    user_lists: ListHandlers
    group_lists: ListHandlers
    root_lists: ListHandlers
    bulk: BulkHandlers
    discovery: DiscoveryHandlers


def add_routes(app: web.Application, handlers: Handlers) -> None:
    """Add every path of the SCIM endpoint to ``app``."""
    _add(app, SCIM_PREFIX + "/Me", {"*": no_me})
    _add(app, SCIM_PREFIX + "/Bulk", {"POST": handlers.bulk.bulk})
    for path, lists in zip(SEARCHES, (handlers.root_lists, handlers.user_lists, handlers.group_lists), strict=True):
        _add(app, SCIM_PREFIX + path, {"POST": lists.search})
    _add_resources(app, "/Users", handlers.users, handlers.user_lists)
    _add_resources(app, "/Groups", handlers.groups, handlers.group_lists)
    discovery = handlers.discovery
    for path, handler in (
        ("/ServiceProviderConfig", discovery.service_provider_config),
        ("/Schemas", discovery.schemas),
        ("/Schemas/{id}", discovery.schemas),
        ("/ResourceTypes", discovery.resource_types),
        ("/ResourceTypes/{id}", discovery.resource_types),
    ):
        _add(app, SCIM_PREFIX + path, {"GET": handler})
    _add(app, SCIM_PREFIX, {"GET": handlers.root_lists.list})
    # A catch-all, so that "not found" passes the middlewares like everything else.
    app.router.add_route("*", SCIM_PREFIX + "/{unknown:.*}", not_found, expect_handler=_expect_later)


def add_health(app: web.Application, health: HealthHandlers) -> None:
    """Add the paths for load balancers and supervisors to ``app``."""
    _add(app, "/livez", {"GET": health.livez})
    _add(app, "/readyz", {"GET": health.readyz})
    _add(app, "/startupz", {"GET": health.startupz})


def add_outside(app: web.Application) -> None:
    """Add 404 for everything that was not added before."""
    app.router.add_route("*", "/{outside:.*}", not_found, expect_handler=_expect_later)


def _add_resources(app: web.Application, path: str, resources: ResourceHandlers, lists: ListHandlers) -> None:
    _add(app, SCIM_PREFIX + path, {"GET": lists.list, "POST": resources.create})
    one: dict[str, Handler] = {
        "GET": resources.get,
        "PUT": resources.replace,
        "PATCH": resources.patch,
        "DELETE": resources.delete,
    }
    _add(app, SCIM_PREFIX + path + "/{id}", one)


def _add(app: web.Application, path: str, methods: dict[str, Handler]) -> None:
    """Add ``path``, also with a slash at its end; what answers GET answers HEAD (RFC 9110 section 9.3.2)."""
    if "GET" in methods:
        methods = {"GET": methods["GET"], "HEAD": methods["GET"], **methods}
    for variant in (path, path + "/"):  # OneLogin and the Microsoft suite end paths with a slash
        resource = app.router.add_resource(variant)
        for method, handler in methods.items():
            resource.add_route(method, handler, expect_handler=_expect_later)
        if "*" not in methods:
            resource.add_route("*", MethodGuard(", ".join(methods)).refuse, expect_handler=_expect_later)


async def _expect_later(_request: web.Request) -> None:
    """Do not send "100 Continue" yet: first comes authentication, and the body's reader sends it."""
