"""The chains of the audit trail: sealing, reading along them, checkpoints' rows, expiry."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from control_plane.domain.audit_chain import Content, Head, Link, empty_head
from control_plane.domain.ids import EventId, TenantId
from control_plane.storage.engine import Tx

# Session-wide numbers of PostgreSQL's advisory locks, far from those of tenants (UUIDs) and values (hashes).
SEALER_LOCK, EXPIRY_LOCK = 0x6D757374_0001, 0x6D757374_0002

# Text as PostgreSQL writes it: what a forged row says (a time of "infinity") must not fail to load, nor look like
# another one (to_char does not say that a year is before Christ).
CONTENT: LiteralString = """
    e.id::text, e.tenant_id::text,
    CASE WHEN e.at >= '0001-01-01Z' AND e.at < 'infinity'
        THEN to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') ELSE e.at::text END,
    e.actor_type, e.actor_id, e.actor_address, e.actor_agent, e.action, e.resource_type, e.resource_id, e.outcome,
    e.reason, e.request_id, e.trace_id, e.details::text, e.subject_id::text, e.commitment
"""
TRY_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(%(lock)b::bigint)"
PENDING: LiteralString = "SELECT event_id, tenant_id FROM audit_pending ORDER BY event_id LIMIT %(limit)b"
COUNT_PENDING: LiteralString = "SELECT count(*) FROM (SELECT FROM audit_pending LIMIT %(limit)b) p"
TAKE: LiteralString = """
    DELETE FROM audit_pending p USING unnest(%(ids)b::uuid[], %(tenants)b::uuid[]) AS t (event_id, tenant_id)
    WHERE p.event_id = t.event_id AND p.tenant_id = t.tenant_id
    RETURNING p.event_id, p.tenant_id,
        EXISTS (SELECT FROM audit_chain c WHERE c.event_id = p.event_id AND c.tenant_id = p.tenant_id OFFSET 0)
"""
# One probe for each: no plan may walk the whole trail. OFFSET 0 keeps the subquery as it is.
EVENTS: LiteralString = """
    SELECT <CONTENT>
    FROM unnest(%(ids)b::uuid[], %(tenants)b::uuid[]) AS t (event_id, tenant_id)
    CROSS JOIN LATERAL (
        SELECT * FROM audit_events WHERE id = t.event_id AND tenant_id = t.tenant_id OFFSET 0) e
    ORDER BY e.id
""".replace("<CONTENT>", CONTENT)
HEADS: LiteralString = """
    SELECT tenant_id, seq, hash, first_seq, first_hash FROM audit_heads WHERE tenant_id = any(%(tenants)b::uuid[])
"""
LOCK_HEADS: LiteralString = HEADS + " ORDER BY tenant_id FOR UPDATE"
LAST_LINKS: LiteralString = """
    SELECT t.id, c.seq, c.hash FROM unnest(%(tenants)b::uuid[]) AS t (id)
    CROSS JOIN LATERAL (SELECT seq, hash FROM audit_chain WHERE tenant_id = t.id ORDER BY seq DESC LIMIT 1) c
"""
ADD_LINKS: LiteralString = """
    INSERT INTO audit_chain (tenant_id, seq, event_id, hash)
    SELECT * FROM unnest(%(tenants)b::uuid[], %(seqs)b::bigint[], %(ids)b::uuid[], %(hashes)b::bytea[])
"""
SET_HEADS: LiteralString = """
    INSERT INTO audit_heads (tenant_id, seq, hash, first_seq, first_hash)
    SELECT * FROM unnest(
        %(tenants)b::uuid[], %(seqs)b::bigint[], %(hashes)b::bytea[], %(first_seqs)b::bigint[],
        %(first_hashes)b::bytea[])
    ON CONFLICT ON CONSTRAINT audit_heads_pkey DO UPDATE SET seq = excluded.seq, hash = excluded.hash
"""
EXISTING: LiteralString = "SELECT id FROM tenants WHERE id = any(%(tenants)b::uuid[])"
LINKS: LiteralString = """
    SELECT c.seq, c.hash, c.event_id::text, <CONTENT>, CASE WHEN %(personal)b::boolean THEN e.personal END
    FROM (
        SELECT seq, hash, event_id, tenant_id FROM audit_chain
        WHERE tenant_id = %(tenant)b AND seq > %(after)b ORDER BY seq LIMIT %(limit)b) c
    LEFT JOIN LATERAL (
        SELECT * FROM audit_events WHERE id = c.event_id AND tenant_id = c.tenant_id OFFSET 0) e ON true
    ORDER BY c.seq
