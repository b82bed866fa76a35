"""Target apps."""

from collections.abc import Iterable
from typing import Any, LiteralString

from sqlalchemy import Row, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as change

from control_plane.domain.errors import NotFound
from control_plane.domain.ids import TargetId, TenantId
from control_plane.domain.targets import Target, TargetKind, TargetState
from control_plane.storage.engine import Tx
from control_plane.storage.schema import targets

LOAD: LiteralString = """
    SELECT id, tenant_id, display_name, kind, state, base_url, secret_sealed, revision, created_at, updated_at
    FROM targets WHERE id = any(%(ids)b::uuid[])
"""


async def insert(tx: Tx, target: Target) -> None:
    """Store a new target; ``provisioning.backfill`` marks what it should hold."""
    await tx.execute(insert_into(targets).values(id=target.id, tenant_id=target.tenant, **_settings(target)))


async def get(tx: Tx, target: TargetId, *, lock: bool = False) -> Target | None:
    """Return one target of the tenant, or None if there is none. ``lock`` keeps other writers out."""
    query = select(targets).where(targets.c.id == target, targets.c.tenant_id == tx.tenant)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _target(row)


async def list_after(tx: Tx, after: TargetId | None, limit: int) -> list[Target]:
    """Return up to ``limit`` targets of the tenant in order of creation, from the one behind ``after``."""
    query = select(targets).where(targets.c.tenant_id == tx.tenant).order_by(targets.c.id).limit(limit)
    if after is not None:
        query = query.where(targets.c.id > after)
    return [_target(row) for row in await tx.execute(query)]


async def update(tx: Tx, target: Target) -> None:
    """Store everything of a target that can change; the caller raises ``revision``."""
    found = await tx.execute(
        change(targets).where(targets.c.id == target.id, targets.c.tenant_id == tx.tenant).values(**_settings(target))
    )
    if found.rowcount == 0:
        raise NotFound("target", target.id)


async def load(tx: Tx, ids: Iterable[TargetId]) -> dict[TargetId, Target]:
    """Return those of ``ids`` that exist; hot, for leases, mostly in a ``begin_batch`` transaction."""
    rows = await tx.fetch(LOAD, {"ids": list(ids)})
    return {
        TargetId(target): Target(
            TargetId(target), TenantId(tenant), name, TargetKind(kind), TargetState(state), url, secret, *rest
        )
        for target, tenant, name, kind, state, url, secret, *rest in rows
    }


def _settings(target: Target) -> dict[str, object]:
    return {
        "display_name": target.display_name,
        "kind": int(target.kind),
        "state": int(target.state),
        "base_url": target.base_url,
        "secret_sealed": target.secret_sealed,
        "revision": target.revision,
        "created_at": target.created_at,
        "updated_at": target.updated_at,
    }


def _target(row: Row[Any]) -> Target:
    return Target(
        id=TargetId(row.id),
        tenant=TenantId(row.tenant_id),
        display_name=row.display_name,
        kind=TargetKind(row.kind),
        state=TargetState(row.state),
        base_url=row.base_url,
        secret_sealed=row.secret_sealed,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
