"""What each resource needs in each target: leases begin here, and marks are read and raised here.

How leases end stands in ``settlement.py``.
"""
# ruff: noqa: S608 - composed of constants of this package, of nothing else

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from control_plane.domain.errors import LeaseLost
from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.jobs import Fence, JobKey
from control_plane.domain.resources import ResourceType
from control_plane.domain.targets import Former, TargetState, TargetStatus, Work
from control_plane.storage.engine import Tx
from control_plane.storage.marks import Raised, key_columns, raised_keys
from control_plane.storage.resource_sql import COLUMNS
from control_plane.storage.resources import stored
from control_plane.storage.settlement import SettleOutcome, settle

__all__ = [
    "Dirty", "Raised", "SettleOutcome", "backfill", "dirty_page", "dispatch", "member_remote_ids", "redirty", "settle",
    "status",
]  # fmt: skip

NIL = UUID(int=0)

LEASE: LiteralString = """
    WITH input AS (
        SELECT * FROM unnest(
            %(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[], %(epochs)b::bigint[], %(fences)b::bigint[]
        ) AS i (tenant_id, target_id, resource_id, epoch, fence)
    ), held AS MATERIALIZED (
        SELECT p.tenant_id, p.target_id, p.resource_id, i.epoch, i.fence
        FROM input i JOIN provisioning p USING (tenant_id, target_id, resource_id)
        ORDER BY p.type, 1, 2, 3 FOR UPDATE OF p
    )
    UPDATE provisioning p
    SET epoch = h.epoch, fence = h.fence, leased_at = %(at)b::timestamptz, worker = %(worker)b::text
    FROM held h
    WHERE p.resource_id = h.resource_id AND p.target_id = h.target_id AND p.tenant_id = h.tenant_id
      AND (p.epoch, p.fence) < (h.epoch, h.fence)
    RETURNING p.tenant_id, p.target_id, p.resource_id
"""
# The targets of a tenant that is suspended or deleted are as good as paused (1).
# A tombstone whose account a living resource has taken over must not be handed the account: it would delete it. One
# without a link may have made an account all the same (a worker that died after its POST), to be found by its former
# name, unless that name lives again.
READ_WORK = (
    """
    SELECT p.tenant_id, p.target_id, p.resource_id, p.type, p.desired_version, p.applied_version,
           CASE WHEN p.deleted AND EXISTS (
               SELECT FROM provisioning q WHERE q.remote_id = p.remote_id AND q.target_id = p.target_id
                                            AND q.tenant_id = p.tenant_id AND NOT q.deleted
           ) THEN '' ELSE coalesce(p.remote_id, '') END,
           CASE WHEN n.state = 1 THEN t.state ELSE 1 END, p.attempts,
           CASE WHEN p.deleted AND p.remote_id IS NULL AND NOT EXISTS (
               SELECT FROM resources q WHERE q.user_name_key = p.former_name_key AND q.tenant_id = p.tenant_id
                                         AND q.type = 1 AND p.type = 1
           ) AND NOT EXISTS (
               SELECT FROM resources q WHERE q.display_name_key = p.former_name_key AND q.tenant_id = p.tenant_id
                                         AND q.type = 2 AND p.type = 2
           ) THEN p.former_name END,
           p.former_external_id, """
    + COLUMNS
    + """
    FROM unnest(%(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[])
         AS k (tenant_id, target_id, resource_id)
    JOIN provisioning p USING (tenant_id, target_id, resource_id)
    JOIN targets t ON t.id = p.target_id AND t.tenant_id = p.tenant_id
    JOIN tenants n ON n.id = p.tenant_id
    LEFT JOIN resources r ON r.id = p.resource_id AND r.tenant_id = p.tenant_id AND NOT p.deleted
    """
)
REDIRTY: LiteralString = """
    WITH held AS MATERIALIZED (
        SELECT p.tenant_id, p.target_id, p.resource_id, t.state
        FROM unnest(%(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[])
             AS k (tenant_id, target_id, resource_id)
        JOIN provisioning p USING (tenant_id, target_id, resource_id)
        JOIN targets t ON t.id = p.target_id AND t.tenant_id = p.tenant_id
        ORDER BY p.type, 1, 2, 3 FOR UPDATE OF p
    )
    UPDATE provisioning p
    SET desired_version = p.desired_version + 1,
        dirty_since = CASE WHEN p.desired_version > p.applied_version THEN p.dirty_since ELSE %(at)b::timestamptz END
    FROM held h
    WHERE p.resource_id = h.resource_id AND p.target_id = h.target_id AND p.tenant_id = h.tenant_id
    RETURNING p.tenant_id, p.target_id, p.resource_id, p.desired_version, h.state
"""
# Target by target, each a range of the partial index: a paused target with a long backlog is not walked through.
DIRTY_PAGE: LiteralString = """
    SELECT t.tenant_id, t.id, p.resource_id, p.desired_version, p.leased_at IS NOT NULL, p.epoch, p.fence
    FROM (
        SELECT tenant_id, id FROM targets
        WHERE state = 2 AND (tenant_id, id) >= (%(tenant)b::uuid, %(target)b::uuid)
        ORDER BY tenant_id, id
    ) t
    CROSS JOIN LATERAL (
        SELECT * FROM provisioning p
        WHERE p.tenant_id = t.tenant_id AND p.target_id = t.id AND p.desired_version > p.applied_version
          AND p.resource_id > CASE WHEN t.tenant_id = %(tenant)b::uuid AND t.id = %(target)b::uuid
                                   THEN %(resource)b::uuid ELSE %(nil)b::uuid END
        ORDER BY p.resource_id LIMIT %(limit)b::bigint
    ) p
    ORDER BY t.tenant_id, t.id, p.resource_id LIMIT %(limit)b::bigint
"""
FENCE: LiteralString = """
    SELECT epoch, fence FROM provisioning
    WHERE resource_id = %(resource)b::uuid AND target_id = %(target)b::uuid AND tenant_id = %(tenant)b::uuid
"""
MEMBER_REMOTE_IDS: LiteralString = """
    SELECT DISTINCT p.remote_id
    FROM memberships m
    JOIN provisioning p
      ON p.resource_id = m.member_id AND p.target_id = %(target)b::uuid AND p.tenant_id = m.tenant_id
    WHERE m.group_id = %(resource)b::uuid AND m.tenant_id = %(tenant)b::uuid AND p.remote_id > %(after)b::text
    ORDER BY 1 LIMIT %(limit)b::bigint
"""
BACKFILL: LiteralString = """
    WITH marked AS (
        INSERT INTO provisioning (tenant_id, target_id, resource_id, type, desired_version, dirty_since)
        SELECT tenant_id, %(target)b::uuid, id, type, 1, %(at)b::timestamptz
        FROM resources WHERE tenant_id = %(tenant)b::uuid AND created_at > '-infinity'
        ON CONFLICT DO NOTHING
        RETURNING resource_id
    ) SELECT count(*) FROM marked
"""
# Every living resource has a row, so the counters say how many there are without reading them.
STATUS: LiteralString = """
    SELECT (SELECT coalesce(sum(count), 0)::bigint FROM counters WHERE tenant_id = %(tenant)b::uuid)
               + count(*) FILTER (WHERE deleted),
           count(*),
           count(*) FILTER (WHERE attempts > 0),
           min(dirty_since),
           coalesce(mode() WITHIN GROUP (ORDER BY last_error) FILTER (WHERE attempts > 0), '')
    FROM provisioning
    WHERE tenant_id = %(tenant)b::uuid AND target_id = %(target)b::uuid AND desired_version > applied_version
"""