""".replace("<CONTENT>", CONTENT)
UNSEALED: LiteralString = """
    SELECT count(*), max(e.id::text), array_agg(e.id::text) FILTER (WHERE NOT e.is_known)
    FROM (
        SELECT w.id,
               EXISTS (SELECT FROM audit_chain c WHERE c.event_id = w.id AND c.tenant_id = %(tenant)b OFFSET 0)
               OR EXISTS (SELECT FROM audit_pending p WHERE p.event_id = w.id AND p.tenant_id = %(tenant)b OFFSET 0)
               AS is_known
        FROM (
            SELECT id FROM audit_events WHERE tenant_id = %(tenant)b AND id > %(after)b ORDER BY id LIMIT %(limit)b) w
    ) e
"""
LAST_LINK: LiteralString = """
    SELECT seq FROM audit_chain WHERE tenant_id = %(tenant)b ORDER BY seq DESC LIMIT 1
"""
# One statement: between two, something may expire.
BEGINNING: LiteralString = """
    SELECT coalesce(h.first_seq, 1), h.first_hash, x.last_seq, x.hash,
           (SELECT seq FROM audit_chain WHERE tenant_id = t.id ORDER BY seq LIMIT 1)
    FROM (SELECT %(tenant)b::uuid AS id) t
    LEFT JOIN audit_heads h ON h.tenant_id = t.id
    LEFT JOIN LATERAL (
        SELECT details->>'last_seq' AS last_seq, details->>'hash' AS hash FROM audit_events
        WHERE tenant_id = t.id AND action = 'audit.expire' AND h.first_seq <> 1 ORDER BY id DESC LIMIT 1) x ON true
"""
# Where a stretch of time begins (or ends) in the chain: among the first ids of that time, in whatever order they were
# sealed. Ids rise with time, sealing lags by a second or so.
EDGE_IDS = 2_000
FIRST_OF: LiteralString = """
    SELECT min(c.seq) FROM (
        SELECT id FROM audit_events
        WHERE tenant_id = %(tenant)b AND id >= %(id)b AND at >= %(at)b ORDER BY id LIMIT %(limit)b) e
    JOIN LATERAL (SELECT seq FROM audit_chain WHERE event_id = e.id AND tenant_id = %(tenant)b OFFSET 0) c ON true
"""
LAST_OF: LiteralString = """
    SELECT max(c.seq) FROM (
        SELECT id FROM audit_events
        WHERE tenant_id = %(tenant)b AND id < %(id)b AND at < %(at)b ORDER BY id DESC LIMIT %(limit)b) e
    JOIN LATERAL (SELECT seq FROM audit_chain WHERE event_id = e.id AND tenant_id = %(tenant)b OFFSET 0) c ON true
"""


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link to be stored."""

    tenant: TenantId
    seq: int
    event: EventId
    hash: bytes


