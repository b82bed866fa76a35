"""Takes a deleted tenant's rows away, table by table, in statements that stay short. In ``begin_keeper`` transactions.

Every table with a tenant's rows stands in ``STEPS`` or ``LAST``; a test compares them with the catalogue.
"""
# ruff: noqa: S608 - composed of the constants in this file, of nothing else

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from control_plane.domain.ids import TenantId
from control_plane.storage.engine import Tx, lock_key

NIL = UUID(int=0)
# So many rows go in one statement: it holds their locks, and what hangs on them goes with them.
ROWS = 5_000
# Whoever holds it is the one that purges.
PURGE_LOCK = 7_460_925_501
TAKE_TURN: LiteralString = "SELECT pg_try_advisory_xact_lock(%(lock)b::bigint)"
ALONE: LiteralString = "SELECT pg_advisory_xact_lock(%(lock)b::bigint)"


@dataclass(frozen=True, slots=True)
class Step:
    """One table, and the order in which its rows go.

    ``walk`` is what the table's index starts with where none starts with the tenant: then each statement goes on where
    the last one ended, and all of them together read that index once.
    """

    table: LiteralString
    order: LiteralString
    walk: LiteralString = "tenant_id"
    # The condition of an index under lock and key: it is always true (README.md).
    key: LiteralString = "true"

    @property
    def sql(self) -> LiteralString:
        """Delete up to ``ROWS`` rows; return how many, and where the walk ended."""
        return (
            "WITH gone AS (DELETE FROM "
            + self.table
            + " WHERE tenant_id = %(tenant)b::uuid AND ctid = any(ARRAY(SELECT ctid FROM "
            + self.table
            + " WHERE tenant_id = %(tenant)b::uuid AND "
            + self.walk
            + " >= %(after)b::uuid AND "
            + self.key
            + " ORDER BY "
            + self.order
            + " LIMIT %(rows)b::bigint)) RETURNING "
            + self.walk
            + " AS place) SELECT count(*), (SELECT place FROM gone ORDER BY place DESC LIMIT 1) FROM gone"
        )


# The keys first: what backups still hold of the tenant can be opened by nobody from then on.
KEYS = Step("tenant_keys", "version")
# Rows before what they refer to; what is pending in the trail before the trail.
STEPS = (
    Step("audit_subjects", "subject_id", walk="subject_id"),
    Step("tokens", "id"),
    Step("schemas", "created_at, urn_key"),
    Step("memberships", "member_id, group_id", walk="member_id"),
    Step("attribute_values", "resource_id", walk="resource_id"),
    Step("provisioning", "resource_id, target_id", walk="resource_id"),
    Step("targets", "id"),
    Step("resources", "type, id", key="created_at > '-infinity'"),
    Step("counters", "type, slot"),
)
# Once more when the tenant itself goes: a refused call may have been written down meanwhile.
TRAIL = (
    Step("audit_pending", "event_id", walk="event_id"),
    Step("audit_events", "id"),
    Step("audit_chain", "seq"),
    Step("audit_checkpoints", "number"),
)
HEAD: LiteralString = "SELECT seq, hash FROM audit_heads WHERE tenant_id = %(tenant)b::uuid FOR UPDATE"
DELETE_HEAD: LiteralString = "DELETE FROM audit_heads WHERE tenant_id = %(tenant)b::uuid"
DELETE_TENANT: LiteralString = "DELETE FROM tenants WHERE id = %(tenant)b::uuid"
# With those of the steps, every table that holds rows of tenants.
LAST = ("audit_heads", "tenants")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a tenant's audit chain ended; (0, empty) if it had none."""

    seq: int = 0
    hash: bytes = b""


async def take_turn(tx: Tx) -> bool:
    """Tell whether nobody else purges; nobody else begins until the end of ``tx``."""
    rows = await tx.fetch(TAKE_TURN, {"lock": PURGE_LOCK})
    return bool(rows[0][0])


async def wait_for_writers(tx: Tx, tenant: TenantId) -> None:
    """Return when every transaction of the tenant that has begun is over; none begins until the end of ``tx``."""
    await tx.fetch(ALONE, {"lock": lock_key(tenant)})


async def delete_some(tx: Tx, tenant: TenantId, step: Step, after: UUID = NIL) -> tuple[int, UUID]:
    """Delete up to ``ROWS`` rows from ``after`` on; return how many, and where to go on. Fewer: it was the rest."""
    rows = await tx.fetch(step.sql, {"tenant": tenant, "after": after, "rows": ROWS})
    count, place = rows[0]
    return count, place or after


async def lock_head(tx: Tx, tenant: TenantId) -> Head:
    """Return where the tenant's audit chain ends; nothing is added to it until the end of ``tx``."""
    rows = await tx.fetch(HEAD, {"tenant": tenant})
    return Head(*rows[0]) if rows else Head()


async def delete_tenant(tx: Tx, tenant: TenantId) -> None:
    """Delete the tenant's own row, and the end of its audit chain; everything else must be gone."""
    params: Mapping[str, object] = {"tenant": tenant}
    await tx.fetch(DELETE_HEAD, params)
    await tx.fetch(DELETE_TENANT, params)
