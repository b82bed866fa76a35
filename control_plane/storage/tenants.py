"""Tenants. A transaction of ``begin`` sees its own only; one of ``begin_batch`` sees them all."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy import insert as insert_into

from control_plane.domain.ids import TenantId
from control_plane.domain.tenants import Tenant
from control_plane.storage.engine import Tx
from control_plane.storage.schema import tenants


async def insert(tx: Tx, tenant: Tenant) -> None:
    """Store a new tenant, in a transaction begun for it."""
    await tx.execute(
        insert_into(tenants).values(id=tenant.id, display_name=tenant.display_name, created_at=tenant.created_at)
    )


async def get(tx: Tx, tenant: TenantId) -> Tenant | None:
    """Return one tenant, or None if there is none."""
    row = (await tx.execute(select(tenants).where(tenants.c.id == tenant))).one_or_none()
    return None if row is None else _tenant(row)


async def list_after(tx: Tx, after: TenantId | None, limit: int) -> list[Tenant]:
    """Return up to ``limit`` tenants in order of creation, from the one behind ``after``."""
    query = select(tenants).order_by(tenants.c.id).limit(limit)
    if after is not None:
        query = query.where(tenants.c.id > after)
    return [_tenant(row) for row in await tx.execute(query)]


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(TenantId(row.id), row.display_name, row.created_at)
