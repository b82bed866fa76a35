"""A process's keyring, a key management service, and targets with secrets, for the tests of keys."""

import asyncio
import itertools
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.audit import Actor, ActorType
from control_plane.domain.errors import FailedPrecondition
from control_plane.domain.ids import TargetId, TenantId
from control_plane.domain.secrets import TARGET_SECRETS, FormerKey, TenantSealer, sealed_version
from control_plane.services.caller import Caller
from control_plane.services.keyring import FileKeyProvider, Keyring
from control_plane.services.keys import KeyService, Progress
from control_plane.storage import targets, tenant_keys
from control_plane.storage.engine import Storage, Tx
from tests.fakes.clock import FakeClock
from tests.storage.world import target_of

KEY, NEW_KEY = b"k" * 32, b"n" * 32
NONCE = b"n" * 12
_seeds = itertools.count(1000)
OWNER = Caller(Actor(ActorType.OPERATOR, "owner"))


def keyring_of(*keys: bytes, seed: int = 0) -> Keyring:
    """Return what one process has; another seed is another process's dice."""
    clock = FakeClock(seed=seed)
    return Keyring(FileKeyProvider(keys, clock), clock, [FormerKey(key) for key in keys])


class FakeKms:
    """A key management service behind the Protocol and nothing more: no key-encryption key leaves it."""

    def __init__(self) -> None:
        self.primary_id, self.ids = "kms/1", frozenset({"kms/1"})
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Wrap with the primary key."""
        return self.primary_id, AESGCM(self._secret(self.primary_id)).encrypt(NONCE, key, context.encode())

    async def unwrap(self, kek_id: str, wrapped: bytes, context: str) -> bytes:
        """Unwrap, when it answers at all."""
        self.asked.append(context)
        await self.answers.wait()
        if kek_id not in self.ids:
            raise FailedPrecondition(f"the service has no key {kek_id}")
        return AESGCM(self._secret(kek_id)).decrypt(NONCE, wrapped, context.encode())

    def _secret(self, kek_id: str) -> bytes:
        return kek_id[-1].encode() * 32


@dataclass(frozen=True, slots=True)
class Sealed:
    """One process at work on a tenant's sealed values."""

    storage: Storage
    keyring: Keyring
    tenant: TenantId

    async def put(self, secret: str) -> TargetId:
        """Store a target with a secret."""
        target = target_of(self.tenant)
        async with self.storage.begin(self.tenant) as tx:
            await targets.insert(tx, replace(target, secret_sealed=await self.seal(tx, target.id, secret)))
        return target.id

    async def put_raw(self, sealed: bytes) -> TargetId:
        """Store a target with a secret that is already sealed, in whatever form."""
        target = target_of(self.tenant)
        async with self.storage.begin(self.tenant) as tx:
            await targets.insert(tx, replace(target, secret_sealed=sealed))
        return target.id

    async def write_raw(self, target: TargetId, sealed: bytes) -> None:
        """Store a sealed secret, in whatever form."""
        async with self.storage.begin(self.tenant) as tx:
            await tx.fetch(
                "UPDATE targets SET secret_sealed = %(sealed)b WHERE id = %(id)b", {"sealed": sealed, "id": target}
            )

    async def change(self, target_id: TargetId, secret: str) -> None:
        """Give a target another secret."""
        async with self.storage.begin(self.tenant) as tx:
            target = await targets.get(tx, target_id, lock=True)
            assert target is not None
            await targets.update(tx, replace(target, secret_sealed=await self.seal(tx, target_id, secret)))

    async def seal(self, tx: Tx, target: TargetId, secret: str) -> bytes:
        """Seal a secret for a target."""
        sealer = await self.keyring.sealer(tx, self.tenant)
        return sealer.seal(secret.encode(), TARGET_SECRETS.place(target), NONCE)

    async def read(self, target: TargetId) -> tuple[str, int]:
        """Return a target's secret, and the version of the key that sealed it."""
        async with self.storage.begin(self.tenant, read_only=True) as tx:
            found = await targets.get(tx, target)
            assert found is not None
            sealer = await self.opener(tx)
            opened = sealer.open(found.secret_sealed, TARGET_SECRETS.place(target)).decode()
            return opened, sealed_version(found.secret_sealed)

    async def opener(self, tx: Tx) -> TenantSealer:
        """Return what opens the tenant's secrets."""
        return (await self.keyring.sealers(tx, [self.tenant])).get(self.tenant) or self.keyring.keyless(self.tenant)

    async def versions(self) -> list[int]:
        """Return the versions of the tenant's data keys."""
        async with self.storage.begin(self.tenant, read_only=True) as tx:
            return [key.version for key in await tenant_keys.load(tx, [self.tenant])]

    async def rotate(self) -> list[Progress]:
        """Rotate the tenant's data key."""
        return [step async for step in self.service().rotate(OWNER, self.tenant)]

    async def rewrap(self) -> list[Progress]:
        """Wrap all tenants' data keys anew."""
        return [step async for step in self.service().rewrap(OWNER)]

    def service(self) -> KeyService:
        """Return this process's use cases."""
        return KeyService(self.storage, FakeClock(seed=next(_seeds)), self.keyring)


async def trail(storage: Storage, tenant: TenantId, action: str) -> list[dict[str, object]]:
    """Return the details of a tenant's events of one action by step, "start" first: the clock of these tests stands."""
    async with storage.begin(tenant, read_only=True) as tx:
        rows = await tx.fetch(
            "SELECT details FROM audit_events WHERE action = %(action)b::text ORDER BY details->>'step' DESC",
            {"action": action},
        )
    return [row[0] for row in rows]
