"""POST /Bulk (RFC 7644 section 3.7): the operations go to the control plane as they are; the answer is made here."""

from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from control_plane.scim.errors import error_body, from_wire
from control_plane.scim.etag import version_tag
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.calls import DirectoryCalls
from scim_gateway.handlers.asking import Rules
from scim_gateway.kinds import KIND_OF, location
from scim_gateway.requests import actor_of
from scim_gateway.responses import scim_response

BULK_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"


class BulkHandlers:
    """The bulk endpoint."""

    def __init__(self, directory: DirectoryCalls, rules: Rules) -> None:
        self._directory, self._rules = directory, rules

    async def bulk(self, request: web.Request) -> web.StreamResponse:
        """POST /Bulk: 200 with one result for each operation that was tried; 413 beyond what is advertised."""
        actor, base = actor_of(request), self._rules.base_url.of(request)
        body = await self._rules.bulk_body(request)
        message = wire.BulkWriteRequest(tenant_id=actor.tenant_id, document=body)
        return scim_response(bulk_response(await self._directory.bulk(actor, message), base))


def bulk_response(results: Iterable[wire.BulkResult], base: str) -> bytes:
    """Return the BulkResponse for ``results``; ``base`` is the absolute URL before "/Users"."""
    return orjson.dumps({"schemas": [BULK_RESPONSE], "Operations": [_operation(one, base) for one in results]})


def _operation(result: wire.BulkResult, base: str) -> dict[str, Any]:
    """Return one result: everything but the status only where there is something to tell."""
    body: dict[str, Any] = {}
    if result.method:
        body["method"] = result.method
    if result.bulk_id:
        body["bulkId"] = result.bulk_id
    if result.id and result.type in KIND_OF:
        body["location"] = location(base, result.type, result.id)
    if result.version:
        body["version"] = version_tag(result.version)
    # RFC 7644 section 3.7.3: a string, as in the body of an error.
    body["status"] = str(result.status)
    if result.status >= 400:
        body["response"] = error_body(from_wire(result.status, result.scim_type, result.detail))
    return body
