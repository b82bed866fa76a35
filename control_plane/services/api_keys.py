"""Makes, lists and revokes API keys. Who is no owner sees and makes only keys of their own."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from control_plane.domain.api_keys import DEFAULT_TTL, OPERATOR_ENV, SERVICE_ENV, ApiKey
from control_plane.domain.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from control_plane.domain.identities import Identity, Role
from control_plane.domain.ids import SYSTEM_TENANT, ApiKeyId, OperatorId, TenantId, uuid7
from control_plane.domain.tokens import SALT_BYTES, hash_token
from control_plane.runtime.clock import Clock
from control_plane.scim.bearer import RANDOM_BYTES, compose
from control_plane.scim.networks import normal_network
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.kdf import Kdf
from control_plane.storage import api_keys, audit, operators, tenants
from control_plane.storage.engine import Storage, Tx

# Keys of one operator, or of one service, that work at the same time.
MAX_ACTIVE = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to be made, for ``operator`` or for ``service``. Without ``ttl`` it lives for a year."""

    operator: OperatorId | None = None
    service: str | None = None
    label: str = ""
    scopes: tuple[str, ...] = ()
    tenants: tuple[TenantId, ...] = ()
    networks: tuple[str, ...] = ()
    ttl: timedelta | None = None
    never_expires: bool = False


class ApiKeyService:
    """The use cases of muster.identity.v1.ApiKeyService."""

    def __init__(self, storage: Storage, clock: Clock, kdf: Kdf, scopes: Collection[str], *, iterations: int) -> None:
        """``scopes`` are all that a service can have; ``iterations`` is for PBKDF2 of new keys."""
        self._storage, self._clock, self._kdf = storage, clock, kdf
        self._scopes, self._iterations = scopes, iterations
        self._scribe = Scribe(clock)

    async def create(self, caller: Caller, identity: Identity, wanted: Wanted) -> tuple[ApiKey, str]:
        """Return a new key and its secret, which is kept nowhere."""
        self._refuse_unless_sound(identity, wanted)
        await self._refuse_unknown_tenants(wanted.tenants)
        # Before the hash is computed, and again when nobody else can make one.
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            await self._refuse_too_many(tx, wanted)
        key, secret = await self._new(caller, wanted)
        async with self._storage.begin(SYSTEM_TENANT, exclusive=True) as tx:
            await self._refuse_too_many(tx, wanted)
            if wanted.operator is not None:
                owner = await operators.get(tx, wanted.operator)
                if owner is None:
                    raise NotFound("operator", wanted.operator)
                if owner.disabled_at is not None:
                    raise FailedPrecondition("a disabled operator gets no key: enable the operator first")
            await api_keys.insert(tx, key)
            await self._audit(tx, caller, "api_key.create", key)
        return key, secret

    async def list(self, identity: Identity, before: ApiKeyId | None, limit: int) -> list[ApiKey]:
        """Return up to ``limit`` keys created before ``before``, newest first: an owner sees all."""
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            return await api_keys.list_before(tx, before, _sees_only(identity), limit)

    async def revoke(self, caller: Caller, identity: Identity, key_id: ApiKeyId) -> ApiKey:
        """Revoke at once; a key that is revoked already stays as it is. NotFound for somebody else's."""
        async with self._storage.begin(SYSTEM_TENANT) as tx:
            key = await api_keys.get(tx, key_id, _sees_only(identity), lock=True)
            if key is None:
                raise NotFound("API key", key_id)
            if key.revoked_at is not None:
                return key
            now = self._clock.now()
            await api_keys.set_revoked(tx, key.id, now)
            await self._audit(tx, caller, "api_key.revoke", key)
        return replace(key, revoked_at=now)

    def _refuse_unless_sound(self, identity: Identity, wanted: Wanted) -> None:
        """Raise what is wrong with the wish: nobody makes a key that may do more than they may themselves."""
        own = _sees_only(identity)
        if own is not None and wanted.operator is None:
            raise PermissionDenied("only owners make keys for services")
        if own is not None and wanted.operator != own:
            raise NotFound("operator", wanted.operator)
        if wanted.operator is not None and (wanted.scopes or wanted.tenants):
            raise InvalidArgument("scopes", "an operator's key may do what the operator may: no scopes, no tenant_ids")
        unknown = sorted(set(wanted.scopes) - set(self._scopes))
        if wanted.service is not None and (unknown or not wanted.scopes):
            raise InvalidArgument("scopes", "names one or more of " + ", ".join(self._scopes))
        if wanted.never_expires and wanted.ttl is not None:
            raise InvalidArgument("ttl", "goes without never_expires")

    async def _refuse_too_many(self, tx: Tx, wanted: Wanted) -> None:
        if await api_keys.count_active(tx, wanted.operator, wanted.service, self._clock.now()) >= MAX_ACTIVE:
            raise FailedPrecondition(f"{MAX_ACTIVE} keys of this owner work already: revoke one first")

    async def _refuse_unknown_tenants(self, wanted: Collection[TenantId]) -> None:
        if wanted:
            async with self._storage.begin_batch(()) as tx:
                for tenant in wanted:
                    await tenants.existing(tx, tenant)

    async def _new(self, caller: Caller, wanted: Wanted) -> tuple[ApiKey, str]:
        now = self._clock.now()
        env = SERVICE_ENV if wanted.operator is None else OPERATOR_ENV
        presented = compose(env, self._clock.random_bytes(RANDOM_BYTES))
        networks = _canonical(wanted.networks)
        salt = self._clock.random_bytes(SALT_BYTES)
        key = ApiKey(
            id=ApiKeyId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10))),
            key_id=presented.key_id,
            label=wanted.label,
            hash=await self._kdf.run(hash_token, presented.text, salt, self._iterations),
            operator=wanted.operator,
            service=wanted.service,
            scopes=tuple(sorted(wanted.scopes)),
            tenants=wanted.tenants,
            allowed_networks=networks,
            created_at=now,
            created_by=caller.actor.id,
            expires_at=None if wanted.never_expires else now + (wanted.ttl or DEFAULT_TTL),
        )
        return key, presented.text

    async def _audit(self, tx: Tx, caller: Caller, action: str, key: ApiKey) -> None:
        details: dict[str, object] = {"key_id": key.key_id, "label": key.label}
        if key.service is None:
            details["operator_id"] = str(key.operator)
        else:
            details |= {"service": key.service, "scopes": list(key.scopes), "tenants": len(key.tenants)}
        await audit.append(
            tx, [self._scribe.event(SYSTEM_TENANT, caller, Deed(action, "api_key", str(key.id), details))]
        )


def _sees_only(identity: Identity) -> OperatorId | None:
    """Return whose keys alone the caller may see and make; None: everybody's."""
    return None if identity.role is Role.OWNER else OperatorId(UUID(identity.id))


def _canonical(networks: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(normal_network(each) for each in networks))
    except ValueError as err:
        raise InvalidArgument("allowed_networks", str(err)) from err
