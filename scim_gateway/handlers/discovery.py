"""What this server can do (RFC 7644 section 4), as the tenant's own registry tells it: the one that validates."""

from aiohttp import web

from control_plane.scim.errors import Forbidden, ResourceNotFound
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.calls import DirectoryCalls
from scim_gateway.handlers.asking import Rules
from scim_gateway.requests import MAX_ID_LENGTH, actor_of
from scim_gateway.responses import scim_response


class DiscoveryHandlers:
    """ServiceProviderConfig, Schemas, ResourceTypes."""

    def __init__(self, directory: DirectoryCalls, rules: Rules) -> None:
        self._directory, self._rules = directory, rules

    async def service_provider_config(self, request: web.Request) -> web.StreamResponse:
        """GET /ServiceProviderConfig."""
        return await self._answer(request, wire.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG)

    async def schemas(self, request: web.Request) -> web.StreamResponse:
        """GET /Schemas and /Schemas/{id}; 404 for one that the tenant does not have."""
        return await self._answer(request, wire.DISCOVERY_KIND_SCHEMAS)

    async def resource_types(self, request: web.Request) -> web.StreamResponse:
        """GET /ResourceTypes and /ResourceTypes/{id}; 404 for one that is not served."""
        return await self._answer(request, wire.DISCOVERY_KIND_RESOURCE_TYPES)

    async def _answer(self, request: web.Request, kind: wire.DiscoveryKind.ValueType) -> web.StreamResponse:
        if "filter" in request.query:
            # RFC 7644 section 4: "If a "filter" is provided, the service provider SHALL respond with ... 403".
            raise Forbidden("discovery endpoints take no filter")
        wanted = request.match_info.get("id", "")
        if len(wanted) > MAX_ID_LENGTH or not wanted.isprintable():
            raise ResourceNotFound("there is no such schema or resource type")
        actor = actor_of(request)
        message = wire.GetDiscoveryRequest(
            tenant_id=actor.tenant_id, kind=kind, id=wanted, reference_base=self._rules.base_url.of(request)
        )
        return scim_response((await self._directory.discovery(actor, message)).encode())
