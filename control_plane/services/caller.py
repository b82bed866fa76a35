"""Who asks, as every use case needs it for the audit trail."""

from dataclasses import dataclass
from typing import Any

import orjson

from control_plane.domain.audit import Actor, AuditEvent, Outcome
from control_plane.domain.ids import EventId, ResourceId, TenantId, uuid7
from control_plane.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Caller:
    """The actor and the request id of one call."""

    actor: Actor
    request_id: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done to which thing; with a caller and a time it is an audit event.

    ``personal`` is what belongs to the person ``subject``: services/trail.py seals it.
    """

    action: str
    resource_type: str
    resource_id: str
    details: dict[str, Any]
    subject: ResourceId | None = None
    personal: dict[str, Any] | None = None


class Scribe:
    """Turns deeds into audit events."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def event(self, tenant: TenantId, caller: Caller, deed: Deed, reason: str = "") -> AuditEvent:
        """Return the event of ``deed`` now; with a ``reason`` it is a failure."""
        now = self._clock.now()
        return AuditEvent(
            id=EventId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10))),
            tenant=tenant,
            at=now,
            actor=caller.actor,
            action=deed.action,
            resource_type=deed.resource_type,
            resource_id=deed.resource_id,
            outcome=Outcome.FAILURE if reason else Outcome.SUCCESS,
            reason=reason,
            request_id=caller.request_id,
            details=deed.details,
            trace_id=caller.trace_id,
            subject=deed.subject,
            personal=None if deed.personal is None else orjson.dumps(deed.personal),
        )