@dataclass(frozen=True, slots=True)
class Dirty:
    """A key that is not yet applied; ``held``: the lease that is out on it, as far as the database knows."""

    key: JobKey
    version: int
    held: Fence | None


async def dispatch(tx: Tx, claims: Sequence[tuple[JobKey, Fence]], worker: str, at: datetime) -> dict[JobKey, Work]:
    """Record each claim's fence and return what its lease is about.

    A key without a row, or with this or a newer fence on record, is missing from the answer.
    """
    params: dict[str, object] = {
        **key_columns(key for key, _ in claims),
        "epochs": [fence.epoch for _, fence in claims],
        "fences": [fence.fence for _, fence in claims],
        "at": at,
        "worker": worker,
    }
    leased = [JobKey(*row) for row in await tx.fetch(LEASE, params)]
    if not leased:
        return {}
    # In a statement of its own: waiting for a lock, the first may return versions that its snapshot of the documents
    # has not seen yet. The rows are locked now, so this one sees version and document of the same write.
    rows = await tx.fetch(READ_WORK, key_columns(leased))
    return {JobKey(*row[:3]): _work(row) for row in rows}


async def redirty(tx: Tx, keys: Iterable[JobKey], at: datetime) -> tuple[Raised, ...]:
    """Raise the desired version of each: a worker without a lease may have written to the target."""
    return raised_keys(await tx.fetch(REDIRTY, {**key_columns(keys), "at": at}))


