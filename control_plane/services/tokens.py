"""Issues, rotates, revokes and verifies SCIM bearer tokens."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from control_plane.domain.errors import FailedPrecondition, NotFound, Overloaded, TokenRefused
from control_plane.domain.ids import TenantId, TokenId, uuid7
from control_plane.domain.tokens import (
    SALT_BYTES,
    Scope,
    Token,
    compose,
    hash_token,
    matches,
    parse,
    refuse_unless_valid,
)
from control_plane.metrics import Metrics
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, tenants, tokens
from control_plane.storage.engine import Storage, Tx

CHANNEL = "muster_tokens"
DEFAULT_OVERLAP_S = 24 * 3600.0
KDF_THREADS = 2
# Verifications that may wait for a thread; beyond that callers are told to come back.
KDF_QUEUE = 32
VERIFIED_CACHE = 10_000
WATCHER_QUEUE = 1_000
# The database is asked each second whether it still tells us of changes; after this long without a word it does not.
SILENCE_S = 2.5

T = TypeVar("T")


class Kdf:
    """PBKDF2 off the event loop: two threads, a short queue, and the caller is told when it is full."""

    def __init__(self, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(KDF_THREADS, thread_name_prefix="kdf")
        self._waiting, self._metrics = 0, metrics

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Return ``work(*arguments)`` from a thread; Overloaded if too many wait already."""
        if self._waiting >= KDF_QUEUE + KDF_THREADS:
            raise Overloaded("token verification", retry_after_s=1.0)
        self._waiting += 1
        self._metrics.kdf_waiting.set(self._waiting)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._waiting -= 1
            self._metrics.kdf_waiting.set(self._waiting)

    def close(self) -> None:
        """End the threads without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class TokenService:
    """The use cases of muster.tenancy.v1.TokenService."""

    def __init__(self, storage: Storage, clock: Clock, kdf: Kdf, *, env: str, iterations: int) -> None:
        """``env`` is the environment in new tokens; ``iterations`` is for PBKDF2 of new tokens."""
        self._storage, self._clock, self._kdf = storage, clock, kdf
        self._env, self._iterations = env, iterations
        self._scribe = Scribe(clock)
        # HMAC of a token under a key of this process -> the hash it was found to match. The row is read each time.
        self._key = clock.random_bytes(32)
        self._verified: OrderedDict[bytes, str] = OrderedDict()

    async def create(
        self, caller: Caller, tenant: TenantId, label: str, scopes: Sequence[Scope], ttl: timedelta | None
    ) -> tuple[Token, str]:
        """Return a new token and its secret, which is kept nowhere."""
        ttl_s = int(ttl.total_seconds()) if ttl else None
        token, secret = await self._new(tenant, label, tuple(scopes) or (Scope.READ, Scope.WRITE), ttl_s)
        async with self._storage.begin(tenant) as tx:
            if await tenants.get(tx, tenant) is None:
                raise NotFound("tenant", tenant)
            await tokens.insert(tx, token)
            await self._audit(tx, caller, "token.create", token)
        return token, secret

    async def list(self, tenant: TenantId, before: TokenId | None, limit: int) -> list[Token]:
        """Return up to ``limit`` tokens created before ``before``, newest first."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await tokens.list_before(tx, before, limit)

    async def rotate(
        self, caller: Caller, tenant: TenantId, token_id: TokenId, overlap: timedelta | None
    ) -> tuple[Token, str, Token]:
        """Return the successor, its secret, and the old token, which works for ``overlap`` more (24 hours if None)."""
        wait = timedelta(seconds=DEFAULT_OVERLAP_S) if overlap is None else overlap
        async with self._storage.begin(tenant) as tx:
            old = await self._get(tx, token_id)
        now = self._clock.now()
        new, secret = await self._new(tenant, old.label, old.scopes, old.ttl_s)
        async with self._storage.begin(tenant) as tx:
            old = await self._get(tx, token_id)
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise FailedPrecondition("a token that is revoked or expired cannot be rotated: create one")
            ends = min(now + wait, old.expires_at) if old.expires_at else now + wait
            replaced = replace(old, expires_at=ends)
            await tokens.insert(tx, new)
            await tokens.set_expires(tx, old.id, ends)
            await self._storage.notify(tx, CHANNEL, str(old.id))
            await self._audit(tx, caller, "token.rotate", old, successor=new.key_id)
        return new, secret, replaced

    async def revoke(self, caller: Caller, tenant: TenantId, token_id: TokenId) -> Token:
        """Revoke at once; a token that is revoked already stays as it is."""
        async with self._storage.begin(tenant) as tx:
            token = await self._get(tx, token_id)
            if token.revoked_at is not None:
                return token
            now = self._clock.now()
            await tokens.set_revoked(tx, token.id, now)
            await self._storage.notify(tx, CHANNEL, str(token.id))
            await self._audit(tx, caller, "token.revoke", token)
        return replace(token, revoked_at=now)

    async def verify(self, presented: str) -> Token:
        """Return the token that ``presented`` is; TokenRefused for every reason to refuse, with one text."""
        parsed = parse(presented)
        async with self._storage.begin_batch((), token_key=parsed.key_id) as tx:
            token = await tokens.find_by_key_id(tx, parsed.key_id)
        if token is None:
            raise TokenRefused("unknown")
        refuse_unless_valid(token, self._clock.now())
        digest = hmac.digest(self._key, presented.encode(), "sha256")
        if self._verified.get(digest) == token.hash:
            self._verified.move_to_end(digest)
            return token
        if not await self._kdf.run(matches, presented, token.hash):
            raise TokenRefused("mismatch", str(token.tenant))
        self._verified[digest] = token.hash
        if len(self._verified) > VERIFIED_CACHE:
            self._verified.popitem(last=False)
        return token

    async def _new(
        self, tenant: TenantId, label: str, scopes: tuple[Scope, ...], ttl_s: int | None
    ) -> tuple[Token, str]:
        now = self._clock.now()
        presented = compose(self._env, self._clock.random_bytes(48))
        hashed = await self._kdf.run(hash_token, presented.text, self._clock.random_bytes(SALT_BYTES), self._iterations)
        token_id = TokenId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        expires_at = None if ttl_s is None else now + timedelta(seconds=ttl_s)
        token = Token(token_id, tenant, presented.key_id, label, scopes, hashed, now, ttl_s, expires_at, None)
        return token, presented.text

    async def _get(self, tx: Tx, token_id: TokenId) -> Token:
        token = await tokens.get(tx, token_id, lock=True)
        if token is None:
            raise NotFound("token", token_id)
        return token

    async def _audit(self, tx: Tx, caller: Caller, action: str, token: Token, **details: str) -> None:
        deed = Deed(action, "token", str(token.id), {"key_id": token.key_id, "label": token.label, **details})
        await audit.append(tx, [self._scribe.event(token.tenant, caller, deed)])


