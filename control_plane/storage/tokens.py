"""Bearer tokens: never their secret, only its hash."""

from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import Row, select, update
from sqlalchemy import insert as insert_into

from control_plane.domain.ids import TenantId, TokenId
from control_plane.domain.tokens import Scope, Token
from control_plane.storage.engine import Tx
from control_plane.storage.schema import tokens

FIND_BY_KEY_ID: LiteralString = """
    SELECT id, tenant_id, key_id, label, scopes, hash, created_at, ttl_s, expires_at, revoked_at
    FROM tokens WHERE key_id = %(key_id)b::text
"""


async def insert(tx: Tx, token: Token) -> None:
    """Store a new token."""
    await tx.execute(
        insert_into(tokens).values(
            id=token.id,
            tenant_id=token.tenant,
            key_id=token.key_id,
            label=token.label,
            scopes=[int(scope) for scope in token.scopes],
            hash=token.hash,
            created_at=token.created_at,
            ttl_s=token.ttl_s,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
        )
    )


async def get(tx: Tx, token: TokenId, *, lock: bool = False) -> Token | None:
    """Return one token of the tenant, or None if there is none. ``lock`` keeps other writers out."""
    query = select(tokens).where(tokens.c.id == token, tokens.c.tenant_id == tx.tenant)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _token(row)


async def list_before(tx: Tx, before: TokenId | None, limit: int) -> list[Token]:
    """Return up to ``limit`` tokens of the tenant, newest first, from the one behind ``before``."""
    query = select(tokens).where(tokens.c.tenant_id == tx.tenant).order_by(tokens.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(tokens.c.id < before)
    return [_token(row) for row in await tx.execute(query)]


async def set_revoked(tx: Tx, token: TokenId, at: datetime) -> None:
    """Note that the token is refused from ``at`` on."""
    await tx.execute(update(tokens).where(tokens.c.id == token, tokens.c.tenant_id == tx.tenant).values(revoked_at=at))


async def set_expires(tx: Tx, token: TokenId, at: datetime) -> None:
    """Note that the token is refused from ``at`` on, unless it is revoked before."""
    await tx.execute(update(tokens).where(tokens.c.id == token, tokens.c.tenant_id == tx.tenant).values(expires_at=at))


async def find_by_key_id(tx: Tx, key_id: str) -> Token | None:
    """Return the token of any tenant, in a transaction begun with ``begin_batch((), token_key=key_id)``."""
    rows = await tx.fetch(FIND_BY_KEY_ID, {"key_id": key_id})
    if not rows:
        return None
    token, tenant, key, label, scopes, *rest = rows[0]
    return Token(TokenId(token), TenantId(tenant), key, label, tuple(Scope(scope) for scope in scopes), *rest)


def _token(row: Row[Any]) -> Token:
    return Token(
        id=TokenId(row.id),
        tenant=TenantId(row.tenant_id),
        key_id=row.key_id,
        label=row.label,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        hash=row.hash,
        created_at=row.created_at,
        ttl_s=row.ttl_s,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
