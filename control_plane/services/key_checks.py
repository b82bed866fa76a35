"""Checks API keys, with every call: PBKDF2 runs for what is not remembered, but the row is read each time."""

from datetime import timedelta

from control_plane.domain.api_keys import ApiKey, fault_of
from control_plane.domain.audit import ActorType
from control_plane.domain.identities import Identity, Role
from control_plane.domain.ids import SYSTEM_TENANT
from control_plane.runtime.clock import Clock
from control_plane.scim.bearer import env_of, key_id_of
from control_plane.services import proofs
from control_plane.services.kdf import Kdf
from control_plane.services.token_memory import TokenMemory
from control_plane.storage import api_keys
from control_plane.storage.api_keys import KeyOwner
from control_plane.storage.engine import Storage

USE_NOTED_EVERY = timedelta(minutes=1)


class CredentialRefused(Exception):
    """The caller is not told why: ``cause`` is for metrics and logs only."""

    def __init__(self, cause: str) -> None:
        super().__init__("the credential was refused")
        self.cause = cause


class ApiKeyChecks:
    """Says whose an API key is. Revoking it, or disabling its owner, is in force with the next call."""

    def __init__(self, storage: Storage, clock: Clock, kdf: Kdf) -> None:
        self._storage, self._clock, self._kdf = storage, clock, kdf
        self._memory = TokenMemory(clock)

    async def identify(self, text: str, address: str, spiffe_id: str) -> Identity:
        """Return who presents the key ``text`` from ``address``; CredentialRefused for every reason to refuse."""
        key_id = key_id_of(text)
        if key_id is None:
            raise CredentialRefused("malformed")
        digest = self._memory.digest(text)
        if self._memory.hash_of(digest) is not None:
            return await self._checked(key_id, digest, text, address, spiffe_id)
        # Many calls may come at once with a key that is new here: it is looked up and hashed for the first, and one
        # after the other they find it done.
        async with self._memory.alone(digest):
            return await self._checked(key_id, digest, text, address, spiffe_id)

    async def _checked(self, key_id: str, digest: bytes, text: str, address: str, spiffe_id: str) -> Identity:
        if self._memory.tenant_of_mismatch(digest) is not None:
            raise CredentialRefused("mismatch")
        if not self._memory.may_look_up(key_id, address):
            raise CredentialRefused("throttled")
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            found = await api_keys.find_by_key_id(tx, key_id)
        if found is None:
            raise CredentialRefused("unknown")
        self._memory.note_known(key_id, address)
        key, owner = found
        fault = fault_of(key, self._clock.now(), address)
        if fault is None and owner is not None and owner.is_disabled:
            fault = "disabled"
        if fault is not None:
            raise CredentialRefused(fault)
        await self._prove(digest, text, key, address)
        await self._note_use(key, address)
        return _identity(key, owner, spiffe_id)

    async def _prove(self, digest: bytes, text: str, key: ApiKey, address: str) -> None:
        """Return if ``text`` is the key: from memory, or after PBKDF2."""
        if self._memory.hash_of(digest) == key.hash:
            return
        # The word in front is part of what was hashed; comparing it first saves the work.
        if env_of(text) != key.env or not await self._matches(text, key, address):
            self._memory.note_mismatch(digest, "")
            raise CredentialRefused("mismatch")
        self._memory.note_match(digest, key.hash)

    async def _matches(self, text: str, key: ApiKey, address: str) -> bool:
        try:
            return await proofs.is_match(self._memory, self._kdf, text, key, address)
        except proofs.Throttled:
            raise CredentialRefused("throttled") from None

    async def _note_use(self, key: ApiKey, address: str) -> None:
        now = self._clock.now()
        since = now - USE_NOTED_EVERY
        if key.last_used_at is None or key.last_used_at < since:
            async with self._storage.begin(SYSTEM_TENANT) as tx:
                await api_keys.note_use(tx, key.id, now, address, since)


def _identity(key: ApiKey, owner: KeyOwner | None, spiffe_id: str) -> Identity:
    if owner is not None:
        return Identity(owner.role.role, ActorType.OPERATOR, str(key.operator), owner.name, peer=spiffe_id)
    scopes, tenants = frozenset(key.scopes), frozenset(key.tenants) or None
    return Identity(Role.SERVICE, ActorType.SERVICE, key.service or "", key.label, scopes, tenants, spiffe_id)
