"""Creates, reads, replaces, patches and deletes users and groups.

A write is one transaction: the resource and its version, its members, the audit event, and the raised desired version
in every target (the outbox). The queue is told after the commit, best effort: the relay's sweep finds what it missed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, cast
from uuid import UUID

import orjson

from control_plane.domain.errors import NotFound, Overloaded
from control_plane.domain.ids import ResourceId, TenantId, uuid7
from control_plane.domain.resources import Document, NewResource, ResourceType, StoredResource
from control_plane.runtime.clock import Clock
from control_plane.scim import etag
from control_plane.scim.errors import ResourceNotFound, Uniqueness
from control_plane.scim.filters import equality, parse_filter
from control_plane.scim.json_door import parse_object
from control_plane.scim.members import MemberOp, Replace
from control_plane.scim.messages import parse_patch
from control_plane.scim.patch import apply
from control_plane.scim.registry import default_registry
from control_plane.scim.replace import replace as replace_document
from control_plane.scim.validate import normalise
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.members import MemberEdit, edit_members
from control_plane.services.relay import Relay
from control_plane.storage import audit, memberships, resources, tenants
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.resources import Page

# What scim.filters.equality lets through.
Lookup = Literal["id", "userName", "externalId", "displayName"]
MAX_RESULTS = 200
DEFAULT_COUNT = 100
# How much of a caller's unknown attribute names an audit event keeps.
MAX_IGNORED, MAX_NAME = 20, 100
KNOWN_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What every request on resources names: whose, of which type, and how members are to be linked."""

    tenant: TenantId
    type: ResourceType
    reference_base: str = ""

    @property
    def type_name(self) -> str:
        """SCIM's name of the resource type."""
        return "User" if self.type is ResourceType.USER else "Group"


@dataclass(frozen=True, slots=True)
class Patched:
    """The resource after a PATCH, and whether the operations changed anything."""

    resource: StoredResource
    changed: bool


@dataclass(frozen=True, slots=True)
class _Edit:
    """What a replace or patch wants: the new document, and the operations on members in order."""

    document: Document
    members: tuple[MemberOp, ...]
    ignored: tuple[str, ...] = ()


