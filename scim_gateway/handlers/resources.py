"""Single Users and Groups (RFC 7644 sections 3.3 to 3.6): read the request, make one call, render the answer."""

from aiohttp import hdrs, web

from control_plane.runtime.logs import get_logger
from control_plane.scim import etag
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.calls import DirectoryCalls
from scim_gateway.handlers.asking import Ask, Rules, with_members
from scim_gateway.kinds import Kind, location
from scim_gateway.rendering import is_inline, render
from scim_gateway.requests import actor_of, conditions_of, resource_id, selection
from scim_gateway.responses import scim_response, stream

log = get_logger(__name__)


class ResourceHandlers:
    """The endpoints of single resources of one type."""

    def __init__(self, kind: Kind, directory: DirectoryCalls, rules: Rules) -> None:
        self._kind, self._directory, self._rules = kind, directory, rules

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /Users (RFC 7644 section 3.3)."""
        ask = self._ask(request)
        message = wire.CreateResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            document=await self._rules.body(request),
            reference_base=ask.base,
            attributes=ask.selection.attributes,
            excluded_attributes=ask.selection.excluded,
        )
        resource = await self._directory.create(ask.actor, message)
        return await self._written(request, ask, resource, 201)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /Users/{id} (RFC 7644 section 3.4.1), with If-Match and If-None-Match in the order of RFC 9110 13.2.2."""
        ask, conditions = self._ask(request), conditions_of(request)
        message = wire.GetResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            with_members=True,
            reference_base=ask.base,
            attributes=ask.selection.attributes,
            excluded_attributes=ask.selection.excluded,
        )
        resource = await self._directory.get(ask.actor, message)
        if conditions.match:
            etag.check(resource.version, conditions.match, "")
        if conditions.none_match and etag.is_current(conditions.none_match, resource.version):
            return web.Response(status=304, headers={hdrs.ETAG: etag.version_tag(resource.version)})
        return await self._read(request, ask, resource)

    async def replace(self, request: web.Request) -> web.StreamResponse:
        """PUT /Users/{id} (RFC 7644 section 3.5.1)."""
        ask, conditions = self._ask(request), conditions_of(request)
        message = wire.ReplaceResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            document=await self._rules.body(request),
            reference_base=ask.base,
            etag=conditions.match,
            none_match_etag=conditions.none_match,
            attributes=ask.selection.attributes,
            excluded_attributes=ask.selection.excluded,
        )
        return await self._written(request, ask, await self._directory.replace(ask.actor, message))

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """PATCH /Users/{id} (RFC 7644 section 3.5.2)."""
        ask, conditions = self._ask(request), conditions_of(request)
        message = wire.PatchResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            document=await self._rules.body(request),
            reference_base=ask.base,
            etag=conditions.match,
            none_match_etag=conditions.none_match,
            attributes=ask.selection.attributes,
            excluded_attributes=ask.selection.excluded,
        )
        resource = await self._directory.patch(ask.actor, message)
        if not is_inline(resource) and not ask.selection:
            # A change of one member must not send back a hundred thousand: RFC 7644 section 3.5.2 allows 204.
            return web.Response(status=204, headers={hdrs.ETAG: etag.version_tag(resource.version)})
        return await self._written(request, ask, resource)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """DELETE /Users/{id} (RFC 7644 section 3.6)."""
        actor, conditions = actor_of(request), conditions_of(request)
        message = wire.DeleteResourceRequest(
            tenant_id=actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            etag=conditions.match,
            none_match_etag=conditions.none_match,
        )
        await self._directory.delete(actor, message)
        return web.Response(status=204)

    def _ask(self, request: web.Request) -> Ask:
        return Ask(actor_of(request), self._rules.base_url.of(request), selection(request))

    async def _written(
        self, request: web.Request, ask: Ask, resource: wire.Resource, status: int = 200
    ) -> web.StreamResponse:
        """Answer a write, which has happened: whatever the answer costs must not make it look refused.

        Members that do not travel inside are left out (RFC 7644 section 3.3 says SHOULD of the representation), unless
        attributes were asked for; then too, if they cannot be read just now.
        """
        rendered, headers = render(resource, ask.base), _headers(ask, resource)
        if rendered.members_of and ask.selection:
            try:
                return await stream(request, with_members(self._directory, ask, rendered), status, headers)
            except ConnectionError:
                raise
            except Exception as err:
                log.warning("answered a write without members", cause=type(err).__name__)
        body = rendered.without_members() if rendered.members_of else rendered.head
        return scim_response(body, status, headers)

    async def _read(self, request: web.Request, ask: Ask, resource: wire.Resource) -> web.StreamResponse:
        rendered, headers = render(resource, ask.base), _headers(ask, resource)
        if rendered.members_of:
            return await stream(request, with_members(self._directory, ask, rendered), 200, headers)
        return scim_response(rendered.head, 200, headers)


def _headers(ask: Ask, resource: wire.Resource) -> dict[str, str]:
    return {
        hdrs.LOCATION: location(ask.base, resource.type, resource.id),
        hdrs.ETAG: etag.version_tag(resource.version),
    }
