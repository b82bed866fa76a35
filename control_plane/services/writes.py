"""Creates, changes and deletes resources inside a transaction, many at a time: one resource is a batch of one.

A write is the resource and its version, its members, the audit event, and the raised desired version in every target
(the outbox). An item that is wrong is a ScimError in its place and leaves its neighbours alone.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

from control_plane.domain.audit import AuditEvent
from control_plane.domain.ids import ResourceId, TenantId, parse_resource_id, uuid7
from control_plane.domain.resources import Document, NewResource, ResourceType, StoredResource
from control_plane.runtime.clock import Clock
from control_plane.scim import etag
from control_plane.scim.compare import fold
from control_plane.scim.errors import InvalidValue, ResourceNotFound, ScimError, Uniqueness
from control_plane.scim.keys import keyed_values, unique_keys
from control_plane.scim.members import MemberOp
from control_plane.scim.members import Replace as ReplaceMembers
from control_plane.scim.messages import parse_patch
from control_plane.scim.patch import apply
from control_plane.scim.replace import replace as replace_document
from control_plane.scim.rules import ScimRules
from control_plane.scim.validate import normalise
from control_plane.services import user_limit
from control_plane.services.caller import Caller, Scribe
from control_plane.services.members import MemberEdit, edit_members, edited, named_ids
from control_plane.services.trail import Trail
from control_plane.services.write_events import MAX_IGNORED, MAX_NAME, Change, deed
from control_plane.storage import member_lookup, memberships, resources, uniqueness
from control_plane.storage.audit_subjects import SealedKeys
from control_plane.storage.engine import Tx
from control_plane.storage.marks import Raised
from control_plane.storage.uniqueness import GROUP_NAME, Claim

# So many new resources are checked before others get their turn on the event loop: a circle may have a thousand.
CHECKED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """On whose behalf and by whose rules; ``base`` is the URL before "/Users", for filters on ``$ref``."""

    caller: Caller
    tenant: TenantId
    rules: ScimRules
    base: str = ""


@dataclass(frozen=True, slots=True)
class Create:
    """A POST; ``id`` if the resource's id is fixed already (bulkId references)."""

    type: ResourceType
    body: dict[str, Any]
    id: ResourceId | None = None


@dataclass(frozen=True, slots=True)
class _Existing:
    type: ResourceType
    id: str


@dataclass(frozen=True, slots=True)
class _Conditional(_Existing):
    body: dict[str, Any]
    if_match: str = ""
    if_none_match: str = ""


@dataclass(frozen=True, slots=True)
class Replace(_Conditional):
    """A PUT (RFC 7644 section 3.5.1)."""


@dataclass(frozen=True, slots=True)
class Patch(_Conditional):
    """A PATCH (RFC 7644 section 3.5.2)."""


@dataclass(frozen=True, slots=True)
class Delete(_Existing):
    """A DELETE (RFC 7644 section 3.6)."""

    if_match: str = ""
    if_none_match: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The resource after the write (before it, if deleted), without members and groups; whether anything changed."""

    resource: StoredResource
    changed: bool


Outcome = Done | ScimError


@dataclass(frozen=True, slots=True)
class Batch:
    """One outcome for each item, in their order; and what to push to the queue after the commit."""

    outcomes: list[Outcome]
    raised: tuple[Raised, ...] = ()


class _Wanted(NamedTuple):
    """What an item amounts to: the row to store, what happens to members, what the audit trail should say."""

    row: NewResource
    members: tuple[MemberOp, ...] = ()
    ignored: tuple[str, ...] = ()
    before: StoredResource | None = None
    # The stored document, parsed; None for a create.
    stored: Document | None = None

    @property
    def is_rewritten(self) -> bool:
        """Whether the document differs from what is stored."""
        return self.row.document != self.stored


@dataclass(slots=True)
class _Log:
    """What a batch did, item by item."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    events: list[AuditEvent] = field(default_factory=list)
    # Whose keys the trail need not ask for: who is new has none, and the others' as they were read with their rows.
    born: frozenset[ResourceId] = frozenset()
    keys: SealedKeys | None = None


