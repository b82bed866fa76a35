"""What the handlers of resources share: who asks for what, and a group with the members that do not travel inside."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from control_plane.scim.errors import ResourceNotFound
from control_plane.scim.limits import MAX_BULK_BYTES
from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.base_url import BaseUrl
from scim_gateway.calls import DirectoryCalls
from scim_gateway.rendering import Rendered
from scim_gateway.requests import CALLER, Actor, Selection, body_text


@dataclass(frozen=True, slots=True)
class Rules:
    """Where URLs in answers start, and the limits of a request's body."""

    base_url: BaseUrl
    max_bytes: int
    timeout_s: float

    async def body(self, request: web.Request, max_bytes: int | None = None) -> str:
        """Return the request's body as text, unparsed; see :func:`body_text` for what is refused.

        The least of the gateway's limit, the tenant's and ``max_bytes`` counts.
        """
        limit = min(self.max_bytes, request[CALLER].limits.max_body_bytes)
        return await body_text(request, limit if max_bytes is None else min(limit, max_bytes), self.timeout_s)

    async def bulk_body(self, request: web.Request) -> str:
        """Return the body of a bulk request, which has limits of its own."""
        limit = min(MAX_BULK_BYTES, request[CALLER].limits.max_bulk_bytes)
        return await body_text(request, limit, self.timeout_s)


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks, for which attributes, and where URLs in the answer start."""

    actor: Actor
    base: str
    selection: Selection


async def with_members(
    directory: DirectoryCalls, ask: Ask, rendered: Rendered, *, is_listed: bool = False
) -> AsyncGenerator[bytes, None]:
    """Yield a large group with its members as they come, in pieces of bounded size."""
    message = wire.StreamMembersRequest(
        tenant_id=ask.actor.tenant_id,
        id=rendered.members_of,
        reference_base=ask.base,
        attributes=ask.selection.attributes,
        excluded_attributes=ask.selection.excluded,
    )
    yield rendered.head
    needs_comma = False
    try:
        async with aclosing(directory.members(ask.actor, message)) as pieces:
            async for piece in pieces:
                if piece.members:
                    members = piece.members.encode()
                    yield b"," + members if needs_comma else members
                    needs_comma = True
    except ResourceNotFound:
        # In a list: the group was deleted after it was listed. That is no reason to fail the others.
        if not is_listed or needs_comma:
            raise
    yield rendered.tail
