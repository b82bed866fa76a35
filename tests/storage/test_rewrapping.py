"""A new key-encryption key takes over what others wrapped; for all tenants, so each test has its own database."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.errors import FailedPrecondition
from control_plane.domain.ids import SYSTEM_TENANT
from control_plane.services.keyring import Keyring, kek_id
from control_plane.services.keys import Progress, WrappingKey
from control_plane.storage.engine import Storage
from tests.fakes.clock import FakeClock
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.sealed_world import KEY, NEW_KEY, NONCE, OWNER, FakeKms, Sealed, keyring_of, trail
from tests.storage.world import make_tenant

LOST = b"l" * 32
_numbers = itertools.count(1)


@pytest.fixture
def database(postgres_server: PostgresServer, template_database: Database) -> Iterator[Database]:
    """A database of this test's own."""
    name = f"muster_rewrap_{next(_numbers)}"
    yield postgres_server.create(name, template_database.name)
    postgres_server.drop(name)


async def sealed(storage: Storage, key: bytes = KEY) -> Sealed:
    return Sealed(storage, keyring_of(key), await make_tenant(storage))


async def test_a_new_sealing_key_takes_over_all_data_keys(storage: Storage) -> None:
    worlds = [await sealed(storage) for _ in range(3)]
    made = [await each.put("s3cret") for each in worlds]
    assert await worlds[0].service().wrapping_keys() == [WrappingKey(kek_id(KEY), True, True, 3)]
    here = replace(worlds[0], keyring=keyring_of(NEW_KEY, KEY, seed=4))
    assert await here.rewrap() == [*(Progress(n, 3) for n in range(4)), Progress(3, 3, is_done=True)]
    assert await here.service().wrapping_keys() == [
        WrappingKey(kek_id(NEW_KEY), True, True, 3),
        WrappingKey(kek_id(KEY), False, True, 0),
    ]
    for each, target in zip(worlds, made, strict=True):
        assert await replace(each, keyring=keyring_of(NEW_KEY)).read(target) == ("s3cret", 1)
    common = {"key_encryption_key": kek_id(NEW_KEY), "data_keys": 3}
    assert await trail(storage, SYSTEM_TENANT, "key.rewrap") == [
        {"step": "start", **common},
        {"step": "end", **common},
    ]
    # Once more changes nothing.
    assert await here.rewrap() == [Progress(0, 0), Progress(0, 0, is_done=True)]


async def test_an_interruption_leaves_what_can_be_gone_on_with(storage: Storage) -> None:
    worlds = [await sealed(storage) for _ in range(3)]
    made = [await each.put("s3cret") for each in worlds]
    here = replace(worlds[0], keyring=keyring_of(NEW_KEY, KEY, seed=4))
    steps = here.service().rewrap(OWNER)
    assert [(await anext(steps)).count for _ in range(2)] == [0, 1]
    await steps.aclose()
    for each, target in zip(worlds, made, strict=True):
        assert await replace(each, keyring=here.keyring).read(target) == ("s3cret", 1)
    assert (await here.rewrap())[-1] == Progress(2, 2, is_done=True)


async def test_a_lost_key_is_named_and_the_rest_is_wrapped(storage: Storage) -> None:
    lost, fine = await sealed(storage, LOST), await sealed(storage)
    await lost.put("s3cret")
    target = await fine.put("s3cret")
    here = replace(fine, keyring=keyring_of(NEW_KEY, KEY, seed=4))
    with pytest.raises(FailedPrecondition, match=kek_id(LOST)):
        await here.rewrap()
    assert await replace(fine, keyring=keyring_of(NEW_KEY)).read(target) == ("s3cret", 1)
    assert WrappingKey(kek_id(LOST), False, False, 1) in await here.service().wrapping_keys()


async def test_what_a_retired_key_sealed_itself_no_longer_needs_it(storage: Storage) -> None:
    one = await sealed(storage)
    target = await one.put_raw(b"")
    bound = f"{one.tenant}|targets|{target}|secret".encode()
    await one.write_raw(target, b"\x01" + NONCE + AESGCM(KEY).encrypt(NONCE, b"old", bound))
    await replace(one, keyring=keyring_of(NEW_KEY, KEY, seed=4)).rewrap()
    assert await replace(one, keyring=keyring_of(NEW_KEY)).read(target) == ("old", 1)


async def test_a_key_management_service_needs_nothing_but_the_protocol(storage: Storage) -> None:
    kms = FakeKms()
    one = Sealed(storage, Keyring(kms, FakeClock(seed=7)), await make_tenant(storage))
    target = await one.put("s3cret")
    await one.rotate()
    assert await one.read(target) == ("s3cret", 2)
    kms.primary_id, kms.ids = "kms/2", frozenset({"kms/1", "kms/2"})
    assert (await one.rewrap())[-1] == Progress(1, 1, is_done=True)
    kms.ids = frozenset({"kms/2"})
    assert await replace(one, keyring=Keyring(kms, FakeClock())).read(target) == ("s3cret", 2)
