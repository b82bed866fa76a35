"""Issues, lists, rotates and revokes SCIM bearer tokens."""

from datetime import datetime, timedelta

from control_plane.domain.audit import Actor
from control_plane.domain.errors import NotFound
from control_plane.domain.ids import TenantId, TokenId, uuid7
from control_plane.domain.tenants import Limits, Tenant
from control_plane.domain.tokens import (
    SALT_BYTES,
    Overlap,
    Token,
    Wish,
    end_after,
    hash_token,
    refuse_beyond_limit,
    refuse_unless_rotatable,
)
from control_plane.runtime.clock import Clock
from control_plane.scim.bearer import RANDOM_BYTES, compose
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.kdf import Kdf
from control_plane.services.token_watch import CHANNEL
from control_plane.storage import audit, tenants, tokens
from control_plane.storage.engine import Storage, Tx


class TokenService:
    """The use cases of muster.tenancy.v1.TokenService for administrators; services/token_checks.py verifies."""

    def __init__(self, storage: Storage, clock: Clock, kdf: Kdf, *, env: str, iterations: int, limits: Limits) -> None:
        """``env`` is the environment in new tokens, ``iterations`` PBKDF2's, ``limits`` are the installation's."""
        self._storage, self._clock, self._kdf = storage, clock, kdf
        self._env, self._iterations, self._limits = env, iterations, limits
        self._scribe = Scribe(clock)

    async def create(self, caller: Caller, tenant: TenantId, wish: Wish) -> tuple[Token, str]:
        """Return a new token and its secret, which is kept nowhere.

        FailedPrecondition if the tenant is deleted, or has as many working tokens as it may.
        """
        token, secret = await self._new(caller, tenant, wish)
        async with self._storage.begin(tenant) as tx:
            owner = await tenants.require(tx, tenant, lock=True)
            await self._insert(tx, owner, token)
            await self._audit(tx, caller, "token.create", token, **_terms(token))
        return token, secret

    async def list(self, tenant: TenantId, before: TokenId | None, limit: int) -> list[Token]:
        """Return up to ``limit`` tokens created before ``before``, newest first."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await tokens.list_before(tx, before, limit)

    async def rotate(
        self, caller: Caller, tenant: TenantId, token_id: TokenId, overlap: Overlap
    ) -> tuple[Token, str, Token]:
        """Return the successor, its secret, and the old token, which works for the overlap.

        A rotation may be asked for again, since its answer may have been lost: a successor that was never used is
        revoked and replaced. If one was used, somebody has it: FailedPrecondition.
        """
        async with self._storage.begin(tenant, read_only=True) as tx:
            old = await self._get(tx, token_id)
        wish = Wish(old.label, old.scopes, old.ttl_s, old.allowed_networks, replaces=old.id)
        new, secret = await self._new(caller, tenant, wish)
        async with self._storage.begin(tenant) as tx:
            owner = await tenants.require(tx, tenant, lock=True)
            now = self._clock.now()
            old = await self._get(tx, token_id, lock=True)
            successors = await tokens.list_successors(tx, old.id)
            refuse_unless_rotatable(old, successors, now)
            for unused in successors:
                await self._end(tx, unused.id, now)
                await self._audit(tx, caller, "token.revoke", unused, cause="never used, replaced by a new rotation")
            ends = end_after(old, overlap, now)
            if ends != old.expires_at:
                await tokens.set_expires(tx, old.id, ends)
                await self._storage.notify(tx, CHANNEL, str(old.id))
            await self._insert(tx, owner, new)
            lives = {"old_expires": _time(ends), "successor": new.key_id, **_terms(new)}
            await self._audit(tx, caller, "token.rotate", old, **lives)
            replaced = await self._get(tx, token_id)
        return new, secret, replaced

    async def revoke(self, caller: Caller, tenant: TenantId, token_id: TokenId) -> Token:
        """Revoke at once; a token that is revoked already stays as it is."""
        async with self._storage.begin(tenant) as tx:
            token = await self._get(tx, token_id, lock=True)
            if token.revoked_at is not None:
                return token
            await self._end(tx, token.id, self._clock.now())
            await self._audit(tx, caller, "token.revoke", token)
            return await self._get(tx, token_id)

    async def _new(self, caller: Caller, tenant: TenantId, wish: Wish) -> tuple[Token, str]:
        now = self._clock.now()
        presented = compose(self._env, self._clock.random_bytes(RANDOM_BYTES))
        hashed = await self._kdf.run(hash_token, presented.text, self._clock.random_bytes(SALT_BYTES), self._iterations)
        token = Token(
            id=TokenId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10))),
            tenant=tenant,
            key_id=presented.key_id,
            label=wish.label,
            scopes=wish.scopes,
            hash=hashed,
            created_at=now,
            ttl_s=wish.ttl_s,
            expires_at=None if wish.ttl_s is None else now + timedelta(seconds=wish.ttl_s),
            revoked_at=None,
            allowed_networks=wish.allowed_networks,
            replaces=wish.replaces,
            creator=_name(caller.actor),
        )
        return token, presented.text

    async def _insert(self, tx: Tx, owner: Tenant, token: Token) -> None:
        """Store a new token if the tenant may have one more; its row is locked, so that the count is exact."""
        working = await tokens.list_working(tx, self._clock.now())
        refuse_beyond_limit(working, owner, owner.effective_limits(self._limits).max_active_tokens)
        await tokens.insert(tx, token)

    async def _end(self, tx: Tx, token: TokenId, now: datetime) -> None:
        await tokens.set_revoked(tx, token, now)
        await self._storage.notify(tx, CHANNEL, str(token))

    async def _get(self, tx: Tx, token_id: TokenId, *, lock: bool = False) -> Token:
        token = await tokens.get(tx, token_id, lock=lock)
        if token is None:
            raise NotFound("token", token_id)
        return token

    async def _audit(self, tx: Tx, caller: Caller, action: str, token: Token, **details: object) -> None:
        deed = Deed(action, "token", str(token.id), {"key_id": token.key_id, "label": token.label, **details})
        await audit.append(tx, [self._scribe.event(token.tenant, caller, deed)])


def _terms(token: Token) -> dict[str, object]:
    """Return what the trail tells of a new token."""
    terms: dict[str, object] = {
        "scopes": [scope.name.lower() for scope in token.scopes],
        "expires": _time(token.expires_at),
    }
    if token.allowed_networks:
        terms["allowed_networks"] = list(token.allowed_networks)
    return terms


def _name(actor: Actor) -> str:
    """Return an actor as `muster audit list` shows it; whoever has the admin token is just "admin"."""
    kind = actor.type.name.lower()
    return kind if actor.id == kind else f"{kind} {actor.id}"


def _time(at: datetime | None) -> str:
    return "never" if at is None else at.isoformat()
