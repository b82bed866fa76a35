"""Tenants. A transaction of ``begin`` sees its own only; one of ``begin_batch`` sees them all."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as change

from control_plane.domain.errors import NotFound
from control_plane.domain.ids import TenantId
from control_plane.domain.tenants import IdentityProvider, Tenant
from control_plane.storage.engine import Tx
from control_plane.storage.schema import tenants


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


async def update(tx: Tx, tenant: Tenant) -> None:
    """Store everything of a tenant that can change; NotFound if there is none."""
    found = await tx.execute(change(tenants).where(tenants.c.id == tenant.id).values(**_settings(tenant)))
    if found.rowcount == 0:
        raise NotFound("tenant", tenant.id)


async def list_after(tx: Tx, after: TenantId | None, limit: int) -> list[Tenant]:
    """Return up to ``limit`` tenants in order of creation, from the one behind ``after``."""
    query = select(tenants).order_by(tenants.c.id).limit(limit)
    if after is not None:
        query = query.where(tenants.c.id > after)
    return [_tenant(row) for row in await tx.execute(query)]


def _settings(tenant: Tenant) -> dict[str, object]:
    return {
        "display_name": tenant.display_name,
        "identity_provider": int(tenant.identity_provider),
        "compatibility": dict(tenant.overrides),
    }


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=TenantId(row.id),
        display_name=row.display_name,
        created_at=row.created_at,
        identity_provider=IdentityProvider(row.identity_provider),
        overrides=row.compatibility,
    )
