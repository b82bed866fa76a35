"""What checkpoints say of each tenant's chain, with the proofs; and the expiry of a chain's oldest part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from control_plane.domain.audit_chain import Head
from control_plane.domain.checkpoints import ChainHead, Statement
from control_plane.domain.ids import EventId, TenantId
from control_plane.storage.engine import Tx

ADD: LiteralString = """
    INSERT INTO audit_checkpoints (tenant_id, number, at, seq, hash, leaf_index, leaves, proof, root, previous, key_id,
                                   signature)
    VALUES (%(tenant)b, %(number)b, %(at)b, %(seq)b, %(hash)b, %(index)b, %(leaves)b, %(proof)b::bytea[], %(root)b,
            %(previous)b, %(key_id)b, %(signature)b)
    ON CONFLICT ON CONSTRAINT audit_checkpoints_pkey DO NOTHING
"""
COLUMNS: LiteralString = """
    number, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), seq, hash, leaf_index, leaves, proof, root,
    previous, key_id, signature
"""
PAGE: LiteralString = """
    SELECT <COLUMNS> FROM audit_checkpoints
    WHERE tenant_id = %(tenant)b AND number > %(after)b ORDER BY number LIMIT %(limit)b
""".replace("<COLUMNS>", COLUMNS)
NEWEST_IN: LiteralString = """
    SELECT <COLUMNS>
    FROM audit_checkpoints WHERE tenant_id = %(tenant)b AND seq BETWEEN %(first)b AND %(last)b
    ORDER BY number DESC LIMIT 1
""".replace("<COLUMNS>", COLUMNS)
LAST_NUMBERS: LiteralString = """
    SELECT max(n.number) FROM unnest(%(tenants)b::uuid[]) AS t (id)
    CROSS JOIN LATERAL (
        SELECT number FROM audit_checkpoints WHERE tenant_id = t.id ORDER BY number DESC LIMIT 1) n
"""
OLDEST: LiteralString = """
    SELECT c.seq, c.hash, c.event_id, e.at
    FROM (
        SELECT seq, hash, event_id, tenant_id FROM audit_chain
        WHERE tenant_id = %(tenant)b AND seq >= %(first)b AND seq <= %(last)b ORDER BY seq LIMIT %(limit)b) c
    LEFT JOIN LATERAL (
        -- Python's times end where a forged one may not.
        SELECT greatest(least(at, now()), '0001-01-02Z') AS at FROM audit_events
        WHERE id = c.event_id AND tenant_id = c.tenant_id OFFSET 0) e ON true
    ORDER BY c.seq
"""
DROP_LINKS: LiteralString = """
    DELETE FROM audit_chain WHERE tenant_id = %(tenant)b AND seq BETWEEN %(first)b AND %(last)b
"""
DROP_EVENTS: LiteralString = """
    DELETE FROM audit_events e USING unnest(%(ids)b::uuid[]) AS t (id) WHERE e.id = t.id AND e.tenant_id = %(tenant)b
"""
DROP_CHECKPOINTS: LiteralString = """
    DELETE FROM audit_checkpoints WHERE tenant_id = %(tenant)b AND seq < %(last)b
"""
MOVE_START: LiteralString = """
    UPDATE audit_heads SET first_seq = %(first)b, first_hash = %(hash)b WHERE tenant_id = %(tenant)b
"""
RETENTIONS: LiteralString = "SELECT id, audit_retention_days FROM tenants ORDER BY id"


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """What one checkpoint says of one tenant's chain: its head then, and the way from there to the signed root."""

    head: ChainHead
    index: int
    proof: tuple[bytes, ...]
    statement: Statement
    signature: bytes


@dataclass(frozen=True, slots=True)
class OldLink:
    """A link at the old end of a chain; ``at`` is None if its event is not there."""

    seq: int
    hash: bytes
    event: EventId
    at: datetime | None


async def add(tx: Tx, rows: Sequence[CheckpointRow]) -> None:
    """Store what a checkpoint says; what is there already stays."""
    for row in rows:
        said = row.statement
        await tx.fetch(
            ADD,
            {
                "tenant": row.head.tenant,
                "number": said.number,
                "at": datetime.fromisoformat(said.time),
                "seq": row.head.seq,
                "hash": row.head.hash,
                "index": row.index,
                "leaves": said.heads,
                "proof": list(row.proof),
                "root": said.root,
                "previous": said.previous,
                "key_id": said.key_id,
                "signature": row.signature,
            },
        )


async def page(tx: Tx, after: int, limit: int) -> list[CheckpointRow]:
    """Return up to ``limit`` of the tenant's rows behind the number ``after``."""
    found = await tx.fetch(PAGE, {"tenant": tx.tenant, "after": after, "limit": limit})
    return [_row(tx.tenant, row) for row in found]


async def newest_in(tx: Tx, first: int, last: int) -> CheckpointRow | None:
    """Return the newest row of the tenant that speaks of a link from ``first`` to ``last``."""
    found = await tx.fetch(NEWEST_IN, {"tenant": tx.tenant, "first": first, "last": last})
    return _row(tx.tenant, found[0]) if found else None


async def last_number(tx: Tx, tenants: Sequence[TenantId]) -> int:
    """Return the highest number of any row of ``tenants``, 0 if there is none."""
    return int((await tx.fetch(LAST_NUMBERS, {"tenants": list(tenants)}))[0][0] or 0)


async def retentions(tx: Tx) -> list[tuple[TenantId, int]]:
    """Return every tenant, and for how many days it keeps its trail (keeper)."""
    return [(row[0], row[1]) for row in await tx.fetch(RETENTIONS)]


async def oldest(tx: Tx, head: Head, last: int, limit: int) -> list[OldLink]:
    """Return up to ``limit`` links from the old end of a chain, none behind ``last``."""
    values = {"tenant": head.tenant, "first": head.first_seq, "last": last, "limit": limit}
    return [OldLink(*row) for row in await tx.fetch(OLDEST, values)]


async def expire(tx: Tx, head: Head, links: Sequence[OldLink]) -> None:
    """Delete ``links``, the first ones of the chain, and their events; the chain begins behind them from now on."""
    end = links[-1]
    values = {"tenant": head.tenant, "first": head.first_seq, "last": end.seq}
    await tx.fetch(DROP_LINKS, values)
    await tx.fetch(DROP_EVENTS, {"tenant": head.tenant, "ids": [one.event for one in links]})
    # One that speaks of the last expired link still proves where the rest begins.
    await tx.fetch(DROP_CHECKPOINTS, {"tenant": head.tenant, "last": end.seq})
    await tx.fetch(MOVE_START, {"tenant": head.tenant, "first": end.seq + 1, "hash": end.hash})


def _row(tenant: TenantId, row: Sequence[Any]) -> CheckpointRow:
    number, at, seq, digest, index, leaves, proof, root, previous, key_id, signature = row
    return CheckpointRow(
        ChainHead(tenant, seq, digest),
        index,
        tuple(proof),
        Statement(number, at, root, leaves, previous, key_id),
        signature,
    )