class TokenWatch:
    """Tells every gateway that watches which tokens changed, whichever control plane changed them."""

    def __init__(self, listen: Callable[[str], AsyncGenerator[str | None, None]], clock: Clock) -> None:
        """``listen`` yields a changed token's id, None when changes may have been missed, "" as a sign of life."""
        self._listen, self._clock = listen, clock
        self._watchers: set[asyncio.Queue[str | None]] = set()
        self._alive_at = float("-inf")
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Pass changes on until cancelled."""
        async with aclosing(self._listen(CHANNEL)) as changes:
            async for token_id in changes:
                self._alive_at = self._clock.monotonic()
                if token_id != "":
                    for queue in self._watchers:
                        _offer(queue, token_id)

    def is_live(self) -> bool:
        """Tell whether changes would be heard: if not, gateways must not be told that all is well."""
        return self._clock.monotonic() - self._alive_at < SILENCE_S and not self._closed.is_set()

    def close(self) -> None:
        """End every watch: gateways go on with another control plane."""
        self._closed.set()
        for queue in self._watchers:
            _offer(queue, None)

    @property
    def is_closed(self) -> bool:
        """Whether watches are to end."""
        return self._closed.is_set()

    @contextmanager
    def watch(self) -> Iterator[Callable[[], Awaitable[str | None]]]:
        """Give a function that waits for the next change; None means: drop everything. The first is None."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(WATCHER_QUEUE)
        queue.put_nowait(None)
        self._watchers.add(queue)
        try:
            yield queue.get
        finally:
            self._watchers.discard(queue)


def _offer(queue: asyncio.Queue[str | None], token_id: str | None) -> None:
    """Queue a change; a gateway that does not read has to drop everything when it does."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        token_id = None
    queue.put_nowait(token_id)
