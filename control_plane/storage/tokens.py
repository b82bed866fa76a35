"""Bearer tokens: never their secret, only its hash."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import Row, or_, select, update
from sqlalchemy import insert as insert_into

from control_plane.domain.ids import TenantId, TokenId
from control_plane.domain.tenants import Tenant, TenantState
from control_plane.domain.tokens import Scope, Token
from control_plane.storage.engine import Tx
from control_plane.storage.schema import tokens

# Key ids have letters and digits only.
KEY_ID_SEPARATOR = ","

FIND_BY_KEY_IDS: LiteralString = """
    SELECT t.id, t.tenant_id, t.key_id, t.label, t.scopes, t.hash, t.created_at, t.ttl_s, t.expires_at, t.revoked_at,
           t.allowed_networks, t.last_used_at, t.last_used_address, t.last_used_agent, t.replaces, t.created_by,
           o.display_name, o.created_at, o.state, o.limits
    FROM tokens t, LATERAL (SELECT * FROM tenants WHERE id = t.tenant_id OFFSET 0) o
    WHERE t.key_id = any(%(key_ids)b::text[])
"""
FIND_OWNERS: LiteralString = """
    SELECT key_id, id, tenant_id FROM tokens WHERE key_id = any(%(key_ids)b::text[]) ORDER BY key_id
"""
# Locked in one order: two gateways may report the same tokens at the same moment.
NOTE_USES: LiteralString = """
    WITH used AS (
        SELECT * FROM unnest(
            %(ids)b::uuid[], %(tenants)b::uuid[], %(ats)b::timestamptz[], %(addresses)b::text[], %(agents)b::text[]
        ) AS u (id, tenant_id, at, address, agent)
    ), locked AS (
        SELECT t.id, t.tenant_id FROM tokens t
        WHERE t.id = any(%(ids)b::uuid[]) AND t.tenant_id = any(%(tenants)b::uuid[])
        ORDER BY t.id FOR NO KEY UPDATE
    )
    UPDATE tokens t
    SET last_used_at = greatest(t.last_used_at, u.at), last_used_address = u.address, last_used_agent = u.agent
    FROM used u JOIN locked l ON l.id = u.id AND l.tenant_id = u.tenant_id
    WHERE t.id = any(%(ids)b::uuid[]) AND t.id = u.id AND t.tenant_id = u.tenant_id
      AND (t.last_used_at IS NULL OR t.last_used_at < u.at OR (t.last_used_agent = '' AND u.agent <> ''))
"""
COUNT_EXPIRING: LiteralString = """
    SELECT count(*) FILTER (WHERE t.expires_at <= %(first)b::timestamptz),
           count(*) FILTER (WHERE t.expires_at <= %(second)b::timestamptz),
           count(*)
    FROM tokens t
    WHERE t.tenant_id = any(%(tenants)b::uuid[]) AND t.revoked_at IS NULL
      AND t.expires_at > %(now)b::timestamptz AND t.expires_at <= %(third)b::timestamptz
      AND NOT EXISTS (
          SELECT FROM tokens s WHERE s.tenant_id = t.tenant_id AND s.replaces = t.id AND s.revoked_at IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a token that a gateway knows of."""

    tenant: TenantId
    token: TokenId
    at: datetime
    address: str
    agent: str


async def insert(tx: Tx, token: Token) -> None:
    """Store a new token, never used yet."""
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
            allowed_networks=list(token.allowed_networks),
            replaces=token.replaces,
            created_by=token.creator,
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


async def list_working(tx: Tx, now: datetime) -> list[Token]:
    """Return the tenant's tokens that are neither revoked nor expired at ``now``, oldest first."""
    lives = or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now)
    query = select(tokens).where(tokens.c.tenant_id == tx.tenant, tokens.c.revoked_at.is_(None), lives)
    return [_token(row) for row in await tx.execute(query.order_by(tokens.c.id))]


async def list_successors(tx: Tx, token: TokenId) -> list[Token]:
    """Return the tokens that replace ``token`` and are not revoked, oldest first, and keep other writers out."""
    replacing = (tokens.c.tenant_id == tx.tenant, tokens.c.replaces == token, tokens.c.revoked_at.is_(None))
    query = select(tokens).where(*replacing).order_by(tokens.c.id).with_for_update()
    return [_token(row) for row in await tx.execute(query)]


