"""What belongs to persons in the audit trail: sealed with a key of each person, so that it can be erased.

An event's ``personal`` is a JSON object. Stored is AES-256-GCM of salt and object, bound to tenant and event, behind
its nonce. The chain covers ``commitment``, SHA-256 over salt and object: it stays when the key is destroyed, and says
nothing then. The keys are in storage/audit_subjects.py, sealed with the tenant's data key. What was opened here counts
for ``MAX_AGE_S`` and serves for sealing only: whoever reads the trail always asks the database for the key.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cachetools import TTLCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.audit import AuditEvent
from control_plane.domain.errors import Contended, MusterError
from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.secrets import KEY_BYTES, NONCE_BYTES, SUBJECT_KEYS, TenantSealer
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.keyring import Current, Keyring
from control_plane.storage import audit, audit_subjects
from control_plane.storage.audit_subjects import SealedKeys, Subject
from control_plane.storage.engine import Tx

log = get_logger(__name__)

SALT_BYTES = 16
# Opened keys of so many persons are remembered, so long.
MAX_KEYS, MAX_AGE_S = 10_000, 300.0


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is shown: ``personal`` is JSON text, "" if there is none, it is erased, or was not asked for."""

    event: AuditEvent
    personal: str = ""
    is_erased: bool = False


