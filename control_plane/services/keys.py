"""Rotates keys: a tenant's data key, by sealing everything anew, and key-encryption keys, by wrapping data keys anew.

Each can be interrupted at any point and run again, and runs beside writers. A rotation is safe because of three things.
The new version appears in an exclusive transaction: whoever writes after it reads it, and whoever sealed with the old
one has committed before. A value is only replaced if nobody changed it since it was read. And old versions are
destroyed in an exclusive transaction, when nothing is left that needs them. Whoever only reads may hold a value whose
key was destroyed between two statements: reading both again helps, as services/dispatch.py does.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.domain.secrets import NONCE_BYTES, SEALED_COLUMNS, SealedColumn, TenantSealer, sealed_version
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.keyring import Keyring
from control_plane.storage import audit, sealed_values, tenant_keys, tenants
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.sealed_values import Change, Value
from control_plane.storage.tenant_keys import StoredKey

# Values sealed anew in one transaction: opening and sealing them takes about 2 ms of the loop.
BATCH = 500
OWNERS_AT_ONCE = 1_000
# An exclusive transaction waits for every writer of the tenant, bulk requests among them.
EXCLUSIVE_TIMEOUT_S = 25.0
# A second pass only has something to do if somebody else rotates at the same time.
PASSES = 3
NAMED = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is: values or keys that it has replaced, of so many; the version of a data key."""

    count: int
    total: int
    version: int = 0
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """A key-encryption key, and how many data keys it wraps."""

    id: str
    is_primary: bool
    is_available: bool
    data_keys: int


