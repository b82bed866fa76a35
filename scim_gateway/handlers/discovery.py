"""What this server can do (RFC 7644 section 4), told from the same registry that validates."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from control_plane.scim import discovery
from control_plane.scim.errors import Forbidden
from scim_gateway.requests import base_url
from scim_gateway.responses import scim_response


class DiscoveryHandlers:
    """ServiceProviderConfig, Schemas, ResourceTypes."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    async def service_provider_config(self, request: web.Request) -> web.StreamResponse:
        """GET /ServiceProviderConfig."""
        return _answer(discovery.service_provider_config(self._base(request)))

    async def schemas(self, request: web.Request) -> web.StreamResponse:
        """GET /Schemas."""
        return _answer(discovery.schemas_body(self._base(request)))

    async def schema(self, request: web.Request) -> web.StreamResponse:
        """GET /Schemas/{id}; 404 for one that is not served."""
        return _answer(discovery.schema_body(request.match_info["id"], self._base(request)))

    async def resource_types(self, request: web.Request) -> web.StreamResponse:
        """GET /ResourceTypes."""
        return _answer(discovery.resource_types_body(self._base(request)))

    async def resource_type(self, request: web.Request) -> web.StreamResponse:
        """GET /ResourceTypes/{name}; 404 for one that is not served."""
        return _answer(discovery.resource_type_body(request.match_info["name"], self._base(request)))

    def _base(self, request: web.Request) -> str:
        if "filter" in request.query:
            # RFC 7644 section 4: "If a "filter" is provided, the service provider SHALL respond with ... 403".
            raise Forbidden("discovery endpoints take no filter")
        return base_url(request, self._public_url)


def _answer(body: Mapping[str, Any]) -> web.Response:
    return scim_response(orjson.dumps(body))
