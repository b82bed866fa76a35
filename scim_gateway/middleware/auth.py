"""Who asks, and whether he may: bearer token (RFC 6750), network, tenant, rate, scope; in that order, before any body.

Everything needs a token, but for the paths listed here.
"""

import re
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from control_plane.client.errors import NotFound
from control_plane.client.names import MAX_AGENT_LENGTH
from control_plane.scim.bearer import key_id_of
from control_plane.scim.errors import Forbidden
from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, SCOPE_SCIM_WRITE
from scim_gateway.caller import Caller, Client
from scim_gateway.errors import AuthenticationFailed, Busy, ExpectationFailed, Throttled
from scim_gateway.forwarded import Proxies
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.middleware.observe import route_of
from scim_gateway.permits import Permits
from scim_gateway.reports import THROTTLED, TokenReports
from scim_gateway.requests import CALLER, CLIENT
from scim_gateway.tarpit import Tarpit
from scim_gateway.token_verifier import NETWORK, TokenVerifier

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(muster_[0-9A-Za-z_]{20,200}) *")
# gRPC metadata carry nothing else.
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
SCOPE = "scope"
TENANT_DELETED = "tenant_deleted"
# The tenant of a token that is nobody's, or that nobody was asked about.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ways:
    """Which routes differ: ``public`` need no token; ``reading`` only read, whatever the method."""

    public: frozenset[str]
    reading: frozenset[str]


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom a request is taken to on its way in."""

    proxies: Proxies
    verifier: TokenVerifier
    permits: Permits
    reports: TokenReports
    tarpit: Tarpit
    metrics: GatewayMetrics


class Authenticator:
    """Lets a request pass that carries a good token with the scope its method needs."""

    def __init__(self, desk: Desk, ways: Ways) -> None:
        self._desk, self._ways = desk, ways

    @web.middleware
    async def authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put the caller into the request; AuthenticationFailed, Forbidden or Throttled otherwise."""
        if route_of(request) in self._ways.public:
            return await handler(request)
        client = Client(self._desk.proxies.client_address(request), agent_of(request))
        caller = await self._identify(request, client)
        request[CALLER], request[CLIENT] = caller, client
        if caller.is_suspended:
            raise Forbidden("this tenant is suspended")
        try:
            return await self._serve(request, handler, caller, client)
        except NotFound as err:
            # Calls of a caller name nothing but his tenant: it was deleted, and we have not heard of it yet.
            self._desk.metrics.auth_failed(caller.tenant_id, TENANT_DELETED)
            self._desk.reports.refused(caller.key_id, client, TENANT_DELETED)
            raise AuthenticationFailed(TENANT_DELETED, caller.tenant_id) from err

    async def _serve(
        self, request: web.Request, handler: Handler, caller: Caller, client: Client
    ) -> web.StreamResponse:
        await self._desk.permits.spend(caller)
        self._check_scope(request, caller, client)
        self._desk.reports.used(caller, client)
        if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
            raise ExpectationFailed("no other expectation than 100-continue can be met")
        return await handler(request)

    async def _identify(self, request: web.Request, client: Client) -> Caller:
        """Return the caller; every refusal is counted here, by its reason."""
        desk, key_id = self._desk, ""
        try:
            presented = _presented(request)
            # Form and checksum come first: typing errors and garbage cost nobody a question.
            key_id = key_id_of(presented) or ""
            if not key_id:
                raise AuthenticationFailed("malformed")
            caller = await desk.verifier.verify(presented, client.address)
            if not caller.networks.covers(client.address):
                raise AuthenticationFailed(NETWORK, caller.tenant_id)
        except AuthenticationFailed as err:
            desk.metrics.auth_failed(err.tenant, err.reason)
            if key_id:
                desk.reports.refused(key_id, client, err.reason)
            await desk.tarpit.refused(client.address)
            raise
        except (Throttled, Busy):
            desk.metrics.auth_failed(UNKNOWN, THROTTLED)
            desk.reports.refused(key_id, client, THROTTLED)
            await desk.tarpit.hold()
            raise
        return caller

    def _check_scope(self, request: web.Request, caller: Caller, client: Client) -> None:
        is_read = request.method in ("GET", "HEAD") or route_of(request) in self._ways.reading
        if (SCOPE_SCIM_READ if is_read else SCOPE_SCIM_WRITE) not in caller.scopes:
            self._desk.metrics.auth_failed(caller.tenant_id, SCOPE)
            self._desk.reports.refused(caller.key_id, client, SCOPE)
            raise Forbidden("the bearer token does not allow this method")


def agent_of(request: web.BaseRequest) -> str:
    """Return the User-Agent as it may go on: short, in printable ASCII."""
    given = request.headers.get(hdrs.USER_AGENT, "")[:MAX_AGENT_LENGTH]
    return given if given.isascii() and given.isprintable() else _UNPRINTABLE.sub("?", given)


def _presented(request: web.Request) -> str:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        raise AuthenticationFailed("missing")
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        raise AuthenticationFailed("malformed")
    return match[1]