async def dirty_page(tx: Tx, after: JobKey | None, limit: int) -> list[Dirty]:
    """Return up to ``limit`` unapplied keys of active targets that follow ``after``, in order of the key."""
    start = after or JobKey(TenantId(NIL), TargetId(NIL), ResourceId(NIL))
    params = {
        "tenant": start.tenant, "target": start.target, "resource": start.resource, "nil": NIL, "limit": limit
    }  # fmt: skip
    return [
        Dirty(JobKey(tenant, target, resource), version, Fence(epoch, fence) if held else None)
        for tenant, target, resource, version, held, epoch, fence in await tx.fetch(DIRTY_PAGE, params)
    ]


async def member_remote_ids(tx: Tx, key: JobKey, fence: Fence, after: str | None, limit: int) -> list[str]:
    """Return up to ``limit`` ids that the members of a leased group have in the target, sorted, above ``after``.

    LeaseLost if a newer lease is on record. Each page reads the whole group: take pages of thousands.
    """
    params = {"tenant": key.tenant, "target": key.target, "resource": key.resource}
    found = await tx.fetch(FENCE, params)
    if not found or Fence(*found[0]) > fence:
        raise LeaseLost(f"lease {fence.epoch}/{fence.fence} is not the last one of its group")
    rows = await tx.fetch(MEMBER_REMOTE_IDS, {**params, "after": after or "", "limit": limit})
    return [row[0] for row in rows]


async def backfill(tx: Tx, target: TargetId, at: datetime) -> int:
    """Mark every resource of the tenant as wanted in a new target and return how many they are.

    Begin ``exclusive``: another writer that began before the target existed would not mark what it writes. Takes about
    10 us a resource, so give ``begin`` a fitting ``timeout_s`` too.
    """
    if not tx.is_exclusive:
        raise RuntimeError("a backfill needs a transaction that begins with the tenant's lock")
    rows = await tx.fetch(BACKFILL, {"tenant": tx.tenant, "target": target, "at": at})
    count: int = rows[0][0]
    return count


async def status(tx: Tx, target: TargetId) -> TargetStatus:
    """Return how far the target is behind; its cost grows with what is pending, not with the directory."""
    rows = await tx.fetch(STATUS, {"tenant": tx.tenant, "target": target})
    return TargetStatus(*rows[0])


def _work(row: tuple[Any, ...]) -> Work:
    return Work(
        target=TargetId(row[1]),
        resource=ResourceId(row[2]),
        type=ResourceType(row[3]),
        desired_version=row[4],
        applied_version=row[5],
        remote_id=row[6],
        target_state=TargetState(row[7]),
        attempts=row[8],
        former=Former(row[9], row[10] or "") if row[9] else None,
        desired=None if row[11] is None else stored(row[11:]),
    )
