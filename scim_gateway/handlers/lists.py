"""Lists of Users, of Groups and of both: GET and ``.search`` (RFC 7644 sections 3.4.2 and 3.4.3, RFC 9865)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from aiohttp import web

from control_plane.scim.json_door import parse_object
from control_plane.scim.messages import SearchRequest, parse_search
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.calls import DirectoryCalls
from scim_gateway.handlers.asking import Ask, Rules, with_members
from scim_gateway.kinds import Kind
from scim_gateway.rendering import render
from scim_gateway.requests import Selection, actor_of, checked, clamped, search_of
from scim_gateway.responses import stream

LIST_START = b'{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],'
# The one body that is parsed here: it holds a query, of which no part may be longer than 8 KiB.
MAX_SEARCH_BYTES = 64 * 1024


class ListHandlers:
    """The lists of one resource type; of all of them if ``kind`` is None."""

    def __init__(self, kind: Kind | None, directory: DirectoryCalls, rules: Rules) -> None:
        self._type = kind.wire if kind else wire.RESOURCE_TYPE_UNSPECIFIED
        self._directory, self._rules = directory, rules

    async def list(self, request: web.Request) -> web.StreamResponse:
        """GET /Users, /Groups or the base URL (RFC 7644 sections 3.4.2 and 3.4.2.1)."""
        return await self._answer(request, search_of(request))

    async def search(self, request: web.Request) -> web.StreamResponse:
        """POST /Users/.search, /Groups/.search or /.search (RFC 7644 section 3.4.3)."""
        body = await self._rules.body(request, MAX_SEARCH_BYTES)
        return await self._answer(request, parse_search(parse_object(body)))

    async def _answer(self, request: web.Request, asked: SearchRequest) -> web.StreamResponse:
        search = checked(asked)
        chosen = Selection(search.attributes, search.excluded)
        ask = Ask(actor_of(request), self._rules.base_url.of(request), chosen)
        return await stream(request, self._pieces(ask, search))

    async def _pieces(self, ask: Ask, search: SearchRequest) -> AsyncGenerator[bytes, None]:
        items = 0
        yield LIST_START
        async with aclosing(self._directory.list(ask.actor, self._message(ask, search))) as pages:
            is_first = True
            async for page in pages:
                if is_first:
                    yield _totals(page, search)
                    is_first = False
                for resource in page.resources:
                    rendered = render(resource, ask.base)
                    yield b"," if items else b""
                    if rendered.members_of:
                        async for piece in with_members(self._directory, ask, rendered, is_listed=True):
                            yield piece
                    else:
                        yield rendered.head
                    items += 1
        if is_first:
            yield _totals(wire.ListResourcesResponse(start_index=max(1, search.start_index)), search)
        # Last, since it is known last: the page is not held in memory.
        yield f'],"itemsPerPage":{items}}}'.encode()

    def _message(self, ask: Ask, search: SearchRequest) -> wire.ListResourcesRequest:
        return wire.ListResourcesRequest(
            tenant_id=ask.actor.tenant_id,
            type=self._type,
            filter=search.filter,
            start_index=clamped(search.start_index),
            count=None if search.count is None else clamped(search.count),
            with_members=True,
            reference_base=ask.base,
            attributes=search.attributes,
            excluded_attributes=search.excluded,
            sort_by=search.sort_by,
            descending=search.descending,
            cursor=search.cursor,
        )


def _totals(page: wire.ListResourcesResponse, search: SearchRequest) -> bytes:
    if search.cursor is None:
        paging = f'"startIndex":{page.start_index},'
    else:
        # RFC 9865 section 2: pages by cursor have no startIndex, and the last one no nextCursor.
        paging = f'"nextCursor":{orjson.dumps(page.next_cursor).decode()},' if page.next_cursor else ""
    return f'"totalResults":{page.total_results},{paging}"Resources":['.encode()
