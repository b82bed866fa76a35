"""Tenants. A transaction of ``begin`` sees its own only; one of ``begin_batch`` or ``begin_keeper`` sees them all."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import Row, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as change

from control_plane.domain.errors import FailedPrecondition, NotFound
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.domain.tenants import IdentityProvider, Tenant, TenantState
from control_plane.storage.engine import Tx
from control_plane.storage.schema import tenants

DELETED = "the tenant is deleted: restore it first"

ACTIVE_AFTER: LiteralString = """
    SELECT id FROM tenants WHERE state = 1 AND id > %(after)b::uuid ORDER BY id LIMIT %(limit)b::bigint
"""
ACTIVE_AMONG: LiteralString = "SELECT id FROM tenants WHERE id = any(%(ids)b::uuid[]) AND state = 1"


async def insert(tx: Tx, tenant: Tenant) -> None:
    """Store a new tenant, in a transaction begun for it."""
    await tx.execute(
        insert_into(tenants).values(id=tenant.id, created_at=tenant.created_at, **_settings(tenant)),
    )


async def get(tx: Tx, tenant: TenantId, *, lock: bool = False) -> Tenant | None:
    """Return one tenant, or None if there is none. ``lock`` keeps out who else asks for it, and no other writer."""
    query = select(tenants).where(tenants.c.id == tenant)
    # FOR NO KEY UPDATE: new tokens and targets refer to the row, and need not wait.
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _tenant(row)


async def existing(tx: Tx, tenant: TenantId, *, lock: bool = False) -> Tenant:
    """Return a tenant, also one that is deleted and whose data is still there; NotFound if there is none."""
    found = await get(tx, tenant, lock=lock)
    if found is None:
        raise NotFound("tenant", tenant)
    return found


async def is_owner(tx: Tx, tenant: TenantId) -> bool:
    """Tell whether keys and audit events can belong to ``tenant``: a tenant that there is, or the installation."""
    return tenant == SYSTEM_TENANT or await get(tx, tenant) is not None


async def require_owner(tx: Tx, tenant: TenantId) -> None:
    """Raise NotFound unless ``tenant`` is one that there is, or the installation."""
    if not await is_owner(tx, tenant):
        raise NotFound("tenant", tenant)


async def require(tx: Tx, tenant: TenantId, *, lock: bool = False) -> Tenant:
    """Return a tenant that may be changed; NotFound if there is none, FailedPrecondition if it is deleted."""
    found = await existing(tx, tenant, lock=lock)
    if found.state is TenantState.DELETED:
        raise FailedPrecondition(DELETED)
    return found


async def update(tx: Tx, tenant: Tenant) -> None:
    """Store everything of a tenant that can change; NotFound if there is none."""
    found = await tx.execute(change(tenants).where(tenants.c.id == tenant.id).values(**_settings(tenant)))
    if found.rowcount == 0:
        raise NotFound("tenant", tenant.id)


async def list_after(tx: Tx, after: TenantId | None, limit: int, *, deleted: bool = True) -> list[Tenant]:
    """Return up to ``limit`` tenants in order of creation, from the one behind ``after``; ``deleted`` ones too."""
    query = select(tenants).order_by(tenants.c.id).limit(limit)
    if after is not None:
        query = query.where(tenants.c.id > after)
    if not deleted:
        query = query.where(tenants.c.state != int(TenantState.DELETED))
    return [_tenant(row) for row in await tx.execute(query)]


async def list_active(tx: Tx, after: TenantId, limit: int) -> list[TenantId]:
    """Return up to ``limit`` tenants that are served, in order of creation, from the one behind ``after``."""
    return [TenantId(row[0]) for row in await tx.fetch(ACTIVE_AFTER, {"after": after, "limit": limit})]


async def active_among(tx: Tx, ids: Iterable[TenantId]) -> set[TenantId]:
    """Return those of ``ids`` that are served."""
    return {TenantId(row[0]) for row in await tx.fetch(ACTIVE_AMONG, {"ids": list(ids)})}


async def list_due(tx: Tx, purge_until: datetime, limit: int) -> list[Tenant]:
    """Return up to ``limit`` deleted tenants whose grace ended by ``purge_until``, the earliest first."""
    query = select(tenants).where(tenants.c.state == int(TenantState.DELETED), tenants.c.purge_at <= purge_until)
    rows = await tx.execute(query.order_by(tenants.c.purge_at, tenants.c.id).limit(limit))
    return [_tenant(row) for row in rows]


def _settings(tenant: Tenant) -> dict[str, object]:
    return {
        "display_name": tenant.display_name,
        "identity_provider": int(tenant.identity_provider),
        "compatibility": dict(tenant.overrides),
        "state": int(tenant.state),
        "suspended_at": tenant.suspended_at,
        "suspend_reason": tenant.suspend_reason,
        "deleted_at": tenant.deleted_at,
        "purge_at": tenant.purge_at,
        "limits": dict(tenant.limits),
        "audit_retention_days": tenant.audit_retention_days,
    }


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=TenantId(row.id),
        display_name=row.display_name,
        created_at=row.created_at,
        identity_provider=IdentityProvider(row.identity_provider),
        overrides=row.compatibility,
        state=TenantState(row.state),
        suspended_at=row.suspended_at,
        suspend_reason=row.suspend_reason,
        deleted_at=row.deleted_at,
        purge_at=row.purge_at,
        limits=row.limits,
        audit_retention_days=row.audit_retention_days,
    )
