"""Bearer authentication (RFC 6750) and scopes. Everything needs a token, but for the paths listed here."""

import re

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from control_plane.scim.errors import Forbidden
from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, SCOPE_SCIM_WRITE
from scim_gateway.errors import AuthenticationFailed, ExpectationFailed
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.middleware.observe import route_of
from scim_gateway.requests import CALLER
from scim_gateway.token_verifier import TokenVerifier

# Only the charset and length: the control plane knows the exact form and its checksum.
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(muster_[0-9A-Za-z_]{20,200}) *")


class Authenticator:
    """Lets a request pass that carries a good token with the scope its method needs."""

    def __init__(
        self,
        verifier: TokenVerifier,
        metrics: GatewayMetrics,
        public_routes: frozenset[str],
        read_routes: frozenset[str],
    ) -> None:
        """``public_routes`` need no token; ``read_routes`` only read, whatever the method."""
        self._verifier, self._metrics = verifier, metrics
        self._public_routes, self._read_routes = public_routes, read_routes

    @web.middleware
    async def authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put the caller into the request; AuthenticationFailed or Forbidden otherwise."""
        route = route_of(request)
        if route in self._public_routes:
            return await handler(request)
        try:
            caller = await self._verifier.verify(_presented(request))
        except AuthenticationFailed as err:
            self._metrics.auth_failed(err.tenant, err.reason)
            raise
        request[CALLER] = caller
        is_read = request.method in ("GET", "HEAD") or route in self._read_routes
        scope = SCOPE_SCIM_READ if is_read else SCOPE_SCIM_WRITE
        if scope not in caller.scopes:
            self._metrics.auth_failed(caller.tenant_id, "scope")
            raise Forbidden("the bearer token does not allow this method")
        if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
            raise ExpectationFailed("no other expectation than 100-continue can be met")
        return await handler(request)


def _presented(request: web.Request) -> str:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        raise AuthenticationFailed("missing")
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        raise AuthenticationFailed("malformed")
    return match[1]
