"""Rotation on a real database: everything sealed anew, old keys gone, nothing lost, whatever happens beside it."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.errors import FailedPrecondition, NotFound
from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.secrets import SUBJECT_KEYS, TARGET_SECRETS, sealed_version
from control_plane.services import keys as keys_module
from control_plane.services.keyring import Keyring
from control_plane.services.keys import Progress
from control_plane.storage import audit_subjects, targets
from control_plane.storage.engine import Storage
from tests.storage.sealed_world import KEY, NONCE, OWNER, Sealed, keyring_of, trail
from tests.storage.world import NOW, eventually_blocked, make_tenant, new_id


@pytest.fixture
def anyone() -> Keyring:
    """Return a process that has nothing in memory."""
    return keyring_of(KEY, seed=3)


async def sealed(storage: Storage) -> Sealed:
    return Sealed(storage, keyring_of(KEY), await make_tenant(storage))


async def test_a_rotation_seals_everything_anew_and_destroys_the_old_key(storage: Storage, anyone: Keyring) -> None:
    one = await sealed(storage)
    made = {await one.put(f"secret {n}"): f"secret {n}" for n in range(3)}
    subject, key = ResourceId(new_id()), b"p" * 32
    async with storage.begin(one.tenant) as tx:
        value = (await one.keyring.sealer(tx, one.tenant)).seal(key, SUBJECT_KEYS.place(subject), NONCE)
        await audit_subjects.ensure(tx, [(subject, value)], NOW)
    steps = await one.rotate()
    assert steps[0] == Progress(0, 4, version=2)
    assert steps[-1] == Progress(4, 4, version=2, is_done=True)
    assert await one.versions() == [2]
    for who in (one, replace(one, keyring=anyone)):
        assert {target: await who.read(target) for target in made} == {
            target: (secret, 2) for target, secret in made.items()
        }
    async with storage.begin(one.tenant) as tx:
        found = (await audit_subjects.read(tx, [(one.tenant, subject)]))[one.tenant, subject]
        assert found is not None
        assert sealed_version(found) == 2
        assert (await one.opener(tx)).open(found, SUBJECT_KEYS.place(subject)) == key
    assert await trail(storage, one.tenant, "key.rotate") == [
        {"step": "start", "version": 2},
        {"step": "end", "version": 2, "resealed": 4, "destroyed": [1]},
    ]


async def test_what_is_erased_stays_erased(storage: Storage) -> None:
    one = await sealed(storage)
    subject = ResourceId(new_id())
    await one.put("s3cret")
    async with storage.begin(one.tenant) as tx:
        await audit_subjects.erase(tx, subject, NOW)
    assert (await one.rotate())[-1].total == 1
    async with storage.begin(one.tenant) as tx:
        assert await audit_subjects.read(tx, [(one.tenant, subject)]) == {(one.tenant, subject): None}


async def test_a_rotation_can_be_repeated_after_an_interruption(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "BATCH", 2)
    one = await sealed(storage)
    made = [await one.put("s3cret") for _ in range(5)]
    steps = one.service().rotate(OWNER, one.tenant)
    assert [(await anext(steps)).count for _ in range(2)] == [0, 2]
    await steps.aclose()
    assert await one.versions() == [1, 2]
    assert {await one.read(target) for target in made} == {("s3cret", 1), ("s3cret", 2)}
    elsewhere = replace(one, keyring=keyring_of(KEY, seed=3))
    assert (await elsewhere.rotate())[-1] == Progress(3, 3, version=2, is_done=True)
    assert await one.versions() == [2]
    assert {await one.read(target) for target in made} == {("s3cret", 2)}


async def test_a_writer_that_holds_the_old_key_finishes_before_there_is_a_new_one(storage: Storage) -> None:
    one = await sealed(storage)
    target = await one.put("before")
    async with storage.begin(one.tenant) as tx:
        value = await one.seal(tx, target, "under way")
        rotation = asyncio.create_task(replace(one, keyring=keyring_of(KEY, seed=3)).rotate())
        await eventually_blocked(storage)
        await tx.fetch("UPDATE targets SET secret_sealed = %(value)b WHERE id = %(id)b", {"value": value, "id": target})
    await rotation
    assert await one.versions() == [2]
    assert await one.read(target) == ("under way", 2)
    # What this process remembers of the old key does not tempt it.
    assert await one.read(await one.put("after")) == ("after", 2)


async def test_a_writer_that_read_an_old_value_can_still_open_it(storage: Storage) -> None:
    one = await sealed(storage)
    target = await one.put("s3cret")
    steps = replace(one, keyring=keyring_of(KEY, seed=3)).service().rotate(OWNER, one.tenant)
    await anext(steps)
    async with storage.begin(one.tenant) as tx:
        found = await targets.get(tx, target)
        assert found is not None
        assert sealed_version(found.secret_sealed) == 1
        await anext(steps)
        rest = asyncio.create_task(anext(steps))
        await eventually_blocked(storage)
        cold = keyring_of(KEY, seed=4)
        opened = (await cold.sealer(tx, one.tenant)).open(found.secret_sealed, TARGET_SECRETS.place(target))
        assert opened == b"s3cret"
    assert (await rest).is_done
    assert await one.versions() == [2]


async def test_rotations_beside_writers_lose_nothing(storage: Storage) -> None:
    tenant = await make_tenant(storage)
    writers = [Sealed(storage, keyring_of(KEY, seed=seed), tenant) for seed in range(3)]
    made = [await writer.put("0") for writer in writers]
    numbers, over = itertools.count(1), asyncio.Event()
    last = dict.fromkeys(made, "0")

    async def write(writer: Sealed, target: TargetId) -> None:
        while not over.is_set():
            value = str(next(numbers))
            await writer.change(target, value)
            last[target] = value

    async with asyncio.TaskGroup() as group:
        for writer, target in zip(writers, made, strict=True):
            group.create_task(write(writer, target))
        for seed in range(4):
            await replace(writers[0], keyring=keyring_of(KEY, seed=10 + seed)).rotate()
        # Two at once: the second joins the first, or makes the next version.
        await asyncio.gather(*(replace(writers[0], keyring=keyring_of(KEY, seed=s)).rotate() for s in (20, 21)))
        over.set()
    (version,) = await writers[0].versions()
    assert version in (6, 7)
    assert {target: (await writers[0].read(target))[0] for target in made} == last


async def test_what_the_sealing_key_sealed_itself_is_sealed_anew(storage: Storage) -> None:
    one = await sealed(storage)
    target = await one.put_raw(b"")
    former = b"\x01" + NONCE + AESGCM(KEY).encrypt(NONCE, b"old", f"{one.tenant}|targets|{target}|secret".encode())
    await one.write_raw(target, former)
    assert await one.read(target) == ("old", 0)
    assert (await one.rotate())[-1] == Progress(1, 1, version=1, is_done=True)
    assert await one.read(target) == ("old", 1)


async def test_no_key_is_destroyed_while_something_does_not_open(storage: Storage) -> None:
    one = await sealed(storage)
    fine, broken = await one.put("fine"), await one.put_raw(b"\x02\x00\x00\x00\x01garbage")
    with pytest.raises(FailedPrecondition, match=f"targets.{broken}.secret_sealed"):
        await one.rotate()
    assert await one.versions() == [1, 2]
    assert await one.read(fine) == ("fine", 2)
    await one.change(broken, "set again")
    assert (await one.rotate())[-1].is_done
    assert await one.versions() == [2]


async def test_there_must_be_such_a_tenant(storage: Storage) -> None:
    nobody = Sealed(storage, keyring_of(KEY), TenantId(new_id()))
    with pytest.raises(NotFound):
        await nobody.rotate()
    with pytest.raises(NotFound):
        await nobody.service().data_keys(nobody.tenant)
