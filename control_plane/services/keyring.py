"""The tenants' data keys: made with the first secret, wrapped by a key provider, kept in memory for a while."""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cachetools import TTLCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.errors import FailedPrecondition, MusterError, Unavailable
from control_plane.domain.ids import TenantId
from control_plane.domain.secrets import KEY_BYTES, NONCE_BYTES, FormerKey, KeyProvider, TenantSealer
from control_plane.runtime.clock import Clock
from control_plane.storage import tenant_keys
from control_plane.storage.engine import Tx
from control_plane.storage.tenant_keys import StoredKey

# Opened keys of so many tenants are remembered, so long; the oldest go first, all with the next use after that time.
MAX_TENANTS, MAX_AGE_S = 10_000, 300.0
# A provider that does not answer must not hold a transaction; so many tenants' keys are asked for at a time.
PROVIDER_TIMEOUT_S, AT_A_TIME = 3.0, 16

Answer = TypeVar("Answer")


class FileKeyProvider:
    """Key-encryption keys from the settings: MUSTER_SEALING_KEY wraps, MUSTER_SEALING_KEYS_RETIRED still unwraps."""

    def __init__(self, keys: Sequence[bytes], clock: Clock) -> None:
        """``keys`` have 32 bytes each; the first is the primary one. ValueError if one is longer or shorter."""
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._ciphers = {kek_id(key): AESGCM(key) for key in keys}
        self._clock, self.primary_id, self.ids = clock, kek_id(keys[0]), frozenset(self._ciphers)

    async def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Return the primary key's id, and ``key`` wrapped: a nonce, then AES-256-GCM bound to context and key id."""
        nonce = self._clock.random_bytes(NONCE_BYTES)
        bound = f"{context}|{self.primary_id}".encode()
        return self.primary_id, nonce + self._ciphers[self.primary_id].encrypt(nonce, key, bound)

    async def unwrap(self, kek_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the key; FailedPrecondition if ``kek_id`` is none of ours, or it was not wrapped for ``context``."""
        cipher = self._ciphers.get(kek_id)
        if cipher is None:
            raise FailedPrecondition(
                f"key-encryption key {kek_id} is not here: add it to MUSTER_SEALING_KEYS_RETIRED and restart"
            )
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], f"{context}|{kek_id}".encode())
        except (InvalidTag, ValueError) as err:  # ValueError: too short
            raise FailedPrecondition(f"a data key cannot be unwrapped with key-encryption key {kek_id}") from err


def kek_id(key: bytes) -> str:
    """Return the name of a key-encryption key, which says nothing about it."""
    return hashlib.sha256(b"muster key-encryption key" + key).hexdigest()[:16]


def context(tenant: TenantId, version: int) -> str:
    """Return what a wrapped data key is bound to."""
    return f"{tenant}|{version}"


@dataclass(frozen=True, slots=True)
class Current:
    """A sealer, and the stored form of the key that it seals with: the tenant's newest, as far as is known."""

    sealer: TenantSealer
    key: StoredKey


@dataclass(slots=True)
class _Opened:
    """A tenant's opened keys by their wrapped form: one that was rolled back or wrapped anew is never mistaken."""

    ciphers: dict[bytes, AESGCM] = field(default_factory=dict, repr=False)
    # As the database had it when it was last asked.
    newest: StoredKey | None = None


class Keyring:
    """One for each process. Which keys a tenant has is always asked of the database; only unwrapping is remembered.

    So a key that another process has destroyed seals nothing here. It stays in memory for up to ``MAX_AGE_S``. Where a
    question of its own costs too much, :meth:`remembered` seals, and the statement that writes the value asks.
    """

    def __init__(self, provider: KeyProvider, clock: Clock, former: Sequence[FormerKey] = ()) -> None:
        """``former`` open what was sealed before there were data keys."""
        self.provider, self._clock, self._former = provider, clock, tuple(former)
        self._opened: TTLCache[TenantId, _Opened] = TTLCache(MAX_TENANTS, MAX_AGE_S, clock.monotonic)

    async def sealer(self, tx: Tx, tenant: TenantId) -> TenantSealer:
        """Return a sealer for this transaction alone, which began with ``begin(tenant)`` and may write.

        Makes the first data key if there is none. Costs one short query: ask once in a transaction. To open in a
        read-only transaction, ask :meth:`sealers`.
        """
        return (await self.current(tx, tenant)).sealer

    async def current(self, tx: Tx, tenant: TenantId) -> Current:
        """Return the same with the key that seals."""
        keys = await tenant_keys.load(tx, [tenant])
        if not keys:
            await tenant_keys.add(tx, await self.make(tenant, 1))
            keys = await tenant_keys.load(tx, [tenant])
        return Current((await self._sealers(keys))[tenant], keys[-1])

    def remembered(self, tenant: TenantId) -> Current | None:
        """Return what sealed for the tenant when the database was last asked; None if that is not known.

        What it opens is as good as ever. What it seals may be stored by a statement only that makes sure that the key
        still is the newest (``tenant_keys.PROVEN``), in a ``begin(tenant)`` transaction: no rotation moves during one.
        """
        entry = self._opened.get(tenant)
        if entry is None or entry.newest is None:
            return None
        newest = entry.newest
        return Current(TenantSealer(tenant, {newest.version: entry.ciphers[newest.wrapped]}, self._former), newest)

    async def sealers(self, tx: Tx, tenants: Iterable[TenantId]) -> dict[TenantId, TenantSealer]:
        """Return what opens the secrets of ``tenants``, in any transaction that sees them; without a key: absent.

        A key that cannot be unwrapped stops nobody: the sealer that needs it says so when it is used.
        """
        return await self._sealers(await tenant_keys.load(tx, tenants))

    def keyless(self, tenant: TenantId) -> TenantSealer:
        """Return what opens the secrets of a tenant that has no data key yet: those of form 1."""
        return TenantSealer(tenant, {}, self._former)

    def forget(self, tenant: TenantId) -> None:
        """Drop a tenant's opened keys from memory, after a rotation or a purge."""
        self._opened.pop(tenant, None)

    async def make(self, tenant: TenantId, version: int) -> StoredKey:
        """Return a new data key, wrapped by the primary key-encryption key and not stored yet."""
        made = self._clock.random_bytes(KEY_BYTES)
        wrapped_by, wrapped = await self._answer(self.provider.wrap(made, context(tenant, version)))
        return StoredKey(tenant, version, wrapped, wrapped_by, self._clock.now())

    async def rewrap(self, key: StoredKey) -> StoredKey:
        """Return ``key`` wrapped by the primary key-encryption key; it has to be at hand what wraps it now."""
        bound = context(key.tenant, key.version)
        plain = await self._answer(self.provider.unwrap(key.kek_id, key.wrapped, bound))
        wrapped_by, wrapped = await self._answer(self.provider.wrap(plain, bound))
        return StoredKey(key.tenant, key.version, wrapped, wrapped_by, key.created_at)

    async def _sealers(self, keys: Sequence[StoredKey]) -> dict[TenantId, TenantSealer]:
        found: dict[TenantId, dict[int, AESGCM | MusterError]] = {}
        missing: list[StoredKey] = []
        for key in keys:
            entry = self._opened.get(key.tenant)
            cipher = entry.ciphers.get(key.wrapped) if entry else None
            mine = found.setdefault(key.tenant, {})
            if cipher is None:
                missing.append(key)
            else:
                mine[key.version] = cipher
        if missing:
            await self._open_all(missing, found)
        for key in keys:
            entry = self._opened.get(key.tenant)
            if entry is not None:
                # In the order of versions: the last one stays. None if it cannot be opened.
                entry.newest = key if key.wrapped in entry.ciphers else None
        return {tenant: TenantSealer(tenant, mine, self._former) for tenant, mine in found.items()}

    async def _open_all(
        self, missing: Sequence[StoredKey], found: dict[TenantId, dict[int, AESGCM | MusterError]]
    ) -> None:
        gate = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            tasks = [(key, group.create_task(self._open(key, gate))) for key in missing]
        for key, task in tasks:
            found[key.tenant][key.version] = task.result()

    async def _open(self, key: StoredKey, gate: asyncio.Semaphore) -> AESGCM | MusterError:
        try:
            async with gate:
                bound = context(key.tenant, key.version)
                cipher = AESGCM(await self._answer(self.provider.unwrap(key.kek_id, key.wrapped, bound)))
        except MusterError as err:
            return err
        self._opened.setdefault(key.tenant, _Opened()).ciphers[key.wrapped] = cipher
        return cipher

    async def _answer(self, asked: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                return await asked
        except TimeoutError:
            raise Unavailable("the key provider") from None