class Trail:
    """The way into the trail for events with personal values, and the way out. One for each process."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring, self._clock = keyring, clock
        # In order of their last use; the time is that of the opening.
        self._keys: TTLCache[Subject, bytes] = TTLCache(MAX_KEYS, MAX_AGE_S, clock.monotonic)

    async def append(
        self,
        tx: Tx,
        events: Sequence[AuditEvent],
        born: Collection[ResourceId] = (),
        stored: SealedKeys | None = None,
    ) -> None:
        """Add events to the trail in a ``begin`` transaction, which has to be that of what they tell of.

        ``born`` are persons who came to be in this transaction and have no event before: a key is made for each without
        a question. ``stored`` are the keys of all the others, if the caller has read them already. Of a person who is
        erased, what is personal is dropped.
        """
        persons = {one for _, one in _persons(events)}
        new = [one for one in persons if one in born]
        keys = await self._keys_of(tx, persons.difference(new), stored) if len(new) < len(persons) else {}
        if not new:
            await audit.append(tx, self._sealed(events, keys))
            return
        made = {one: self._clock.random_bytes(KEY_BYTES) for one in new}
        events = self._sealed(events, keys | {(tx.tenant, one): key for one, key in made.items()})
        current = self._keyring.remembered(tx.tenant)
        if current is not None and await self._append_with(tx, events, made, current):
            return
        if not await self._append_with(tx, events, made, await self._keyring.current(tx, tx.tenant)):
            raise Contended  # somebody wraps the data key anew, just between the two

    async def append_many(self, tx: Tx, events: Sequence[AuditEvent]) -> None:
        """Add events of several tenants in a batch transaction. Of who has no key, what is personal is dropped."""
        persons = _persons(events)
        if persons:
            known = self._known(persons)
            _, read = await self._read(tx, persons - known.keys(), keep=True)
            keys = known | read
            events = self._sealed(events, keys)
        await audit.append(tx, events)

    async def entries(self, tx: Tx, events: Sequence[AuditEvent], *, with_personal: bool) -> list[Entry]:
        """Return stored events as they are shown; any transaction that sees them will do."""
        persons = _persons(events)
        if not with_personal:
            sealed = await audit_subjects.read(tx, persons)
            return [self._entry(one, sealed, {}) for one in events]
        sealed, keys = await self._read(tx, persons)
        return [self._entry(one, sealed, keys) for one in events]

    def forget(self, subject: Subject) -> None:
        """Drop a person's key from memory: it is being destroyed."""
        self._keys.pop(subject, None)

    def _entry(self, event: AuditEvent, sealed: dict[Subject, bytes | None], keys: dict[Subject, bytes]) -> Entry:
        if event.subject is None or event.personal is None:
            return Entry(event)
        whose = event.tenant, event.subject
        # A key that is not there at all went with its tenant, or with whoever tampered with the table.
        if sealed.get(whose) is None:
            return Entry(event, is_erased=True)
        return Entry(event, _revealed(event, keys[whose], event.personal) if whose in keys else "")

    def _sealed(self, events: Sequence[AuditEvent], keys: dict[Subject, bytes]) -> list[AuditEvent]:
        return [self._seal(one, keys) for one in events]

    def _seal(self, event: AuditEvent, keys: dict[Subject, bytes]) -> AuditEvent:
        if event.personal is None:
            return event
        key = keys.get((event.tenant, event.subject)) if event.subject is not None else None
        if key is None:
            return replace(event, personal=None, commitment=None)
        salted = self._clock.random_bytes(SALT_BYTES) + event.personal
        nonce = self._clock.random_bytes(NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, salted, _bound_to(event))
        return replace(event, personal=sealed, commitment=hashlib.sha256(salted).digest())

    async def _append_with(
        self, tx: Tx, events: Sequence[AuditEvent], made: Mapping[ResourceId, bytes], current: Current
    ) -> bool:
        keys = {one: self._sealed_key(current.sealer, one, key) for one, key in made.items()}
        return await audit.append_with_keys(tx, events, keys, current.key)

    async def _keys_of(self, tx: Tx, persons: Iterable[ResourceId], given: SealedKeys | None) -> dict[Subject, bytes]:
        """Return the key of each person who is not erased; who has none gets one."""
        wanted = {(tx.tenant, one) for one in persons}
        known, asked = self._known(wanted), self._unknown(wanted)
        if not asked:
            return known
        if given is None:
            stored = await audit_subjects.read(tx, asked)
        else:
            stored = {whose: given[whose[1]] for whose in asked if whose[1] in given}
        known |= await self._open_stored(tx, _alive(stored))
        keyless = sorted(one for _, one in asked - stored.keys())
        return known | await self._ensured(tx, keyless) if keyless else known

    async def _open_stored(self, tx: Tx, sealed: dict[Subject, bytes]) -> dict[Subject, bytes]:
        """Return opened keys of the tenant's persons; what needs another data key than the one in memory asks."""
        if not sealed:
            return {}
        current = self._keyring.remembered(tx.tenant)
        if current is not None:
            with suppress(MusterError):
                return self._open(tx, sealed, {tx.tenant: current.sealer}, keep=True)
        return self._open(tx, sealed, {tx.tenant: await self._keyring.sealer(tx, tx.tenant)}, keep=True)

    async def _ensured(self, tx: Tx, persons: Iterable[ResourceId]) -> dict[Subject, bytes]:
        """Return the keys of persons who had none: those made here, or by somebody else at the same time."""
        sealer = await self._keyring.sealer(tx, tx.tenant)
        made = [(one, self._sealed_key(sealer, one, self._clock.random_bytes(KEY_BYTES))) for one in persons]
        theirs = await audit_subjects.ensure(tx, made, self._clock.now())
        # Not kept: what this transaction wrote may be rolled back.
        alive = _alive({(tx.tenant, one): key for one, key in theirs.items()})
        return self._open(tx, alive, {tx.tenant: sealer})

    async def _read(
        self, tx: Tx, persons: Iterable[Subject], *, keep: bool = False
    ) -> tuple[dict[Subject, bytes | None], dict[Subject, bytes]]:
        """Return the keys of ``persons`` sealed and, as far as they can be, opened; any transaction will do.

        What cannot be opened stops nobody: it is logged, and left out.
        """
        sealed, opened, failed = await self._try(tx, persons, keep=keep)
        if failed:
            # A rotation that ended between the two reads has sealed them with a key that we did not see.
            again, more, failed = await self._try(tx, failed, keep=keep)
            sealed, opened = sealed | again, opened | more
        for (tenant, _), err in failed.items():
            log.warning("a person's key cannot be opened", tenant=str(tenant), error=str(err))
        return sealed, opened

    async def _try(
        self, tx: Tx, persons: Iterable[Subject], *, keep: bool
    ) -> tuple[dict[Subject, bytes | None], dict[Subject, bytes], dict[Subject, MusterError]]:
        sealed = await audit_subjects.read(tx, persons)
        alive = _alive(sealed)
        sealers = await self._keyring.sealers(tx, {tenant for tenant, _ in alive}) if alive else {}
        failed: dict[Subject, MusterError] = {}
        return sealed, self._open(tx, alive, sealers, keep=keep, failed=failed), failed

    def _open(
        self,
        tx: Tx,
        sealed: dict[Subject, bytes],
        sealers: Mapping[TenantId, TenantSealer],
        *,
        keep: bool = False,
        failed: dict[Subject, MusterError] | None = None,
    ) -> dict[Subject, bytes]:
        """Return opened keys. ``failed`` takes those that cannot be: without it the first one raises its error."""
        opened = {}
        for (tenant, subject), key in sealed.items():
            sealer = sealers.get(tenant) or self._keyring.keyless(tenant)
            try:
                opened[tenant, subject] = sealer.open(key, SUBJECT_KEYS.place(subject))
            except MusterError as err:
                if failed is None:
                    raise
                failed[tenant, subject] = err
            else:
                if keep and subject not in tx.made:
                    self._keys[tenant, subject] = opened[tenant, subject]
        return opened

    def _sealed_key(self, sealer: TenantSealer, subject: ResourceId, key: bytes) -> bytes:
        return sealer.seal(key, SUBJECT_KEYS.place(subject), self._clock.random_bytes(NONCE_BYTES))

    def _known(self, persons: Iterable[Subject]) -> dict[Subject, bytes]:
        return {whose: key for whose in persons if (key := self._keys.get(whose)) is not None}

    def _unknown(self, persons: Iterable[Subject]) -> set[Subject]:
        wanted = set(persons)
        return wanted - self._known(wanted).keys()


def _persons(events: Iterable[AuditEvent]) -> set[Subject]:
    return {(one.tenant, one.subject) for one in events if one.subject is not None and one.personal is not None}


def _alive(keys: dict[Subject, bytes | None]) -> dict[Subject, bytes]:
    return {whose: key for whose, key in keys.items() if key is not None}


def _bound_to(event: AuditEvent) -> bytes:
    return f"{event.tenant}|{event.id}".encode()


def _revealed(event: AuditEvent, key: bytes, sealed: bytes) -> str:
    """Return the JSON text of a stored event's personal values."""
    try:
        salted = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound_to(event))
    except (InvalidTag, ValueError):
        # Somebody wrote it with another key, or moved it: verification names the event, the list goes on.
        log.warning("personal values cannot be opened", event_id=str(event.id))
        return ""
    if hashlib.sha256(salted).digest() != event.commitment:
        # Somebody who has the key wrote other ones: what the chain vouches for are not these.
        log.error("personal values are not those that were sealed", event_id=str(event.id))
        return ""
    return salted[SALT_BYTES:].decode()
