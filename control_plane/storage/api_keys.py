"""API keys: never their secret, only its hash. Every transaction here is one of ``begin(SYSTEM_TENANT)``."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy import insert as insert_into

from control_plane.domain.api_keys import ApiKey
from control_plane.domain.ids import ApiKeyId, OperatorId, TenantId
from control_plane.domain.operators import OperatorRole
from control_plane.storage.engine import Tx
from control_plane.storage.schema import api_keys

# Read with every call that an API key makes: hence one statement, prepared.
FIND_BY_KEY_ID: LiteralString = """
    SELECT k.id, k.key_id, k.label, k.hash, k.operator_id, k.service, k.scopes, k.tenant_ids, k.allowed_networks,
           k.created_at, k.created_by, k.expires_at, k.revoked_at, k.last_used_at, k.last_used_address,
           o.role, o.display_name, o.disabled_at
    FROM api_keys k LEFT JOIN operators o ON o.id = k.operator_id AND o.tenant_id = k.tenant_id
    WHERE k.key_id = %(key_id)b::text AND k.tenant_id = %(tenant)b::uuid
"""


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """What a key found by its key id needs of the operator who owns it."""

    role: OperatorRole
    name: str
    is_disabled: bool


async def insert(tx: Tx, key: ApiKey) -> None:
    """Store a new key."""
    await tx.execute(
        insert_into(api_keys).values(
            id=key.id,
            tenant_id=tx.tenant,
            key_id=key.key_id,
            label=key.label,
            hash=key.hash,
            operator_id=key.operator,
            service=key.service,
            scopes=list(key.scopes),
            tenant_ids=list(key.tenants),
            allowed_networks=list(key.allowed_networks),
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )
    )


async def get(tx: Tx, key: ApiKeyId, owner: OperatorId | None, *, lock: bool = False) -> ApiKey | None:
    """Return one key, or None if there is none; with an ``owner`` only one of theirs. ``lock`` keeps writers out."""
    query = select(api_keys).where(api_keys.c.id == key, api_keys.c.tenant_id == tx.tenant)
    if owner is not None:
        query = query.where(api_keys.c.operator_id == owner)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _key(row)


async def list_before(tx: Tx, before: ApiKeyId | None, owner: OperatorId | None, limit: int) -> list[ApiKey]:
    """Return up to ``limit`` keys, newest first, from the one behind ``before``; with an ``owner`` only theirs."""
    query = select(api_keys).where(api_keys.c.tenant_id == tx.tenant).order_by(api_keys.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    if owner is not None:
        query = query.where(api_keys.c.operator_id == owner)
    return [_key(row) for row in await tx.execute(query)]


async def count_active(tx: Tx, operator: OperatorId | None, service: str | None, now: datetime) -> int:
    """Return how many keys of an operator, or of a service, are neither revoked nor expired at ``now``."""
    table = api_keys.c
    query = select(func.count()).where(
        table.tenant_id == tx.tenant,
        table.service == service if operator is None else table.operator_id == operator,
        table.revoked_at.is_(None),
        or_(table.expires_at.is_(None), table.expires_at > now),
    )
    return int((await tx.execute(query)).scalar_one())


async def set_revoked(tx: Tx, key: ApiKeyId, at: datetime) -> None:
    """Note that the key is refused from ``at`` on."""
    await tx.execute(
        update(api_keys).where(api_keys.c.id == key, api_keys.c.tenant_id == tx.tenant).values(revoked_at=at)
    )


async def note_use(tx: Tx, key: ApiKeyId, at: datetime, address: str, unless_since: datetime) -> None:
    """Note that the key was used, unless that was noted since ``unless_since``."""
    await tx.execute(
        update(api_keys)
        .where(
            api_keys.c.id == key,
            api_keys.c.tenant_id == tx.tenant,
            or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < unless_since),
        )
        .values(last_used_at=at, last_used_address=address)
    )


async def find_by_key_id(tx: Tx, key_id: str) -> tuple[ApiKey, KeyOwner | None] | None:
    """Return a key with its owner, if that is an operator; None if there is no such key."""
    rows = await tx.fetch(FIND_BY_KEY_ID, {"key_id": key_id, "tenant": tx.tenant})
    if not rows:
        return None
    key, key_text, label, hashed, operator, service, scopes, tenants, networks, *rest, role, name, disabled_at = rows[0]
    found = ApiKey(
        ApiKeyId(key),
        key_text,
        label,
        hashed,
        None if operator is None else OperatorId(operator),
        service,
        tuple(scopes),
        tuple(TenantId(one) for one in tenants),
        tuple(networks),
        *rest,
    )
    return found, None if role is None else KeyOwner(OperatorRole(role), name, disabled_at is not None)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(row.id),
        key_id=row.key_id,
        label=row.label,
        hash=row.hash,
        operator=None if row.operator_id is None else OperatorId(row.operator_id),
        service=row.service,
        scopes=tuple(row.scopes),
        tenants=tuple(TenantId(one) for one in row.tenant_ids),
        allowed_networks=tuple(row.allowed_networks),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        last_used_address=row.last_used_address,
    )
