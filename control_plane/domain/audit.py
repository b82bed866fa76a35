"""Audit events: who did what to which thing, with what outcome."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from control_plane.domain.ids import EventId, TenantId


class ActorType(IntEnum):
    """Who acts; the values are those of the wire and of the database."""

    TOKEN = 1
    ADMIN = 2
    WORKER = 3
    SYSTEM = 4


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


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry of the trail. ``details`` holds names and counts, never secrets or values of attributes."""

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


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Conditions joined by "and"; None does not restrict."""

    start: datetime | None = None
    end: datetime | None = None
    actor_id: str | None = None
    action: str | None = None
    resource_id: str | None = None
    outcome: Outcome | None = None