class KeyService:
    """The use cases of muster.keys.v1.KeyService."""

    def __init__(self, storage: Storage, clock: Clock, keyring: Keyring) -> None:
        self._storage, self._clock, self._keyring = storage, clock, keyring
        self._provider, self._scribe = keyring.provider, Scribe(clock)

    async def wrapping_keys(self) -> list[WrappingKey]:
        """Return the key-encryption keys that are here or in use, the primary one first."""
        counts: Counter[str] = Counter()
        async for keys in self._all_keys():
            counts.update(key.kek_id for key in keys)
        primary, known = self._provider.primary_id, self._provider.ids
        return [
            WrappingKey(one, one == primary, one in known, counts[one])
            for one in sorted(known | counts.keys(), key=lambda one: (one != primary, one))
        ]

    async def data_keys(self, tenant: TenantId) -> list[StoredKey]:
        """Return a tenant's data keys, newest first; NotFound if there is no such tenant."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            await self._require(tx, tenant)
            return (await tenant_keys.load(tx, [tenant]))[::-1]

    async def rotate(self, caller: Caller, tenant: TenantId) -> AsyncGenerator[Progress]:
        """Give a tenant a new data key, seal everything with it and destroy the old ones; yield how far it is.

        A rotation that was interrupted is finished instead. FailedPrecondition, and the old keys stay, if something
        cannot be opened.
        """
        version = await self._new_version(caller, tenant)
        async with self._storage.begin(tenant, read_only=True) as tx:
            total = sum([await sealed_values.count_others(tx, column, version) for column in SEALED_COLUMNS])
        done = Progress(0, total, version)
        yield done
        for _ in range(PASSES):
            closed: list[str] = []
            for column in SEALED_COLUMNS:
                async for count, unopened in self._reseal(tenant, column):
                    closed += unopened
                    done = replace(done, count=done.count + count)
                    yield done
            if closed:
                raise FailedPrecondition(_what_is_closed(closed))
            last = await self._destroy_old(caller, tenant, done.count)
            if last:
                yield replace(done, version=last, is_done=True)
                return
        raise Unavailable("the tenant's values, which others rotate too,")

    async def rewrap(self, caller: Caller) -> AsyncGenerator[Progress]:
        """Wrap every data key with the primary key-encryption key, so that no other is needed; yield how far it is.

        What a sealing key sealed by itself, before there were data keys, is sealed anew too.
        """
        stale = [key async for keys in self._all_keys() for key in keys if key.kek_id != self._provider.primary_id]
        done = Progress(0, len(stale))
        await self._note(caller, {"step": "start", "data_keys": len(stale)})
        yield done
        failed: list[str] = []
        for key in stale:
            try:
                await self._rewrap(key)
            except FailedPrecondition as err:
                failed.append(f"{key.tenant} version {key.version}: {err}")
            else:
                done = replace(done, count=done.count + 1)
                yield done
        for tenant in [tenant async for tenant in self._with_form_1()]:
            for column in SEALED_COLUMNS:
                async for _, unopened in self._reseal(tenant, column):
                    failed += unopened
        if failed:
            raise FailedPrecondition(_what_is_closed(failed))
        left = [one for one in await self.wrapping_keys() if one.data_keys and not one.is_primary]
        if left:
            raise FailedPrecondition(f"somebody still wraps with {left[0].id}: give all the same MUSTER_SEALING_KEY")
        await self._note(caller, {"step": "end", "data_keys": done.count})
        yield replace(done, is_done=True)

    async def _new_version(self, caller: Caller, tenant: TenantId) -> int:
        """Store the next data key and return its version; that of the newest one if a rotation is under way."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            await self._require(tx, tenant, alive=True)
            before = await tenant_keys.load(tx, [tenant])
        if len(before) > 1:
            return before[-1].version
        # Outside the transaction: a provider may be far away.
        made = await self._keyring.make(tenant, before[-1].version + 1 if before else 1)
        async with self._storage.begin(tenant, exclusive=True, timeout_s=EXCLUSIVE_TIMEOUT_S) as tx:
            await self._require(tx, tenant, alive=True)
            found = await tenant_keys.load(tx, [tenant])
            if [key.version for key in found] != [key.version for key in before]:
                return found[-1].version if found else 0
            await tenant_keys.add(tx, made)
            await self._audit(tx, caller, tenant, {"step": "start", "version": made.version})
        return made.version

    async def _reseal(self, tenant: TenantId, column: SealedColumn) -> AsyncIterator[tuple[int, list[str]]]:
        """Seal a column's values with the newest key, in batches; yield how many, and the places that do not open."""
        after: UUID | None = None
        while True:
            async with self._storage.begin(tenant) as tx:
                sealer = await self._keyring.sealer(tx, tenant)
                found = await sealed_values.others_after(tx, column, sealer.version, after, BATCH)
                changes, closed = self._sealed_anew(sealer, column, found)
                count = await sealed_values.replace(tx, column, changes) if changes else 0
            if found:
                after = found[-1].row
                yield count, closed
            if len(found) < BATCH:
                return

    def _sealed_anew(
        self, sealer: TenantSealer, column: SealedColumn, found: list[Value]
    ) -> tuple[list[Change], list[str]]:
        changes, closed = [], []
        for row, sealed in found:
            place = column.place(row)
            try:
                plain = sealer.open(sealed, place)
            except FailedPrecondition as err:
                closed.append(f"{place} (version {sealed_version(sealed)}): {err}")
                continue
            changes.append(Change(row, sealed, sealer.seal(plain, place, self._clock.random_bytes(NONCE_BYTES))))
        return changes, closed

    async def _destroy_old(self, caller: Caller, tenant: TenantId, resealed: int) -> int:
        """Destroy all versions but the newest and return that; 0 if something still needs them."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            newest = (await tenant_keys.load(tx, [tenant]))[-1].version
            if sum([await sealed_values.count_others(tx, column, newest) for column in SEALED_COLUMNS]):
                return 0
        # Alone: a writer that has read a value before it was sealed anew still needs the old key for it.
        async with self._storage.begin(tenant, exclusive=True, timeout_s=EXCLUSIVE_TIMEOUT_S) as tx:
            if (await tenant_keys.load(tx, [tenant]))[-1].version != newest:
                return 0
            destroyed = await tenant_keys.destroy_below(tx, newest)
            details = {"step": "end", "version": newest, "resealed": resealed, "destroyed": destroyed}
            await self._audit(tx, caller, tenant, details)
        self._keyring.forget(tenant)
        return newest

    async def _rewrap(self, key: StoredKey) -> None:
        anew = await self._keyring.rewrap(key)
        async with self._storage.begin(key.tenant) as tx:
            # False: a rotation has destroyed it, or somebody else did the same. The count at the end tells.
            await tenant_keys.replace(tx, key, anew)

    async def _all_keys(self) -> AsyncIterator[list[StoredKey]]:
        async for owners in self._owners():
            async with self._storage.begin_batch(owners) as tx:
                keys = await tenant_keys.load(tx, owners)
            yield keys

    async def _with_form_1(self) -> AsyncIterator[TenantId]:
        async for owners in self._owners():
            async with self._storage.begin_batch(owners) as tx:
                found = await sealed_values.with_form_1(tx, SEALED_COLUMNS[0], owners)
            for tenant in found:
                yield tenant

    async def _owners(self) -> AsyncIterator[list[TenantId]]:
        after: TenantId | None = None
        while True:
            async with self._storage.begin_batch(()) as tx:
                owners = await tenant_keys.owners_after(tx, after, OWNERS_AT_ONCE)
            if owners:
                yield owners
                after = owners[-1]
            if len(owners) < OWNERS_AT_ONCE:
                return

    async def _require(self, tx: Tx, tenant: TenantId, *, alive: bool = False) -> None:
        if alive and tenant != SYSTEM_TENANT:
            await tenants.require(tx, tenant)
        else:
            await tenants.require_owner(tx, tenant)

    async def _note(self, caller: Caller, details: dict[str, object]) -> None:
        details = {**details, "key_encryption_key": self._provider.primary_id}
        deed = Deed("key.rewrap", "key_encryption_key", self._provider.primary_id, details)
        async with self._storage.begin(SYSTEM_TENANT) as tx:
            await audit.append(tx, [self._scribe.event(SYSTEM_TENANT, caller, deed)])

    async def _audit(self, tx: Tx, caller: Caller, tenant: TenantId, details: dict[str, object]) -> None:
        deed = Deed("key.rotate", "data_key", str(details["version"]), details)
        await audit.append(tx, [self._scribe.event(tenant, caller, deed)])


def _what_is_closed(closed: list[str]) -> str:
    more = f", and {len(closed) - NAMED} more" if len(closed) > NAMED else ""
    return f"{len(closed)} cannot be opened, and no key was destroyed: {'; '.join(closed[:NAMED])}{more}"
