"""The audit trail: the runtime roles may add to it and read it, and nothing else."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

import orjson
from sqlalchemy import Row, select

from control_plane.domain.audit import Actor, ActorType, AuditEvent, AuditQuery, Outcome
from control_plane.domain.ids import EventId, TenantId, uuid7
from control_plane.storage.engine import Tx
from control_plane.storage.schema import audit_events

APPEND: LiteralString = """
    INSERT INTO audit_events (id, tenant_id, at, actor_type, actor_id, actor_address, action, resource_type,
                              resource_id, outcome, reason, request_id, details)
    SELECT id, tenant_id, at, actor_type, actor_id, actor_address, action, resource_type, resource_id, outcome, reason,
           request_id, details::jsonb
    FROM unnest(
        %(ids)b::uuid[], %(tenants)b::uuid[], %(ats)b::timestamptz[], %(actor_types)b::smallint[],
        %(actor_ids)b::text[], %(actor_addresses)b::text[], %(actions)b::text[], %(resource_types)b::text[],
        %(resource_ids)b::text[], %(outcomes)b::smallint[], %(reasons)b::text[], %(request_ids)b::text[],
        %(details)b::text[]
    ) AS e (id, tenant_id, at, actor_type, actor_id, actor_address, action, resource_type, resource_id, outcome,
            reason, request_id, details)
"""
# How far an event's id, made from the clock too, may be from its time.
ID_SLACK = timedelta(minutes=1)


async def append(tx: Tx, events: Sequence[AuditEvent]) -> None:
    """Add events to the trail, in the transaction of what they tell of."""
    if not events:
        return
    await tx.fetch(
        APPEND,
        {
            "ids": [event.id for event in events],
            "tenants": [event.tenant for event in events],
            "ats": [event.at for event in events],
            "actor_types": [int(event.actor.type) for event in events],
            "actor_ids": [event.actor.id for event in events],
            "actor_addresses": [event.actor.address for event in events],
            "actions": [event.action for event in events],
            "resource_types": [event.resource_type for event in events],
            "resource_ids": [event.resource_id for event in events],
            "outcomes": [int(event.outcome) for event in events],
            "reasons": [event.reason for event in events],
            "request_ids": [event.request_id for event in events],
            "details": [orjson.dumps(event.details).decode() for event in events],
        },
    )


async def list_events(tx: Tx, query: AuditQuery, before: EventId | None, limit: int) -> list[AuditEvent]:
    """Return up to ``limit`` events of the tenant that meet ``query``, newest first, from the one behind ``before``."""
    table = audit_events.c
    wanted = select(audit_events).where(table.tenant_id == tx.tenant).order_by(table.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(table.id < before)
    # Ids rise with time: the index finds the stretch, the column decides.
    if query.start is not None:
        wanted = wanted.where(table.at >= query.start, table.id >= _first_id(query.start - ID_SLACK))
    if query.end is not None:
        wanted = wanted.where(table.at < query.end, table.id < _first_id(query.end + ID_SLACK))
    if query.outcome is not None:
        wanted = wanted.where(table.outcome == int(query.outcome))
    exact = ((table.actor_id, query.actor_id), (table.action, query.action), (table.resource_id, query.resource_id))
    for column, value in exact:
        if value is not None:
            wanted = wanted.where(column == value)
    return [_event(row) for row in await tx.execute(wanted)]


def _first_id(at: datetime) -> EventId:
    milliseconds = max(0, round(at.timestamp() * 1000))
    return EventId(uuid7(milliseconds, bytes(10)))


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        id=EventId(row.id),
        tenant=TenantId(row.tenant_id),
        at=row.at,
        actor=Actor(ActorType(row.actor_type), row.actor_id, row.actor_address),
        action=row.action,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        outcome=Outcome(row.outcome),
        reason=row.reason,
        request_id=row.request_id,
        details=row.details,
    )
