"""Dispatch opens many tenants' secrets at once: what a rotation has just moved, and what cannot be opened at all."""

from collections.abc import Iterable

from control_plane.domain.ids import TenantId
from control_plane.domain.jobs import Fence, JobKey
from control_plane.domain.secrets import TenantSealer
from control_plane.queue.model import Claim
from control_plane.services.dispatch import Assignment, Dispatcher
from control_plane.services.keyring import FileKeyProvider, Keyring
from control_plane.services.sessions import Session
from control_plane.storage import resources
from control_plane.storage.engine import Storage, Tx
from tests.fakes.clock import FakeClock
from tests.storage.sealed_world import KEY, Sealed, keyring_of
from tests.storage.world import make_tenant, user


class SlowKeyring(Keyring):
    """Answers the first question as if a rotation had ended just after it was asked."""

    def __init__(self, before: dict[TenantId, TenantSealer]) -> None:
        clock = FakeClock()
        super().__init__(FileKeyProvider([KEY], clock), clock)
        self._before = [before]

    async def sealers(self, tx: Tx, tenants: Iterable[TenantId]) -> dict[TenantId, TenantSealer]:
        return self._before.pop() if self._before else await super().sealers(tx, tenants)


async def claim_in(one: Sealed, secret: str | bytes) -> Claim:
    """Return a claim on a new user in a new target that has this secret, or this sealed value."""
    target = await (one.put(secret) if isinstance(secret, str) else one.put_raw(secret))
    ada = user("ada")
    async with one.storage.begin(one.tenant) as tx:
        await resources.insert(tx, [ada])
    return Claim(JobKey(one.tenant, target, ada.id), Fence(1, 1), 1, 1, 0)


async def assigned(storage: Storage, keyring: Keyring, *claims: Claim) -> Assignment:
    session = Session("worker-1", len(claims), [])
    session.credit = len(claims)
    return await Dispatcher(storage, keyring, FakeClock()).assign(claims, [session])


async def test_one_batch_opens_the_secrets_of_many_tenants(storage: Storage) -> None:
    worlds = [Sealed(storage, keyring_of(KEY), await make_tenant(storage)) for _ in range(3)]
    claims = [await claim_in(each, f"secret {n}") for n, each in enumerate(worlds[:2])]
    broken = await claim_in(worlds[2], b"\x02garbage")
    found = await assigned(storage, keyring_of(KEY), *claims, broken)
    (grant,) = found.grants
    assert sorted(one.secret for one in grant.targets) == ["secret 0", "secret 1"]
    assert [one.key for one in found.broken] == [broken.key]


async def test_a_rotation_between_two_reads_costs_no_lease(storage: Storage) -> None:
    one = Sealed(storage, keyring_of(KEY), await make_tenant(storage))
    claim = await claim_in(one, "s3cret")
    async with storage.begin_batch([one.tenant]) as tx:
        before = await one.keyring.sealers(tx, [one.tenant])
    await one.rotate()
    found = await assigned(storage, SlowKeyring(before), claim)
    assert [opened.secret for opened in found.grants[0].targets] == ["s3cret"]
    assert found.broken == ()