class Writer:
    """The one way resources are written."""

    def __init__(self, clock: Clock, trail: Trail) -> None:
        self._clock, self._trail, self._scribe = clock, trail, Scribe(clock)

    def new_id(self) -> ResourceId:
        """Return an id for a resource that is about to be created."""
        return ResourceId(uuid7(int(self._clock.now().timestamp() * 1000), self._clock.random_bytes(10)))

    async def create(self, tx: Tx, scope: Scope, items: Sequence[Create]) -> Batch:
        """Create resources. Uniqueness for a userName (or another unique value) that is taken, also by a neighbour.

        Raises Uniqueness, and the transaction is lost, when a neighbour that was in the way could not be created;
        Forbidden when one had the last place of the tenant's limit and could not be.
        """
        log = _Log()
        wanted = await self._made(scope, items, log)
        places = await user_limit.places(tx, scope.rules, [one.row for one in wanted.values()])
        behind = await self._refuse_taken(tx, scope, wanted, log)
        await self._refuse_unknown_members(tx, scope, wanted, log)
        for at in (beyond := user_limit.beyond(places, {at: one.row for at, one in wanted.items()})):
            log.outcomes[at] = user_limit.full(scope.rules)
            del wanted[at]
        if not wanted and not behind:
            return await self._finished(tx, log, len(items), ())
        written = await resources.insert(tx, [one.row for one in wanted.values()])
        if beyond and len(written.ids) < len(wanted):
            raise user_limit.full(scope.rules)
        groups = {one.row.id: named_ids(one.members) for one in wanted.values() if one.members}
        filled = await memberships.fill(tx, {one: ids for one, ids in groups.items() if one in written.ids})
        for at, one in wanted.items():
            if one.row.id not in written.ids:
                log.outcomes[at] = Uniqueness(f"userName {one.row.user_name!r} is already in use")
                continue
            edit = edited(filled[one.row.id]) if one.row.id in filled else MemberEdit()
            said = Change("create", one.row, None, one.row.document, one.ignored, edit.details())
            log.events.append(self._event(scope, said))
            log.outcomes[at] = Done(_stored(one.row, 1), changed=True)
        if not written.ids.issuperset(behind.values()):
            # Refused for the sake of one that came to nothing: by itself it may be created.
            raise Uniqueness("a value that must be unique is wanted twice")
        log.born = written.ids
        return await self._finished(tx, log, len(items), written.raised)

    async def change(self, tx: Tx, scope: Scope, items: Sequence[Replace | Patch]) -> Batch:
        """Replace or patch resources, each at most once. What changes nothing leaves no trace.

        Raises Uniqueness when a userName is taken, or of several items one wants any value that is: the transaction is
        then lost, for all items.
        """
        log, wanted = _Log(), dict[int, _Wanted]()
        found, log.keys = await self._load(tx, items)
        for at, item in enumerate(items):
            try:
                wanted[at] = self._edited(scope, item, _existing(found, item))
            except ScimError as err:
                log.outcomes[at] = err
        await self._refuse_taken(tx, scope, {at: one for at, one in wanted.items() if one.is_rewritten}, log)
        if len(items) > 1 and any(isinstance(one, Uniqueness) for one in log.outcomes.values()):
            # A neighbour may be about to give the value up: their order decides, so they must come one by one.
            raise Uniqueness("a value that must be unique is in use")
        await self._refuse_unknown_members(tx, scope, wanted, log)
        wanted = {at: one for at, one in wanted.items() if at not in log.outcomes}
        edits = {at: await edit_members(tx, one.row.id, one.members, scope.base) for at, one in wanted.items()}
        rewritten = [one.row for one in wanted.values() if one.is_rewritten]
        touched = [one.row for at, one in wanted.items() if edits[at].changed and not one.is_rewritten]
        raised: tuple[Raised, ...] = ()
        if rewritten:
            # In one statement, so that the marks of all are locked in one order (marks.py).
            raised = (await resources.update(tx, [*rewritten, *touched])).raised
        elif touched:
            raised = (await resources.touch(tx, [row.id for row in touched], max(row.at for row in touched))).raised
        for at, one in wanted.items():
            log.outcomes[at] = self._changed(scope, _verb(items[at]), one, edits[at], log)
        return await self._finished(tx, log, len(items), raised)

    async def delete(self, tx: Tx, scope: Scope, items: Sequence[Delete]) -> Batch:
        """Delete resources; their memberships go with them and their names are free at once."""
        log, gone = _Log(), dict[int, StoredResource]()
        asked = {parsed for item in items if (parsed := parse_resource_id(item.id)) is not None}
        found = await resources.get_for_delete(tx, asked) if asked else {}
        for at, item in enumerate(items):
            try:
                stored = _existing(found, item)
                etag.check(stored.version, item.if_match, item.if_none_match)
            except ScimError as err:
                log.outcomes[at] = err
            else:
                gone[at] = stored
                log.outcomes[at] = Done(stored, changed=True)
                log.events.append(self._event(scope, Change("delete", stored)))
        written = await resources.delete_locked(tx, [stored.id for stored in gone.values()], self._clock.now())
        return await self._finished(tx, log, len(items), written.raised)

    async def _made(self, scope: Scope, items: Sequence[Create], log: _Log) -> dict[int, _Wanted]:
        """Return what the items that are right amount to."""
        wanted: dict[int, _Wanted] = {}
        for at, item in enumerate(items):
            if at % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                normal = normalise(item.type.scim_name, item.body, scope.rules)
                row = self._row(scope, item.id or self.new_id(), item.type, normal.document)
            except ScimError as err:
                log.outcomes[at] = err
            else:
                members = (ReplaceMembers(tuple(normal.members)),) if normal.members else ()
                wanted[at] = _Wanted(row, members, normal.ignored)
        return wanted

    def _edited(self, scope: Scope, item: Replace | Patch, stored: StoredResource) -> _Wanted:
        """Return what ``item`` makes of the stored resource."""
        etag.check(stored.version, item.if_match, item.if_none_match)
        before: Document = orjson.loads(stored.document)
        name, rules = item.type.scim_name, scope.rules
        if isinstance(item, Patch):
            result = apply(name, before, parse_patch(item.body), rules, resource_id=item.id)
            row = self._row(scope, stored.id, item.type, result.document)
            return _Wanted(row, tuple(result.members), result.ignored, stored, before)
        normal = normalise(name, item.body, rules)
        row = self._row(scope, stored.id, item.type, replace_document(name, before, normal, rules))
        members = _put_members(item.type, normal.members, keep=rules.compatibility.put_keeps_members)
        return _Wanted(row, members, normal.ignored, stored, before)

    def _changed(self, scope: Scope, verb: str, one: _Wanted, edit: MemberEdit, log: _Log) -> Done:
        """Return the outcome of a change that went through, and write down what the audit trail says of it."""
        assert one.before is not None
        assert one.stored is not None
        if not one.is_rewritten and not edit.changed:
            if edit.unknown:
                log.events.append(self._event(scope, Change(verb, one.row, details=edit.details())))
            return Done(one.before, changed=False)
        said = Change(verb, one.row, one.stored, one.row.document, one.ignored, edit.details())
        log.events.append(self._event(scope, said))
        after = replace(_stored(one.row, one.before.version + 1), created_at=one.before.created_at)
        return Done(after, changed=True)

    async def _load(self, tx: Tx, items: Sequence[_Existing]) -> tuple[dict[ResourceId, StoredResource], SealedKeys]:
        """Return the resources that ``items`` name, locked: users before groups, by their ids; and the users' keys."""
        users, groups = (_ids(items, kind) for kind in (ResourceType.USER, ResourceType.GROUP))
        found, keys = await resources.lock_users(tx, users) if users else ({}, {})
        if groups:
            found |= await resources.get(tx, ResourceType.GROUP, groups, lock=True)
        return found, keys

    async def _refuse_taken(self, tx: Tx, scope: Scope, wanted: dict[int, _Wanted], log: _Log) -> dict[int, ResourceId]:
        """Give Uniqueness to each item with a value that another resource, or an item before it, has.

        Return the refused items that have nobody in their way but one before them, and which that is.
        """
        claims = {at: _claims(scope.rules, one) for at, one in wanted.items()}
        asked = [claim for some in claims.values() for claim in some]
        if not asked:
            return {}
        taken = await uniqueness.claim(tx, asked)
        holders: dict[tuple[str, str], ResourceId] = {}
        behind: dict[int, ResourceId] = {}
        for at, some in claims.items():
            for claim in some:
                holder = holders.setdefault((claim.attribute, claim.key), claim.resource)
                if claim in taken or holder != claim.resource:
                    log.outcomes[at] = _in_use(claim.attribute)
                    wanted.pop(at, None)
                    if claim not in taken:
                        behind[at] = holder
        return behind

    async def _refuse_unknown_members(self, tx: Tx, scope: Scope, wanted: dict[int, _Wanted], log: _Log) -> None:
        """Where the tenant wants it: give InvalidValue to each item that adds members whom nobody knows."""
        if not scope.rules.compatibility.reject_unknown_members:
            return
        for at, one in list(wanted.items()):
            unknown = await member_lookup.unknown(tx, one.row.id, named_ids(one.members))
            if unknown:
                some = ", ".join(name[:MAX_NAME] for name in unknown[:MAX_IGNORED])
                log.outcomes[at] = InvalidValue(f"members: nobody has the ids {some}")
                wanted.pop(at)

    def _row(self, scope: Scope, resource_id: ResourceId, kind: ResourceType, document: Document) -> NewResource:
        model = scope.rules.registry.model(kind.scim_name)
        row = NewResource(
            id=resource_id,
            type=kind,
            user_name=document.get("userName"),
            external_id=document.get("externalId"),
            display_name=document.get("displayName"),
            active=document.get("active") if kind is ResourceType.USER else None,
            document=document,
            at=self._clock.now(),
            keys=keyed_values(model, document),
        )
        resources.refuse_long(row)
        return row

    def _event(self, scope: Scope, change: Change) -> AuditEvent:
        return self._scribe.event(scope.tenant, scope.caller, deed(scope.rules, change))

    async def _finished(self, tx: Tx, log: _Log, count: int, raised: tuple[Raised, ...]) -> Batch:
        """Write the audit events and put the outcomes into the order of the items."""
        if log.events:
            await self._trail.append(tx, log.events, log.born, log.keys)
        return Batch([log.outcomes[at] for at in range(count)], raised)


