"""The audit trail: the runtime roles may add to it and read it, and nothing else."""
# ruff: noqa: S608 - composed of the constants in this file

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString

import orjson
from psycopg.errors import QueryCanceled
from sqlalchemy import ColumnElement, FromClause, Row, Select, and_, column, literal_column, select, table, true
from sqlalchemy.exc import DBAPIError

from control_plane.domain.audit import Actor, ActorType, AuditEvent, AuditQuery, Outcome
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import EventId, ResourceId, TenantId, uuid7
from control_plane.storage.engine import Tx
from control_plane.storage.schema import audit_events
from control_plane.storage.tenant_keys import PROVEN, StoredKey

# An event and the note that it is not sealed yet, in one statement: neither is ever there without the other. As JSON:
# an array for each of so many columns costs more than the rest of the statement.
GIVEN: LiteralString = """
        SELECT * FROM jsonb_to_recordset(%(events)b::text::jsonb) AS e (
            id uuid, tenant_id uuid, at timestamptz, actor_type smallint, actor_id text, actor_address text,
            actor_agent text, action text, resource_type text, resource_id text, outcome smallint, reason text,
            request_id text, trace_id text, details jsonb, subject_id uuid, personal text, commitment text)
"""
WRITTEN: LiteralString = """
    written AS (
        INSERT INTO audit_events (id, tenant_id, at, actor_type, actor_id, actor_address, actor_agent, action,
                                  resource_type, resource_id, outcome, reason, request_id, trace_id, details,
                                  subject_id, personal, commitment)
        SELECT id, tenant_id, at, actor_type, actor_id, actor_address, actor_agent, action, resource_type,
               resource_id, outcome, reason, request_id, trace_id, details, subject_id, decode(personal, 'base64'),
               decode(commitment, 'base64')
        FROM input
    )
"""
PENDING: LiteralString = """
    INSERT INTO audit_pending (event_id, tenant_id) SELECT id, tenant_id FROM input
"""
APPEND = "WITH input AS (" + GIVEN + "), " + WRITTEN + PENDING
# Of persons who are new: nobody can have a key for them yet, so there is nothing to ask first. All or nothing of it.
APPEND_WITH_KEYS = (
    "WITH "
    + PROVEN
    + ", input AS ("
    + GIVEN
    + " WHERE EXISTS (SELECT FROM proven)), "
    + WRITTEN
    + """, keyed AS (
        INSERT INTO audit_subjects (tenant_id, subject_id, key_sealed, created_at)
        SELECT %(tenant)b::uuid, k.subject_id, k.key_sealed, %(at)b::timestamptz
        FROM unnest(%(key_subjects)b::uuid[], %(keys)b::bytea[]) AS k (subject_id, key_sealed)
        WHERE EXISTS (SELECT FROM proven)
    ), pended AS (
    """
    + PENDING
    + """)
    SELECT EXISTS (SELECT FROM proven)
    """
)
_CHAIN = table("audit_chain", column("tenant_id"), column("seq"), column("event_id"), column("hash"))
# How far an event's id, made from the clock too, may be from its time.
ID_SLACK = timedelta(minutes=1)
TOO_SLOW = (
    "this search takes too long: give a narrower start_time and end_time. Fast are resource_id, request_id, "
    "and whatever many events have"
)


async def append(tx: Tx, events: Sequence[AuditEvent]) -> None:
    """Add events to the trail, in the transaction of what they tell of."""
    if events:
        await tx.fetch(APPEND, {"events": _as_json(events)})


async def append_with_keys(
    tx: Tx, events: Sequence[AuditEvent], keys: Mapping[ResourceId, bytes], sealed_by: StoredKey
) -> bool:
    """Add events, and the keys of persons who just came to be, in a ``begin`` transaction.

    False, and nothing is added, if the data key that sealed ``keys`` is not the tenant's newest.
    """
    params = {
        "events": _as_json(events),
        "tenant": tx.tenant,
        "at": max(event.at for event in events),
        "key_subjects": list(keys),
        "keys": list(keys.values()),
        "key_version": sealed_by.version,
        "key_wrapped": sealed_by.wrapped,
    }
    is_proven: bool = (await tx.fetch(APPEND_WITH_KEYS, params))[0][0]
    return is_proven


async def list_events(tx: Tx, query: AuditQuery, before: EventId | None, limit: int) -> list[AuditEvent]:
    """Return up to ``limit`` events of the tenant that meet ``query``, newest first, from the one behind ``before``.

    InvalidArgument when the statement timeout of ``tx`` ends it.
    """
    with _bounded():
        return [event(row) for row in await tx.execute(statement(tx.tenant, query, before, limit))]


