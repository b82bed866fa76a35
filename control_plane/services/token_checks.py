"""Whose bearer token is this? For gateways, which keep the answer for a while."""

from control_plane.domain.errors import MusterError, TokenRefused
from control_plane.domain.tenants import Limits
from control_plane.domain.tokens import (
    SALT_BYTES,
    Token,
    Verified,
    hash_token,
    iterations_of,
    parse,
    refuse_unless_valid,
)
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services import proofs
from control_plane.services.kdf import Kdf
from control_plane.services.token_memory import TokenMemory
from control_plane.services.token_rows import TokenRows
from control_plane.storage import tokens
from control_plane.storage.engine import Storage

log = get_logger(__name__)


class TokenChecks:
    """Verifies presented tokens. Every refusal has one text; its cause is for metrics and the audit trail.

    The causes: malformed, unknown, mismatch, revoked, expired, tenant_deleted, network, throttled. None of them is
    written to the trail here: the gateway reports each refusal that it answered, from its memory or from here, once
    (services/token_reports.py).
    """

    def __init__(self, storage: Storage, clock: Clock, kdf: Kdf, *, iterations: int, limits: Limits) -> None:
        """``iterations`` are those of new hashes; ``limits`` the installation's."""
        self._storage, self._clock, self._kdf = storage, clock, kdf
        self._iterations, self._limits = iterations, limits
        self._memory, self._rows = TokenMemory(clock), TokenRows(storage)

    async def verify(self, presented: str, address: str) -> Verified:
        """Return the token that ``presented`` is, shown from ``address``; TokenRefused for every reason to refuse.

        The row is read each time; PBKDF2 runs only for what is not remembered.
        """
        key_id = parse(presented).key_id
        digest = self._memory.digest(presented)
        if (tenant := self._memory.tenant_of_mismatch(digest)) is not None:
            raise TokenRefused("mismatch", tenant)
        found = await self._look_up(key_id, address)
        refuse_unless_valid(found, address, self._clock.now())
        if self._memory.hash_of(digest) != found.token.hash:
            await self._prove(presented, digest, found.token, address)
        if found.token.last_used_at is None:
            await self._note_first_use(found.token, address)
        return found

    async def _look_up(self, key_id: str, address: str) -> Verified:
        if not self._memory.may_look_up(key_id, address):
            raise TokenRefused("throttled")
        try:
            row = await self._rows.find(key_id)
        except BaseException:
            self._memory.forgive_look_up(address)
            raise
        if row is None:
            raise TokenRefused("unknown")
        self._memory.note_known(key_id, address)
        token, tenant = row
        return Verified(token, tenant.state, tenant.effective_limits(self._limits))

    async def _prove(self, presented: str, digest: bytes, token: Token, address: str) -> None:
        """Return if the token matches its hash, TokenRefused if not; those who come meanwhile find it done."""
        tenant = str(token.tenant)
        async with self._memory.alone(digest):
            known = self._memory.hash_of(digest)
            if known == token.hash:
                return
            if self._memory.tenant_of_mismatch(digest) is not None:
                raise TokenRefused("mismatch", tenant)
            try:
                is_match = await proofs.is_match(self._memory, self._kdf, presented, token, address)
            except proofs.Throttled:
                raise TokenRefused("throttled", tenant) from None
            if not is_match:
                self._memory.note_mismatch(digest, tenant)
                raise TokenRefused("mismatch", tenant)
            self._memory.note_match(digest, token.hash)
        # Only once in a process: control planes with different settings must not take turns in changing the row.
        if known is None and iterations_of(token.hash) != self._iterations:
            await self._hash_anew(presented, digest, token)

    async def _hash_anew(self, presented: str, digest: bytes, token: Token) -> None:
        """Store the hash with the iterations of today. Nobody has to drop anything: the secret is the same."""
        try:
            fresh = await self._kdf.run(hash_token, presented, self._clock.random_bytes(SALT_BYTES), self._iterations)
            async with self._storage.begin(token.tenant) as tx:
                is_stored = await tokens.replace_hash(tx, token.id, token.hash, fresh)
        except MusterError as err:
            log.warning("a token keeps its old hash for now", key_id=token.key_id, error=type(err).__name__)
            return
        if is_stored:
            self._memory.note_match(digest, fresh)

    async def _note_first_use(self, token: Token, address: str) -> None:
        """Note at once that a token was used: a rotation that is asked for again depends on it."""
        use = tokens.Use(token.tenant, token.id, self._clock.now(), address, "")
        try:
            async with self._storage.begin_batch([token.tenant]) as tx:
                await tokens.note_uses(tx, [use])
        except MusterError as err:
            # The gateway's next report says it too.
            log.warning("the first use of a token was not noted", key_id=token.key_id, error=type(err).__name__)
