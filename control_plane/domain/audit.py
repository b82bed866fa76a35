"""Audit events: who did what to which thing, with what outcome."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from control_plane.domain.ids import EventId, ResourceId, TenantId


class ActorType(IntEnum):
    """Who acts; the values are those of the wire and of the database."""

    TOKEN = 1
    ADMIN = 2
    WORKER = 3
    SYSTEM = 4
    OPERATOR = 5
    SERVICE = 6


class Outcome(IntEnum):
    """How it ended; the values are those of the wire and of the database."""

    SUCCESS = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where."""

    type: ActorType
    id: str
    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry of the trail. ``details`` holds names and counts, never secrets, nor what belongs to a person.

    What belongs to a person is in ``personal``: a JSON object, sealed with the key of ``subject`` when stored
    (services/trail.py). ``commitment`` is what the chain covers of it, and stays when the key is destroyed.
    """

    id: EventId
    tenant: TenantId
    at: datetime
    actor: Actor
    action: str
    resource_type: str
    resource_id: str
    outcome: Outcome = Outcome.SUCCESS
    reason: str = ""
    request_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    subject: ResourceId | None = None
    personal: bytes | None = None
    commitment: bytes | None = None
    # Its place in the tenant's chain and the link's hash; 0 and empty as long as it is not sealed.
    seq: int = 0
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Conditions joined by "and"; None does not restrict."""

    start: datetime | None = None
    end: datetime | None = None
    actor_type: ActorType | None = None
    actor_id: str | None = None
    # Exactly this one, or all of a noun: "token.*".
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None
    trace_id: str | None = None
