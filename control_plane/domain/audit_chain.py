"""The hash chain of a tenant's trail: what is hashed of an event, byte by byte, and how links follow each other.

docs/audit.md says the same for whoever writes a verifier of their own; a test recomputes its example.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from control_plane.domain.audit import Actor, ActorType, AuditEvent, Outcome
from control_plane.domain.ids import EventId, ResourceId, TenantId

VERSION = 1
GENESIS_LABEL = b"muster audit chain v1|"
HASH_BYTES = 32
# JSON with fewer objects and lists than this is never too deep to be written again.
MAX_NESTED = 200
_ACTORS = {int(one): one.name.lower() for one in ActorType}
_OUTCOMES = {int(one): one.name.lower() for one in Outcome}
# Taken once for each event: a look-up of an attribute is a tenth of the whole cost.
_SORTED = orjson.OPT_SORT_KEYS
_dumps, _loads, _sha256 = orjson.dumps, orjson.loads, hashlib.sha256


class Content(NamedTuple):
    """What a database row says of an event, as plain as it came: a forged row may say anything.

    A tuple of text and numbers rather than an ``AuditEvent``: a million of them are hashed in one verification.
    """

    id: str
    tenant: str
    # RFC 3339, UTC, always six digits of a second: 2026-11-24T10:00:00.000000Z.
    time: str
    actor_type: int
    actor_id: str
    actor_address: str
    actor_agent: str
    action: str
    resource_type: str
    resource_id: str
    outcome: int
    reason: str
    request_id: str
    trace_id: str
    # A JSON object.
    details: str
    subject: str | None
    commitment: bytes | None
    # Not hashed: it may be erased.
    personal: bytes | None


@dataclass(frozen=True, slots=True)
class Link:
    """One place of a chain. ``content`` is None if its event is not there."""

    seq: int
    hash: bytes
    event_id: str
    content: Content | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends; and, after expiry, the hash before the first link that is still there."""

    tenant: TenantId
    seq: int
    hash: bytes
    first_seq: int
    first_hash: bytes


def genesis(tenant: TenantId) -> bytes:
    """Return the hash that the first link of a tenant's chain follows."""
    return _sha256(GENESIS_LABEL + str(tenant).encode()).digest()


def empty_head(tenant: TenantId) -> Head:
    """Return the head of a chain without links."""
    start = genesis(tenant)
    return Head(tenant, 0, start, 1, start)


def canonical(seq: int, content: Content) -> bytes:
    """Return what is hashed of an event at ``seq``: a JSON object, keys sorted, UTF-8, no white space.

    Names that this version does not know stand as their number, details that cannot be read, or are nested too deeply
    to be written, as text.
    """
    told = fields(seq, content)
    try:
        return _dumps(told, option=_SORTED)
    except TypeError:  # orjson writes less deep than it reads
        return _dumps({**told, "details": content.details}, option=_SORTED)


def fields(seq: int, content: Content) -> dict[str, Any]:
    """Return the canonical object before it becomes bytes."""
    return {
        "action": content.action,
        "actor_address": content.actor_address,
        "actor_agent": content.actor_agent,
        "actor_id": content.actor_id,
        "actor_type": _ACTORS.get(content.actor_type) or str(content.actor_type),
        "commitment": None if content.commitment is None else content.commitment.hex(),
        "details": _details(content.details),
        "id": content.id,
        "outcome": _OUTCOMES.get(content.outcome) or str(content.outcome),
        "reason": content.reason,
        "request_id": content.request_id,
        "resource_id": content.resource_id,
        "resource_type": content.resource_type,
        "seq": seq,
        "subject_id": content.subject,
        "tenant_id": content.tenant,
        "time": content.time,
        "trace_id": content.trace_id,
        "version": VERSION,
    }


def canonical_missing(seq: int, tenant: TenantId, event_id: str) -> bytes:
    """Return what is hashed for an event that was committed and is gone before it could be sealed: its absence."""
    return _dumps({"id": event_id, "missing": True, "seq": seq, "tenant_id": str(tenant), "version": VERSION})


def link_hash(previous: bytes, sealed: bytes) -> bytes:
    """Return the hash of the link that holds the canonical bytes ``sealed`` and follows ``previous``."""
    return _sha256(previous + sealed).digest()


def time_text(at: datetime) -> str:
    """Return a time as the canonical form writes it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def content_of(event: AuditEvent) -> Content:
    """Return an event's content."""
    return Content(
        id=str(event.id),
        tenant=str(event.tenant),
        time=time_text(event.at),
        actor_type=int(event.actor.type),
        actor_id=event.actor.id,
        actor_address=event.actor.address,
        actor_agent=event.actor.agent,
        action=event.action,
        resource_type=event.resource_type,
        resource_id=event.resource_id,
        outcome=int(event.outcome),
        reason=event.reason,
        request_id=event.request_id,
        trace_id=event.trace_id,
        details=_dumps(event.details).decode(),
        subject=None if event.subject is None else str(event.subject),
        commitment=event.commitment,
        personal=event.personal,
    )


def event_of(link: Link) -> AuditEvent:
    """Return the event at ``link``; ValueError if its row says what no event can say, or is not there."""
    content = link.content
    if content is None:
        raise ValueError(f"the event at {link.seq} is not there")
    details = shown_json(content.details)
    if not isinstance(details, dict):
        raise ValueError(f"the details at {link.seq} are not what an event has")
    return AuditEvent(
        id=EventId(UUID(content.id)),
        tenant=TenantId(UUID(content.tenant)),
        at=datetime.fromisoformat(content.time),
        actor=Actor(ActorType(content.actor_type), content.actor_id, content.actor_address, content.actor_agent),
        action=content.action,
        resource_type=content.resource_type,
        resource_id=content.resource_id,
        outcome=Outcome(content.outcome),
        reason=content.reason,
        request_id=content.request_id,
        details=details,
        trace_id=content.trace_id,
        subject=None if content.subject is None else ResourceId(UUID(content.subject)),
        personal=content.personal,
        commitment=content.commitment,
        seq=link.seq,
        hash=link.hash,
    )


def readable(links: Iterable[Link]) -> list[AuditEvent]:
    """Return the events of ``links`` that are events: what a forged row says besides is for the verification."""
    found = []
    for link in links:
        try:
            found.append(event_of(link))
        except ValueError:
            continue
    return found


def shown_json(text: str) -> Any:
    """Return what JSON says; the text itself if it cannot be read, or is nested too deeply to be written again."""
    told = _details(text)
    if text.count("{") + text.count("[") > MAX_NESTED:
        try:
            _dumps(told)
        except TypeError:
            return text
    return told


def _details(text: str) -> Any:
    try:
        return _loads(text)
    except ValueError:
        return text
