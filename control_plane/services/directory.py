"""Creates, reads, replaces, patches and deletes users and groups, one at a time.

The writes themselves are in ``writes.py``, lists in ``queries.py``, what an answer shows in ``rendering.py``. The queue
is told after the commit, best effort: the relay's sweep finds what it missed.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import orjson

from control_plane.domain.errors import Overloaded
from control_plane.domain.ids import TenantId, parse_resource_id
from control_plane.domain.resources import ResourceType, StoredResource
from control_plane.scim.errors import ResourceNotFound, ScimError
from control_plane.scim.json_door import parse_object
from control_plane.scim.rules import ScimRules
from control_plane.services.again import again
from control_plane.services.caller import Caller
from control_plane.services.relay import Relay
from control_plane.services.rendering import NO_SELECTION, Selection, View, represent
from control_plane.services.tenant_rules import TenantRules
from control_plane.services.writes import Batch, Create, Delete, Done, Patch, Replace, Scope, Writer
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage, Tx


@dataclass(frozen=True, slots=True)
class Asked:
    """What every request on resources names: whose, of which type, and how the answer is to look."""

    tenant: TenantId
    type: ResourceType
    reference_base: str = ""
    selection: Selection = NO_SELECTION
    with_members: bool = True


@dataclass(frozen=True, slots=True)
class Conditions:
    """The If-Match and If-None-Match headers of a request; empty: no such condition."""

    if_match: str = ""
    if_none_match: str = ""


NO_CONDITIONS = Conditions()


class DirectoryService:
    """The use cases of muster.directory.v1.DirectoryService on single resources."""

    def __init__(self, storage: Storage, writer: Writer, relay: Relay, rules: TenantRules, *, streams: int) -> None:
        """``streams`` is how many members' streams may run at once."""
        self._storage, self._relay, self._rules = storage, relay, rules
        self._writer = writer
        self._streams = asyncio.Semaphore(streams)

    async def create(self, caller: Caller, asked: Asked, body: str) -> StoredResource:
        """Create a resource from the body of a POST; Uniqueness if a unique value is taken."""
        item = Create(asked.type, parse_object(body))
        # Nobody can have made it a member yet.
        shown = replace(asked, with_members=False) if asked.type is ResourceType.USER else asked
        done = await self._write(caller, shown, lambda tx, scope: self._writer.create(tx, scope, [item]))
        return done.resource

    async def get(self, asked: Asked, resource_id: str) -> StoredResource:
        """Return a resource; ResourceNotFound for an id of another type or tenant, like any that does not exist."""
        view = _view(asked, await self._rules.get(asked.tenant))
        async with self._storage.begin(asked.tenant, read_only=True) as tx:
            return (await represent(tx, view, [await self._load(tx, asked, resource_id)]))[0]

    async def replace(
        self, caller: Caller, asked: Asked, resource_id: str, body: str, conditions: Conditions = NO_CONDITIONS
    ) -> StoredResource:
        """Replace a resource by the body of a PUT (RFC 7644 section 3.5.1)."""
        item = Replace(asked.type, resource_id, parse_object(body), conditions.if_match, conditions.if_none_match)
        done = await self._write(caller, asked, lambda tx, scope: self._writer.change(tx, scope, [item]))
        return done.resource

    async def patch(
        self, caller: Caller, asked: Asked, resource_id: str, body: str, conditions: Conditions = NO_CONDITIONS
    ) -> Done:
        """Apply the PatchOp in the body of a PATCH; all operations or none (RFC 7644 section 3.5.2)."""
        item = Patch(asked.type, resource_id, parse_object(body), conditions.if_match, conditions.if_none_match)
        return await self._write(caller, asked, lambda tx, scope: self._writer.change(tx, scope, [item]))

    async def delete(
        self, caller: Caller, asked: Asked, resource_id: str, conditions: Conditions = NO_CONDITIONS
    ) -> None:
        """Delete a resource; its memberships go with it and its name is free at once."""
        rules = await self._rules.get(asked.tenant)
        item = Delete(asked.type, resource_id, conditions.if_match, conditions.if_none_match)

        async def delete() -> Batch:
            async with self._storage.begin(asked.tenant) as tx:
                batch = await self._writer.delete(tx, Scope(caller, asked.tenant, rules), [item])
                _only(batch)
                return batch

        self._relay.push((await again(delete)).raised)

    async def stream_members(self, asked: Asked, group_id: str) -> AsyncGenerator[str, None]:
        """Yield a group's members as pieces of JSON, from one snapshot.

        A stream holds a connection for as long as its reader takes, so only some may run at once; Overloaded beyond.
        """
        if self._streams.locked():
            raise Overloaded("streaming members", retry_after_s=2.0)
        projection = _view(asked, await self._rules.get(asked.tenant)).projection(ResourceType.GROUP)
        async with self._streams, self._storage.begin(asked.tenant, read_only=True) as tx:
            stored = await self._load(tx, asked, group_id)
            async with aclosing(memberships.stream(tx, stored.id, asked.reference_base)) as pieces:
                async for piece in pieces:
                    if projection.is_identity:
                        yield piece
                    elif chosen := projection.apply({"members": orjson.loads(f"[{piece}]")}).get("members"):
                        yield orjson.dumps(chosen)[1:-1].decode()

    async def _write(self, caller: Caller, asked: Asked, write: Callable[[Tx, Scope], Awaitable[Batch]]) -> Done:
        """Carry out one write in its own transaction and return it as the request wants to see it."""
        rules = await self._rules.get(asked.tenant)
        view, scope = _view(asked, rules), Scope(caller, asked.tenant, rules, asked.reference_base)
        view.projection(asked.type)  # A selection that cannot be: before anything is written.

        async def transaction() -> tuple[Done, Batch]:
            async with self._storage.begin(asked.tenant) as tx:
                batch = await write(tx, scope)
                done = _only(batch)
                return Done((await represent(tx, view, [done.resource]))[0], done.changed), batch

        done, batch = await again(transaction)
        self._relay.push(batch.raised)
        return done

    async def _load(self, tx: Tx, asked: Asked, resource_id: str) -> StoredResource:
        wanted = parse_resource_id(resource_id)
        found = await resources.get(tx, asked.type, [wanted]) if wanted is not None else {}
        if wanted is None or wanted not in found:
            raise ResourceNotFound(f"no such {asked.type.scim_name}")
        return found[wanted]


def _view(asked: Asked, rules: ScimRules) -> View:
    return View(rules.registry, asked.selection, asked.reference_base, asked.with_members)


def _only(batch: Batch) -> Done:
    """Return the outcome of a batch of one; raise it if it is an error, which undoes the transaction."""
    outcome = batch.outcomes[0]
    if isinstance(outcome, ScimError):
        raise outcome
    return outcome