async def set_revoked(tx: Tx, token: TokenId, at: datetime) -> None:
    """Note that the token is refused from ``at`` on."""
    await tx.execute(update(tokens).where(tokens.c.id == token, tokens.c.tenant_id == tx.tenant).values(revoked_at=at))


async def set_expires(tx: Tx, token: TokenId, at: datetime | None) -> None:
    """Note that the token is refused from ``at`` on (None: never), unless it is revoked before."""
    await tx.execute(update(tokens).where(tokens.c.id == token, tokens.c.tenant_id == tx.tenant).values(expires_at=at))


async def replace_hash(tx: Tx, token: TokenId, old: str, new: str) -> bool:
    """Store another hash of the same secret; False if it is not ``old`` any more."""
    wanted = (tokens.c.id == token, tokens.c.tenant_id == tx.tenant, tokens.c.hash == old)
    changed = await tx.execute(update(tokens).where(*wanted).values(hash=new))
    return changed.rowcount == 1


async def find_by_key_ids(tx: Tx, key_ids: Sequence[str]) -> dict[str, tuple[Token, Tenant]]:
    """Return tokens of any tenants by their key ids; ``begin_batch`` wants these joined as ``token_key``.

    Of the tenants only name, age, state and limits are read.
    """
    rows = await tx.fetch(FIND_BY_KEY_IDS, {"key_ids": list(key_ids)})
    return {row[2]: _found(row) for row in rows}


async def find_owners(tx: Tx, key_ids: Sequence[str]) -> Mapping[str, tuple[TenantId, TokenId]]:
    """Return whose each key id is, unknown ones left out; ``begin_batch`` wants them joined as ``token_key``."""
    rows = await tx.fetch(FIND_OWNERS, {"key_ids": list(key_ids)})
    return {key_id: (TenantId(tenant), TokenId(token)) for key_id, token, tenant in rows}


async def note_uses(tx: Tx, uses: Iterable[Use]) -> None:
    """Note when, from where and with what tokens were last used, in a transaction of their tenants.

    At most one for each token. A use that is older than the one known changes nothing; but the very first is noted when
    the token is verified, without an agent, which the report of the same use adds.
    """
    listed = list(uses)
    await tx.fetch(
        NOTE_USES,
        {
            "ids": [use.token for use in listed],
            "tenants": [use.tenant for use in listed],
            "ats": [use.at for use in listed],
            "addresses": [use.address for use in listed],
            "agents": [use.agent for use in listed],
        },
    )


async def count_expiring(
    tx: Tx, tenants: Sequence[TenantId], now: datetime, ends: tuple[datetime, datetime, datetime]
) -> tuple[int, int, int]:
    """Return how many working tokens without a successor expire until each of ``ends``, which rise."""
    first, second, third = ends
    times = {"now": now, "first": first, "second": second, "third": third}
    ((one, two, three),) = await tx.fetch(COUNT_EXPIRING, {"tenants": list(tenants), **times})
    return one, two, three


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
        allowed_networks=tuple(row.allowed_networks),
        last_used_at=row.last_used_at,
        last_used_address=row.last_used_address,
        last_used_agent=row.last_used_agent,
        replaces=None if row.replaces is None else TokenId(row.replaces),
        creator=row.created_by,
    )


def _found(row: tuple[Any, ...]) -> tuple[Token, Tenant]:
    token, tenant, key, label, scopes, hashed, created, ttl_s, expires, revoked = row[:10]
    networks, used, address, agent, replaces, creator = row[10:16]
    name, born, state, limits = row[16:]
    owner = Tenant(TenantId(tenant), name, born, state=TenantState(state), limits=limits)
    found = Token(
        id=TokenId(token),
        tenant=owner.id,
        key_id=key,
        label=label,
        scopes=tuple(Scope(scope) for scope in scopes),
        hash=hashed,
        created_at=created,
        ttl_s=ttl_s,
        expires_at=expires,
        revoked_at=revoked,
        allowed_networks=tuple(networks),
        last_used_at=used,
        last_used_address=address,
        last_used_agent=agent,
        replaces=replaces,
        creator=creator,
    )
    return found, owner