class DirectoryService:
    """The use cases of muster.directory.v1.DirectoryService."""

    def __init__(self, storage: Storage, clock: Clock, relay: Relay, *, streams: int) -> None:
        """``streams`` is how many members' streams may run at once."""
        self._storage, self._clock, self._relay = storage, clock, relay
        self._scribe, self._registry = Scribe(clock), default_registry()
        # Tenants that exist, as far as this process has seen: they are never deleted so far.
        self._known: set[TenantId] = set()
        self._streams = asyncio.Semaphore(streams)

    async def create(self, caller: Caller, asked: Asked, body: str) -> StoredResource:
        """Create a resource from the body of a POST; Uniqueness if the userName is taken."""
        normal = normalise(asked.type_name, parse_object(body), self._registry)
        now = self._clock.now()
        resource_id = ResourceId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        row = self._row(resource_id, asked.type, normal.document)
        edit = MemberEdit()
        async with self._storage.begin(asked.tenant) as tx:
            await self._require_tenant(tx, asked.tenant)
            written = await resources.insert(tx, [row])
            if resource_id not in written.ids:
                raise Uniqueness(f"userName {row.user_name!r} is already in use")
            if normal.members:
                edit = await edit_members(tx, resource_id, [Replace(tuple(normal.members))])
            details = {"attributes": sorted(row.document), **_ignored(normal.ignored), **edit.details()}
            await self._audit(tx, caller, asked, "create", resource_id, details)
            created = await self._with_members(tx, asked, _stored(row, 1))
        self._relay.push(written.raised)
        return created

    async def get(self, asked: Asked, resource_id: str, *, with_members: bool) -> StoredResource:
        """Return a resource; ResourceNotFound for an id of another type or tenant, like any that does not exist."""
        async with self._storage.begin(asked.tenant, read_only=True) as tx:
            stored = await self._load(tx, asked, resource_id)
            return await self._with_members(tx, asked, stored) if with_members else stored

    async def list(
        self, asked: Asked, filter_text: str, start_index: int, count: int | None, *, with_members: bool
    ) -> tuple[Page, int]:
        """Return a page in order of creation, and its start index as clamped (RFC 7644 section 3.4.2.4)."""
        start = max(start_index, 1)
        wanted = min(max(DEFAULT_COUNT if count is None else count, 0), MAX_RESULTS)
        match = equality(parse_filter(filter_text), asked.type_name, self._registry) if filter_text else None
        async with self._storage.begin(asked.tenant, read_only=True) as tx:
            if match is None:
                page = await resources.page(tx, asked.type, start, wanted)
            else:
                page = await resources.find(tx, asked.type, cast("Lookup", match.attribute), match.value, start, wanted)
            if with_members and asked.type is ResourceType.GROUP:
                rendered = await memberships.render(tx, [one.id for one in page.resources], asked.reference_base)
                page = replace(page, resources=tuple(_attach(one, rendered.get(one.id)) for one in page.resources))
        return page, start

    async def replace(self, caller: Caller, asked: Asked, resource_id: str, body: str, if_match: str) -> StoredResource:
        """Replace a resource by the body of a PUT (RFC 7644 section 3.5.1)."""
        parsed = parse_object(body)

        def edit(stored: Document) -> _Edit:
            normal = normalise(asked.type_name, parsed, self._registry)
            document = replace_document(asked.type_name, stored, normal, self._registry)
            # A PUT that omits members clears them (RFC 7644 3.5.1: absent means unassigned).
            members = (Replace(tuple(normal.members or ())),) if asked.type is ResourceType.GROUP else ()
            return _Edit(document, members, normal.ignored)

        return (await self._change(caller, asked, resource_id, if_match, "replace", edit)).resource

    async def patch(self, caller: Caller, asked: Asked, resource_id: str, body: str, if_match: str) -> Patched:
        """Apply the PatchOp in the body of a PATCH; all operations or none (RFC 7644 section 3.5.2)."""
        operations = parse_patch(parse_object(body))

        def edit(stored: Document) -> _Edit:
            result = apply(asked.type_name, stored, operations, self._registry)
            return _Edit(result.document, tuple(result.members))

        return await self._change(caller, asked, resource_id, if_match, "patch", edit)

    async def delete(self, caller: Caller, asked: Asked, resource_id: str, if_match: str) -> None:
        """Delete a resource; its memberships go with it and its name is free at once."""
        async with self._storage.begin(asked.tenant) as tx:
            stored = await self._load(tx, asked, resource_id, lock=True)
            etag.require_match(if_match, stored.version)
            written = await resources.delete(tx, asked.type, [stored.id], self._clock.now())
            await self._audit(tx, caller, asked, "delete", stored.id, {})
        self._relay.push(written.raised)

    async def stream_members(self, asked: Asked, group_id: str) -> AsyncGenerator[str, None]:
        """Yield a group's members as pieces of JSON, from one snapshot.

        A stream holds a connection for as long as its reader takes, so only some may run at once; Overloaded beyond.
        """
        if self._streams.locked():
            raise Overloaded("streaming members", retry_after_s=2.0)
        async with self._streams, self._storage.begin(asked.tenant, read_only=True) as tx:
            stored = await self._load(tx, asked, group_id)
            async with aclosing(memberships.stream(tx, stored.id, asked.reference_base)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _change(
        self,
        caller: Caller,
        asked: Asked,
        resource_id: str,
        if_match: str,
        verb: str,
        edit: Callable[[Document], _Edit],
    ) -> Patched:
        """Load, edit and save a resource in one transaction; an edit that changes nothing leaves no trace."""
        async with self._storage.begin(asked.tenant) as tx:
            stored = await self._load(tx, asked, resource_id, lock=True)
            etag.require_match(if_match, stored.version)
            before: Document = orjson.loads(stored.document)
            wanted = edit(before)
            members = await edit_members(tx, stored.id, wanted.members)
            now = self._clock.now()
            row = self._row(stored.id, asked.type, wanted.document)
            if wanted.document != before:
                written = await resources.update(tx, [row])
            elif members.changed:
                written = await resources.touch(tx, [stored.id], now)
            else:
                if members.unknown:
                    await self._audit(tx, caller, asked, verb, stored.id, members.details())
                return Patched(await self._with_members(tx, asked, stored), changed=False)
            changed = _changed_names(before, wanted.document)
            details = {"attributes": changed, **_ignored(wanted.ignored), **members.details()}
            await self._audit(tx, caller, asked, verb, stored.id, details)
            after = replace(_stored(row, stored.version + 1), created_at=stored.created_at)
            after = await self._with_members(tx, asked, after)
        self._relay.push(written.raised)
        return Patched(after, changed=True)

    async def _require_tenant(self, tx: Tx, tenant: TenantId) -> None:
        """Raise NotFound for a tenant that does not exist: no foreign key would refuse its rows."""
        if tenant in self._known:
            return
        if await tenants.get(tx, tenant) is None:
            raise NotFound("tenant", tenant)
        if len(self._known) >= KNOWN_TENANTS:
            self._known.clear()
        self._known.add(tenant)

    async def _load(self, tx: Tx, asked: Asked, resource_id: str, *, lock: bool = False) -> StoredResource:
        try:
            wanted = ResourceId(UUID(resource_id))
        except ValueError:
            raise ResourceNotFound(f"no such {asked.type_name}") from None
        found = await resources.get(tx, asked.type, [wanted], lock=lock)
        # UUID() takes other spellings too; an id is caseExact (RFC 7643 section 3.1).
        if wanted not in found or str(wanted) != resource_id:
            raise ResourceNotFound(f"no such {asked.type_name}")
        return found[wanted]

    async def _with_members(self, tx: Tx, asked: Asked, stored: StoredResource) -> StoredResource:
        if asked.type is not ResourceType.GROUP:
            return stored
        rendered = await memberships.render(tx, [stored.id], asked.reference_base)
        return _attach(stored, rendered.get(stored.id))

    async def _audit(
        self, tx: Tx, caller: Caller, asked: Asked, verb: str, resource_id: ResourceId, details: dict[str, object]
    ) -> None:
        deed = Deed(f"{asked.type.noun}.{verb}", asked.type.noun, str(resource_id), details)
        await audit.append(tx, [self._scribe.event(asked.tenant, caller, deed)])

    def _row(self, resource_id: ResourceId, kind: ResourceType, document: Document) -> NewResource:
        return NewResource(
            id=resource_id,
            type=kind,
            user_name=document.get("userName"),
            external_id=document.get("externalId"),
            display_name=document.get("displayName"),
            active=bool(document.get("active", True)) if kind is ResourceType.USER else None,
            document=document,
            at=self._clock.now(),
        )


def _stored(row: NewResource, version: int) -> StoredResource:
    return StoredResource(
        id=row.id,
        type=row.type,
        version=version,
        user_name=row.user_name,
        external_id=row.external_id,
        display_name=row.display_name,
        active=row.active,
        created_at=row.at,
        updated_at=row.at,
        document=orjson.dumps(row.document).decode(),
    )


def _attach(stored: StoredResource, rendered: tuple[str, int] | None) -> StoredResource:
    members, count = rendered or ("", 0)
    return replace(stored, members=members, member_count=count)


def _ignored(names: tuple[str, ...]) -> dict[str, object]:
    """Return what the audit event says of attributes that no schema knows: they were dropped."""
    return {"ignored": [name[:MAX_NAME] for name in names[:MAX_IGNORED]]} if names else {}


def _changed_names(before: Document, after: Document) -> list[str]:
    """Return the names of attributes that differ: values stay out of the audit trail."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
