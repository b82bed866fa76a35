"""Tenants' data keys, wrapped."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.storage.engine import Tx

# Every transaction that seals asks, so that none seals with a key that a rotation has destroyed; or, where it is hot,
# the statement that stores what was sealed does (PROVEN).
KEYS: LiteralString = """
    SELECT tenant_id, version, wrapped, kek_id, created_at FROM tenant_keys
    WHERE tenant_id = any(%(tenants)b::uuid[]) ORDER BY tenant_id, version
"""
# Has a row if the key that sealed is the tenant's newest, and the very one: not another that took its version after a
# roll-back. It cannot change during a ``begin`` transaction (services/keys.py).
PROVEN: LiteralString = """
    proven AS MATERIALIZED (
        SELECT k.version
        FROM (
            SELECT version, wrapped FROM tenant_keys WHERE tenant_id = %(tenant)b::uuid ORDER BY version DESC LIMIT 1
        ) k
        WHERE k.version = %(key_version)b::integer AND k.wrapped = %(key_wrapped)b::bytea
    )
"""
INSERT: LiteralString = """
    INSERT INTO tenant_keys (tenant_id, version, wrapped, kek_id, created_at)
    VALUES (%(tenant)b::uuid, %(version)b::integer, %(wrapped)b::bytea, %(kek_id)b::text, %(at)b::timestamptz)
    ON CONFLICT DO NOTHING
"""
REPLACE: LiteralString = """
    UPDATE tenant_keys SET wrapped = %(wrapped)b::bytea, kek_id = %(kek_id)b::text
    WHERE tenant_id = %(tenant)b::uuid AND version = %(version)b::integer AND wrapped = %(old)b::bytea
    RETURNING version
"""
DESTROY: LiteralString = """
    DELETE FROM tenant_keys WHERE tenant_id = %(tenant)b::uuid AND version < %(version)b::integer RETURNING version
"""
OWNERS: LiteralString = "SELECT id FROM tenants WHERE id > %(after)b::uuid ORDER BY id LIMIT %(limit)b::bigint"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A data key as the database has it."""

    tenant: TenantId
    version: int
    wrapped: bytes
    kek_id: str
    created_at: datetime


async def load(tx: Tx, tenants: Iterable[TenantId]) -> list[StoredKey]:
    """Return the keys of those of ``tenants`` that the transaction sees, each tenant's in the order of versions."""
    rows = await tx.fetch(KEYS, {"tenants": list(tenants)})
    return [StoredKey(TenantId(tenant), *rest) for tenant, *rest in rows]


async def add(tx: Tx, key: StoredKey) -> None:
    """Store a key unless there is one of this version; waits for whoever is just storing one."""
    await tx.fetch(
        INSERT,
        {
            "tenant": key.tenant,
            "version": key.version,
            "wrapped": key.wrapped,
            "kek_id": key.kek_id,
            "at": key.created_at,
        },
    )


async def replace(tx: Tx, old: StoredKey, new: StoredKey) -> bool:
    """Store a key wrapped anew; False if it is gone, or somebody else has done so meanwhile."""
    params = {"tenant": tx.tenant, "version": old.version, "old": old.wrapped}
    return bool(await tx.fetch(REPLACE, {**params, "wrapped": new.wrapped, "kek_id": new.kek_id}))


async def destroy_below(tx: Tx, version: int) -> list[int]:
    """Destroy the tenant's keys before ``version``; return their versions. What they sealed is lost."""
    return sorted(row[0] for row in await tx.fetch(DESTROY, {"tenant": tx.tenant, "version": version}))


async def owners_after(tx: Tx, after: TenantId | None, limit: int) -> list[TenantId]:
    """Return up to ``limit`` of all that may have keys, in a batch transaction: the installation, then the tenants."""
    first = [SYSTEM_TENANT] if after is None else []
    rows = await tx.fetch(OWNERS, {"after": after or SYSTEM_TENANT, "limit": limit - len(first)})
    return first + [TenantId(row[0]) for row in rows]
