"""Users and Groups: each handler reads its request, makes one call and renders what came back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import hdrs, web

from control_plane.scim.errors import ResourceNotFound
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.calls import DirectoryCalls
from scim_gateway.kinds import Kind
from scim_gateway.rendering import Rendered, Renderer
from scim_gateway.requests import (
    Actor,
    ListQuery,
    actor_of,
    base_url,
    body_text,
    etag_of,
    list_query,
    resource_id,
    selection,
)
from scim_gateway.responses import scim_response, stream

LIST_START = b'{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],'


@dataclass(frozen=True, slots=True)
class BodyRules:
    """Limits of a request's body, and where URLs in answers start."""

    public_url: str
    max_bytes: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Ask:
    """What every handler needs of its request."""

    actor: Actor
    base: str
    renderer: Renderer


class ResourceHandlers:
    """The endpoints of one resource type."""

    def __init__(self, kind: Kind, directory: DirectoryCalls, rules: BodyRules) -> None:
        self._kind, self._directory, self._rules = kind, directory, rules

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /Users (RFC 7644 section 3.4.2)."""
        ask, query = self._ask(request), list_query(request)
        return await stream(request, self._list(ask, query))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /Users (RFC 7644 section 3.3)."""
        ask = self._ask(request)
        message = wire.CreateResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            document=await self._body(request),
            reference_base=ask.base,
        )
        resource = await self._directory.create(ask.actor, message)
        return await self._answer(request, ask, resource, 201)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /Users/{id} (RFC 7644 section 3.4.1)."""
        ask = self._ask(request)
        message = wire.GetResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            with_members=ask.renderer.wants_members,
            reference_base=ask.base,
        )
        return await self._answer(request, ask, await self._directory.get(ask.actor, message))

    async def replace(self, request: web.Request) -> web.StreamResponse:
        """PUT /Users/{id} (RFC 7644 section 3.5.1)."""
        ask = self._ask(request)
        message = wire.ReplaceResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            document=await self._body(request),
            reference_base=ask.base,
            etag=etag_of(request),
        )
        return await self._answer(request, ask, await self._directory.replace(ask.actor, message))

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """PATCH /Users/{id} (RFC 7644 section 3.5.2)."""
        ask = self._ask(request)
        message = wire.PatchResourceRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            document=await self._body(request),
            reference_base=ask.base,
            etag=etag_of(request),
        )
        resource = await self._directory.patch(ask.actor, message)
        if not ask.renderer.is_inline(resource) and not selection(request):
            # A change of one member must not send back a hundred thousand: RFC 7644 section 3.5.2 allows 204.
            return web.Response(status=204)
        return await self._answer(request, ask, resource)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """DELETE /Users/{id} (RFC 7644 section 3.6)."""
        actor = actor_of(request)
        message = wire.DeleteResourceRequest(
            tenant_id=actor.tenant_id,
            type=self._kind.wire,
            id=resource_id(request, self._kind.name),
            etag=etag_of(request),
        )
        await self._directory.delete(actor, message)
        return web.Response(status=204)

    def _ask(self, request: web.Request) -> _Ask:
        base = base_url(request, self._rules.public_url)
        return _Ask(actor_of(request), base, Renderer(self._kind, base, selection(request)))

    async def _body(self, request: web.Request) -> str:
        return await body_text(request, self._rules.max_bytes, self._rules.timeout_s)

    async def _answer(
        self, request: web.Request, ask: _Ask, resource: wire.Resource, status: int = 200
    ) -> web.StreamResponse:
        headers: dict[str, str] = {hdrs.LOCATION: ask.renderer.location(resource)}
        rendered = ask.renderer.render(resource)
        if rendered.members_of:
            return await stream(request, self._with_members(ask, rendered), status, headers)
        return scim_response(rendered.head, status, headers)

    async def _list(self, ask: _Ask, query: ListQuery) -> AsyncGenerator[bytes, None]:
        message = wire.ListResourcesRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._kind.wire,
            filter=query.filter,
            start_index=query.start_index,
            count=query.count,
            with_members=ask.renderer.wants_members,
            reference_base=ask.base,
        )
        items = 0
        yield LIST_START
        async with aclosing(self._directory.list(ask.actor, message)) as pages:
            is_first = True
            async for page in pages:
                if is_first:
                    yield _totals(page.total_results, page.start_index)
                    is_first = False
                for resource in page.resources:
                    rendered = ask.renderer.render(resource)
                    yield b"," if items else b""
                    if rendered.members_of:
                        async for piece in self._with_members(ask, rendered, is_listed=True):
                            yield piece
                    else:
                        yield rendered.head
                    items += 1
        if is_first:
            yield _totals(0, max(1, query.start_index))
        # Last, since it is known last: the page is not held in memory.
        yield f'],"itemsPerPage":{items}}}'.encode()

    async def _with_members(
        self, ask: _Ask, rendered: Rendered, *, is_listed: bool = False
    ) -> AsyncGenerator[bytes, None]:
        message = wire.StreamMembersRequest(
            tenant_id=ask.actor.tenant_id, id=rendered.members_of, reference_base=ask.base
        )
        yield rendered.head
        needs_comma = False
        try:
            async with aclosing(self._directory.members(ask.actor, message)) as pieces:
                async for piece in pieces:
                    if members := ask.renderer.members(piece.members):
                        yield b"," + members if needs_comma else members
                        needs_comma = True
        except ResourceNotFound:
            # In a list: the group was deleted after it was listed. That is no reason to fail the others.
            if not is_listed or needs_comma:
                raise
        yield rendered.tail


def _totals(total_results: int, start_index: int) -> bytes:
    return f'"totalResults":{total_results},"startIndex":{start_index},"Resources":['.encode()
