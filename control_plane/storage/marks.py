"""Raising the desired version: the mark that a resource must be written to a target (again)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.jobs import JobKey
from control_plane.domain.targets import TargetState
from control_plane.storage.engine import Tx


@dataclass(frozen=True, slots=True)
class Raised:
    """A key whose desired version rose, and to what; ``active``: the target takes writes now."""

    key: JobKey
    version: int
    active: bool


@dataclass(frozen=True, slots=True)
class Written:
    """Which resources a write reached, and which keys it raised."""

    ids: frozenset[ResourceId]
    raised: tuple[Raised, ...]


def written(tenant: TenantId, rows: Iterable[tuple[Any, ...]]) -> Written:
    """Return what rows of (resource id, target id or None, desired version, target state) say."""
    ids, raised = set(), []
    for resource, target, version, state in rows:
        ids.add(ResourceId(resource))
        if target is not None:
            key = JobKey(tenant, TargetId(target), ResourceId(resource))
            raised.append(Raised(key, version, state == TargetState.ACTIVE))
    return Written(frozenset(ids), tuple(raised))


def key_columns(keys: Iterable[JobKey]) -> dict[str, object]:
    """Return the three list parameters that name ``keys`` in a statement."""
    keys = list(keys)
    return {
        "tenants": [key.tenant for key in keys],
        "targets": [key.target for key in keys],
        "resources": [key.resource for key in keys],
    }


def raised_keys(rows: Iterable[tuple[Any, ...]]) -> tuple[Raised, ...]:
    """Return what rows of (tenant id, target id, resource id, desired version, target state) say."""
    return tuple(
        Raised(JobKey(tenant, target, resource), version, state == TargetState.ACTIVE)
        for tenant, target, resource, version, state in rows
    )


# Locks the marks of resources that joined a group, so that the write of the membership and the settlement of such a
# member's new account see each other: the later one waits, and then raises the group, or the group's lease finds the
# account. Without it both would commit, and the member would be missing from the group in the target for good.
# All writers lock provisioning rows in the order of type and key, so that none deadlocks with another. Users come
# before groups: settling learns only while it holds the members which groups it has to raise.
HOLD_JOINED: LiteralString = """
    WITH held AS MATERIALIZED (
        SELECT p.target_id, p.resource_id FROM provisioning p
        WHERE p.resource_id = any(%(joined)b::uuid[]) AND p.tenant_id = %(tenant)b::uuid
        ORDER BY p.type, p.target_id, p.resource_id FOR UPDATE OF p
    ) SELECT count(*) FROM held
"""
# Ends a statement whose WITH list has "changed(id)": raises the desired version of each changed resource in each
# target. The marks of those who joined a group are locked (see above) in the same pass, for the sake of the order.
RAISE_CHANGED: LiteralString = """
    held AS MATERIALIZED (
        SELECT p.target_id, p.resource_id, c.changed
        FROM (
            SELECT id, true AS changed FROM changed UNION ALL SELECT id, false FROM unnest(%(joined)b::uuid[]) AS j (id)
        ) c
        JOIN provisioning p ON p.resource_id = c.id AND p.tenant_id = %(tenant)b::uuid
        ORDER BY p.type, p.target_id, p.resource_id FOR UPDATE OF p
    ), raised AS (
        UPDATE provisioning p
        SET desired_version = p.desired_version + 1,
            dirty_since = CASE WHEN p.desired_version > p.applied_version THEN p.dirty_since
                               ELSE %(at)b::timestamptz END
        FROM held h
        WHERE h.changed
          AND p.resource_id = h.resource_id AND p.target_id = h.target_id AND p.tenant_id = %(tenant)b::uuid
        RETURNING p.resource_id, p.target_id, p.desired_version
    )
    SELECT c.id, r.target_id, r.desired_version, t.state
    FROM changed c
    LEFT JOIN (raised r JOIN targets t ON t.id = r.target_id AND t.tenant_id = %(tenant)b::uuid) ON r.resource_id = c.id
"""


async def hold_joined(tx: Tx) -> None:
    """Lock the marks of those who joined a group that this transaction made: nothing raises that one afterwards."""
    await tx.fetch(HOLD_JOINED, {"tenant": tx.tenant, "joined": take_joined(tx)})


def take_joined(tx: Tx) -> list[ResourceId]:
    """Return who joined a group since the last call; the caller's next statement locks their marks."""
    joined = list(tx.joined)
    tx.joined.clear()
    return joined