def _ids(items: Iterable[_Existing], kind: ResourceType) -> set[ResourceId]:
    return {parsed for item in items if item.type is kind and (parsed := parse_resource_id(item.id)) is not None}


def _existing(found: dict[ResourceId, StoredResource], item: _Existing) -> StoredResource:
    parsed = parse_resource_id(item.id)
    if parsed is None or parsed not in found or found[parsed].type is not item.type:
        raise ResourceNotFound(f"no such {item.type.scim_name}")
    return found[parsed]


def _put_members(kind: ResourceType, given: Iterable[str] | None, *, keep: bool) -> tuple[MemberOp, ...]:
    """Return what a PUT does to members: RFC 7644 section 3.5.1 clears what is omitted, unless the tenant keeps it."""
    if kind is not ResourceType.GROUP or (given is None and keep):
        return ()
    return (ReplaceMembers(tuple(given or ())),)


def _claims(rules: ScimRules, one: _Wanted) -> list[Claim]:
    """Return the values that must be this resource's alone, as far as the write changes them."""
    row, model = one.row, rules.registry.model(one.row.type.scim_name)
    had = set(unique_keys(model, one.stored)) if one.stored is not None else set()
    claims = [
        Claim(attribute, key, row.id)
        for attribute, key in unique_keys(model, row.document)
        if (attribute, key) not in had
    ]
    if row.type is ResourceType.GROUP and rules.compatibility.unique_group_names and row.display_name is not None:
        key = fold(row.display_name)
        before = one.before.display_name if one.before else None
        if before is None or fold(before) != key:
            claims.append(Claim(GROUP_NAME, key, row.id))
    return claims


def _in_use(attribute: str) -> Uniqueness:
    return Uniqueness(f"{'displayName' if attribute == GROUP_NAME else attribute} is already in use")


def _verb(item: Replace | Patch) -> str:
    return "patch" if isinstance(item, Patch) else "replace"


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