@dataclass(frozen=True, slots=True)
class Unsealed:
    """One stretch of events: how many, which was the last, and which have no place in the chain and wait for none."""

    looked_at: int
    last: UUID | None
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a chain begins by what the head says; last seq and hash (hex) that the newest ``audit.expire`` says.

    ``lowest`` is the first link that there is, None without any.
    """

    first_seq: int
    first_hash: bytes
    expired: tuple[str, str]
    lowest: int | None


async def try_lock(tx: Tx, lock: int) -> bool:
    """Tell whether this transaction got ``lock``, until it ends: only one in the whole installation has it."""
    return bool((await tx.fetch(TRY_LOCK, {"lock": lock}))[0][0])


async def pending(tx: Tx, limit: int) -> list[tuple[EventId, TenantId]]:
    """Return up to ``limit`` events of anybody that wait for their seal, the oldest ids first (keeper)."""
    return [(row[0], row[1]) for row in await tx.fetch(PENDING, {"limit": limit})]


async def count_pending(tx: Tx, limit: int) -> int:
    """Return how many events wait, at most ``limit`` (keeper)."""
    found: int = (await tx.fetch(COUNT_PENDING, {"limit": limit}))[0][0]
    return found


async def take(tx: Tx, waiting: Sequence[tuple[EventId, TenantId]]) -> list[tuple[EventId, TenantId]]:
    """Take ``waiting`` from those that wait; return those that still were there and are not sealed yet, by id."""
    return sorted((event, tenant) for event, tenant, is_sealed in await tx.fetch(TAKE, _keys(waiting)) if not is_sealed)


async def contents(tx: Tx, which: Sequence[tuple[EventId, TenantId]]) -> dict[str, Content]:
    """Return what is there of ``which``, by id."""
    return {row[0]: Content._make((*row, None)) for row in await tx.fetch(EVENTS, _keys(which))}


async def lock_heads(tx: Tx, tenants: Iterable[TenantId]) -> dict[TenantId, Head]:
    """Return the heads of ``tenants``, locked; those that have no chain yet get an empty one."""
    wanted = sorted(set(tenants))
    found = {row[0]: Head(*row) for row in await tx.fetch(LOCK_HEADS, {"tenants": wanted})}
    return {tenant: found.get(tenant) or empty_head(tenant) for tenant in wanted}


async def last_links(tx: Tx, tenants: Iterable[TenantId]) -> dict[TenantId, tuple[int, bytes]]:
    """Return seq and hash of the last link that each of ``tenants`` has."""
    return {row[0]: (row[1], row[2]) for row in await tx.fetch(LAST_LINKS, {"tenants": list(tenants)})}


async def heads(tx: Tx, tenants: Sequence[TenantId]) -> dict[TenantId, Head]:
    """Return the heads that there are of ``tenants``."""
    return {row[0]: Head(*row) for row in await tx.fetch(HEADS, {"tenants": list(tenants)})}


async def existing(tx: Tx, tenants: Iterable[TenantId]) -> set[TenantId]:
    """Return which of ``tenants`` there are (keeper)."""
    return {row[0] for row in await tx.fetch(EXISTING, {"tenants": list(tenants)})}


async def add_links(tx: Tx, links: Sequence[NewLink], ends: Iterable[Head]) -> None:
    """Store links and where their chains end now."""
    ends = list(ends)
    await tx.fetch(
        ADD_LINKS,
        {
            "tenants": [one.tenant for one in links],
            "seqs": [one.seq for one in links],
            "ids": [one.event for one in links],
            "hashes": [one.hash for one in links],
        },
    )
    await tx.fetch(
        SET_HEADS,
        {
            "tenants": [one.tenant for one in ends],
            "seqs": [one.seq for one in ends],
            "hashes": [one.hash for one in ends],
            "first_seqs": [one.first_seq for one in ends],
            "first_hashes": [one.first_hash for one in ends],
        },
    )


async def head(tx: Tx) -> Head | None:
    """Return the head of the transaction's tenant, if it has a chain."""
    return (await heads(tx, [tx.tenant])).get(tx.tenant)


async def links(tx: Tx, after: int, limit: int, *, with_personal: bool = False) -> list[Link]:
    """Return up to ``limit`` links of the transaction's tenant behind ``after``, with their events."""
    values = {"tenant": tx.tenant, "after": after, "limit": limit, "personal": with_personal}
    rows = await tx.fetch(LINKS, values)
    return [Link(row[0], row[1], row[2], None if row[3] is None else Content._make(row[3:])) for row in rows]


async def last_link(tx: Tx) -> int:
    """Return the seq of the tenant's last link, 0 if there is none."""
    rows = await tx.fetch(LAST_LINK, {"tenant": tx.tenant})
    return int(rows[0][0]) if rows else 0


async def unsealed(tx: Tx, after: UUID, limit: int) -> Unsealed:
    """Look at up to ``limit`` events of the tenant behind the id ``after``."""
    count, last, ids = (await tx.fetch(UNSEALED, {"tenant": tx.tenant, "after": after, "limit": limit}))[0]
    return Unsealed(count, UUID(last) if last else None, tuple(ids or ()))


async def beginning(tx: Tx) -> Beginning:
    """Return where the tenant's chain begins, and what accounts for it."""
    first_seq, first_hash, seq, digest, lowest = (await tx.fetch(BEGINNING, {"tenant": tx.tenant}))[0]
    return Beginning(first_seq, first_hash or b"", (seq or "", digest or ""), lowest)


async def first_of(tx: Tx, at: datetime, from_id: UUID) -> int | None:
    """Return the first seq of events not before ``at``, whose ids begin at ``from_id``; None: there are none."""
    rows = await tx.fetch(FIRST_OF, {"tenant": tx.tenant, "at": at, "id": from_id, "limit": EDGE_IDS})
    found: int | None = rows[0][0]
    return found


async def last_of(tx: Tx, at: datetime, to_id: UUID) -> int | None:
    """Return the last seq of events before ``at``, whose ids are below ``to_id``; None: there are none."""
    rows = await tx.fetch(LAST_OF, {"tenant": tx.tenant, "at": at, "id": to_id, "limit": EDGE_IDS})
    found: int | None = rows[0][0]
    return found


def _keys(which: Sequence[tuple[EventId, TenantId]]) -> dict[str, Any]:
    return {"ids": [one[0] for one in which], "tenants": [one[1] for one in which]}
