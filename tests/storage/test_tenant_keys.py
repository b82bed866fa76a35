"""Data keys on a real database: made once, opened by whom they are for, remembered for a while."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.services import keyring as keyring_module
from control_plane.services.keyring import MAX_AGE_S, Keyring, kek_id
from control_plane.storage import tenant_keys
from control_plane.storage.engine import Storage
from tests.fakes.clock import FakeClock
from tests.storage.sealed_world import KEY, NEW_KEY, FakeKms, Sealed, keyring_of
from tests.storage.world import eventually_blocked, make_tenant, new_id


async def sealed(storage: Storage, keyring: Keyring | None = None) -> Sealed:
    return Sealed(storage, keyring or keyring_of(KEY), await make_tenant(storage))


async def stored(storage: Storage, tenant: TenantId) -> list[tenant_keys.StoredKey]:
    async with storage.begin(tenant, read_only=True) as tx:
        return await tenant_keys.load(tx, [tenant])


async def test_the_first_secret_makes_the_first_key(storage: Storage) -> None:
    one = await sealed(storage)
    assert await one.versions() == []
    target = await one.put("s3cret")
    assert await one.read(target) == ("s3cret", 1)
    (key,) = await stored(storage, one.tenant)
    assert (key.version, key.kek_id) == (1, kek_id(KEY))
    assert len(key.kek_id) == 16


async def test_the_installation_has_a_key_too(storage: Storage) -> None:
    keyring = keyring_of(KEY)
    async with storage.begin(SYSTEM_TENANT) as tx:
        value = (await keyring.sealer(tx, SYSTEM_TENANT)).seal(b"x", "operators|1|note", b"n" * 12)
    async with storage.begin_batch([SYSTEM_TENANT]) as tx:
        sealers = await keyring_of(KEY).sealers(tx, [SYSTEM_TENANT])
    assert sealers[SYSTEM_TENANT].open(value, "operators|1|note") == b"x"


async def test_two_processes_make_one_first_key(storage: Storage) -> None:
    one = await sealed(storage)
    two = replace(one, keyring=keyring_of(KEY, seed=2))
    async with storage.begin(one.tenant) as tx:
        mine = await one.keyring.sealer(tx, one.tenant)
        theirs = asyncio.create_task(two.put("theirs"))
        await eventually_blocked(storage)
        value = mine.seal(b"mine", "t|1|c", b"n" * 12)
    target = await theirs
    assert await one.versions() == [1]
    assert await one.read(target) == ("theirs", 1)
    async with storage.begin(one.tenant) as tx:
        assert (await two.keyring.sealer(tx, two.tenant)).open(value, "t|1|c") == b"mine"


async def test_a_key_that_was_rolled_back_seals_nothing_later(storage: Storage) -> None:
    one = await sealed(storage)
    with contextlib.suppress(InterruptedError):
        async with storage.begin(one.tenant) as tx:
            await one.keyring.sealer(tx, one.tenant)
            raise InterruptedError
    elsewhere = replace(one, keyring=keyring_of(KEY, seed=2))
    first = await elsewhere.put("elsewhere")
    second = await one.put("here")
    assert [await who.read(what) for who in (one, elsewhere) for what in (first, second)] == [
        ("elsewhere", 1),
        ("here", 1),
    ] * 2


async def test_many_tenants_keys_come_with_one_question(storage: Storage) -> None:
    keyring = keyring_of(KEY)
    one, two, keyless = [await sealed(storage, keyring) for _ in range(3)]
    for each in (one, two):
        await each.put("s3cret")
    tenants = [one.tenant, two.tenant, keyless.tenant, TenantId(new_id())]
    async with storage.begin_batch(tenants) as tx:
        assert set(await keyring.sealers(tx, tenants)) == {one.tenant, two.tenant}
    async with storage.begin_batch([one.tenant]) as tx:
        assert set(await keyring.sealers(tx, tenants)) == {one.tenant}


async def test_a_tenant_does_not_see_anothers_keys(storage: Storage) -> None:
    one, two = await sealed(storage), await sealed(storage)
    await two.put("s3cret")
    async with storage.begin(one.tenant) as tx:
        assert await tenant_keys.load(tx, [two.tenant]) == []


async def test_a_wrapped_key_is_bound_to_its_tenant_and_version(storage: Storage) -> None:
    one, two = await sealed(storage), await sealed(storage)
    await one.put("s3cret")
    (mine,) = await stored(storage, one.tenant)
    for tenant, version in ((two.tenant, 1), (one.tenant, 2)):
        async with storage.begin(tenant) as tx:
            await tenant_keys.add(tx, replace(mine, tenant=tenant, version=version))
            sealer = await keyring_of(KEY).sealer(tx, tenant)
        with pytest.raises(FailedPrecondition, match="cannot be unwrapped"):
            sealer.seal(b"x", "t|1|c", b"n" * 12)


async def test_an_unknown_key_encryption_key_is_named_and_stops_nobody_else(storage: Storage) -> None:
    lost = await sealed(storage, keyring_of(NEW_KEY))
    target = await lost.put("s3cret")
    here = keyring_of(KEY)
    fine = await sealed(storage, here)
    other = await fine.put("fine")
    with pytest.raises(FailedPrecondition, match=kek_id(NEW_KEY)):
        await replace(lost, keyring=here).read(target)
    async with storage.begin_batch([lost.tenant, fine.tenant]) as tx:
        assert set(await here.sealers(tx, [lost.tenant, fine.tenant])) == {lost.tenant, fine.tenant}
    assert await fine.read(other) == ("fine", 1)
    # The key comes back: nothing of the failure is remembered.
    assert await replace(lost, keyring=keyring_of(KEY, NEW_KEY)).read(target) == ("s3cret", 1)


async def test_opened_keys_are_remembered_for_a_while(storage: Storage) -> None:
    kms, clock = FakeKms(), FakeClock()
    one = await sealed(storage, Keyring(kms, clock))
    target = await one.put("s3cret")
    once = [f"{one.tenant}|1"]
    for _ in range(2):
        assert await one.read(target) == ("s3cret", 1)
    assert kms.asked == once
    clock.advance(MAX_AGE_S)
    await one.read(target)
    assert kms.asked == once * 2
    one.keyring.forget(one.tenant)
    await one.read(target)
    assert kms.asked == once * 3


async def test_so_many_tenants_are_remembered_and_no_more(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "MAX_TENANTS", 2)
    kms = FakeKms()
    keyring = Keyring(kms, FakeClock())
    worlds = [await sealed(storage, keyring) for _ in range(3)]
    made = [await each.put("s3cret") for each in worlds]
    kms.asked.clear()
    for each, target in reversed(list(zip(worlds, made, strict=True))):
        await each.read(target)
    assert kms.asked == [f"{worlds[0].tenant}|1"]


async def test_a_provider_that_does_not_answer_is_unavailable(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = FakeKms()
    one = await sealed(storage, Keyring(kms, FakeClock()))
    target = await one.put("s3cret")
    one.keyring.forget(one.tenant)
    kms.answers.clear()
    monkeypatch.setattr(keyring_module, "PROVIDER_TIMEOUT_S", 0.0)
    with pytest.raises(Unavailable, match="key provider"):
        await one.read(target)