def statement(tenant: TenantId, query: AuditQuery, before: EventId | None, limit: int) -> Select[Any]:
    """Return the statement behind :func:`list_events`."""
    source: FromClause = audit_events
    if query.resource_id is not None or query.request_id is not None:
        # Found first and sorted later: to the planner, a tenant that it knows nothing about has one event, so that it
        # would read them all in their order.
        found = select(audit_events).where(audit_events.c.tenant_id == tenant, *_needle(query))
        source = found.cte("found").prefix_with("MATERIALIZED")
    wanted = select(source).where(source.c.tenant_id == tenant, *conditions(query, source))
    if before is not None:
        wanted = wanted.where(source.c.id < before)
    page = wanted.order_by(source.c.id.desc()).limit(limit).subquery()
    # OFFSET forbids a join, which might read the tenant's whole chain.
    link = select(_CHAIN.c.seq, _CHAIN.c.hash).where(_CHAIN.c.event_id == page.c.id, _CHAIN.c.tenant_id == tenant)
    placed = link.offset(literal_column("0")).lateral()
    return select(page, placed.c.seq, placed.c.hash).outerjoin_from(page, placed, true()).order_by(page.c.id.desc())


def conditions(query: AuditQuery, source: FromClause = audit_events) -> list[ColumnElement[bool]]:
    """Return what ``query`` asks of a row of ``source``, which has the columns of ``audit_events``."""
    events = source.c
    found: list[ColumnElement[bool]] = []
    # Ids rise with time: the index finds the stretch, the column decides.
    if query.start is not None:
        found.append(and_(events.at >= query.start, events.id >= _first_id(query.start - ID_SLACK)))
    if query.end is not None:
        found.append(and_(events.at < query.end, events.id < _first_id(query.end + ID_SLACK)))
    if query.action is not None:
        found.append(_is_action(events.action, query.action))
    exact: tuple[tuple[ColumnElement[Any], object], ...] = (
        (events.actor_type, None if query.actor_type is None else int(query.actor_type)),
        (events.actor_id, query.actor_id),
        (events.resource_type, query.resource_type),
        (events.resource_id, query.resource_id),
        (events.request_id, query.request_id),
        (events.outcome, None if query.outcome is None else int(query.outcome)),
        (events.trace_id, query.trace_id),
    )
    return found + [exactly == value for exactly, value in exact if value is not None]


def event(row: Row[Any]) -> AuditEvent:
    """Return the event of a row with the columns of ``audit_events`` and seq and hash of its link, if it has one."""
    return AuditEvent(
        id=EventId(row.id),
        tenant=TenantId(row.tenant_id),
        at=row.at,
        actor=Actor(ActorType(row.actor_type), row.actor_id, row.actor_address, row.actor_agent),
        action=row.action,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        outcome=Outcome(row.outcome),
        reason=row.reason,
        request_id=row.request_id,
        details=row.details,
        trace_id=row.trace_id,
        subject=None if row.subject_id is None else ResourceId(row.subject_id),
        personal=row.personal,
        commitment=row.commitment,
        seq=row.seq or 0,
        hash=row.hash or b"",
    )


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise InvalidArgument where the server gave up: the same search would take as long the next time."""
    try:
        yield
    except DBAPIError as err:
        if isinstance(err.orig, QueryCanceled):
            raise InvalidArgument("start_time", TOO_SLOW) from None
        raise


def _needle(query: AuditQuery) -> list[ColumnElement[bool]]:
    events = audit_events.c
    if query.request_id is None:
        return [events.resource_id == query.resource_id]
    # The second is what the index is for, and has to be said.
    return [events.request_id == query.request_id, events.request_id != ""]


def _is_action(action: ColumnElement[str], asked: str) -> ColumnElement[bool]:
    """Return the condition for one action, or for all of a noun: "token.*"."""
    if not asked.endswith(".*"):
        return action == asked
    return action.startswith(asked.removesuffix("*"), autoescape=True)


def _as_json(events: Sequence[AuditEvent]) -> str:
    """Return events as ``GIVEN`` reads them."""
    rows = [
        {
            "id": one.id,
            "tenant_id": one.tenant,
            "at": one.at,
            "actor_type": int(one.actor.type),
            "actor_id": one.actor.id,
            "actor_address": one.actor.address,
            "actor_agent": one.actor.agent,
            "action": one.action,
            "resource_type": one.resource_type,
            "resource_id": one.resource_id,
            "outcome": int(one.outcome),
            "reason": one.reason,
            "request_id": one.request_id,
            "trace_id": one.trace_id,
            "details": one.details,
            "subject_id": one.subject,
            "personal": _base64(one.personal),
            "commitment": _base64(one.commitment),
        }
        for one in events
    ]
    return orjson.dumps(rows).decode()


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _first_id(at: datetime) -> EventId:
    milliseconds = max(0, round(at.timestamp() * 1000))
    return EventId(uuid7(milliseconds, bytes(10)))
