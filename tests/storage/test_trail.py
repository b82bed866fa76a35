"""Personal values in the trail: whose key seals them, who can read them, and what is left when the key is gone."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.audit import Actor, ActorType, AuditEvent, AuditQuery
from control_plane.domain.errors import InvalidArgument, MusterError
from control_plane.domain.ids import SYSTEM_TENANT, ResourceId, TenantId
from control_plane.domain.secrets import SUBJECT_KEYS
from control_plane.services import keys
from control_plane.services import trail as trail_module
from control_plane.services.caller import Caller, Deed
from control_plane.services.keyring import FileKeyProvider, Keyring
from control_plane.services.reads import Reader, Reads
from control_plane.services.refusals import MAX_PER_SECOND, Refusals
from control_plane.services.trail import Entry, Trail
from control_plane.storage import audit, audit_subjects
from control_plane.storage.audit_subjects import Subject
from control_plane.storage.engine import Storage, Tx
from tests.fakes.clock import FakeClock
from tests.fixtures.postgres import Database
from tests.storage.test_administration import event
from tests.storage.world import World, connected, make_world, new_id

KEY = b"k" * 32
CALLER = Caller(Actor(ActorType.TOKEN, "key-1"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def trail(clock: FakeClock) -> Trail:
    return make_trail(clock)


def make_trail(clock: FakeClock) -> Trail:
    """A trail as another process has one."""
    return Trail(Keyring(FileKeyProvider([KEY], clock), clock), clock)


def personal(world: World, subject: ResourceId, number: int = 0, **values: object) -> AuditEvent:
    return event(
        world, number, resource_id=str(subject), subject=subject, personal=orjson.dumps(values or {"n": number})
    )


async def append(world: World, trail: Trail, *events: AuditEvent, born: Iterator[ResourceId] | tuple[()] = ()) -> None:
    async with world.storage.begin(world.tenant) as tx:
        await trail.append(tx, events, set(born))


async def listed(world: World, trail: Trail, subject: ResourceId, *, asking: bool = True) -> list[Entry]:
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        found = await audit.list_events(tx, AuditQuery(resource_id=str(subject)), None, 99)
        return await trail.entries(tx, found, with_personal=asking)


async def erase(world: World, subject: ResourceId) -> None:
    async with world.storage.begin(world.tenant) as tx:
        await audit_subjects.erase(tx, subject, FakeClock().now())


async def test_another_process_reads_what_one_wrote(world: World, trail: Trail, clock: FakeClock) -> None:
    ada = ResourceId(new_id())
    await append(world, trail, personal(world, ada, 1), born=iter([ada]))
    await append(world, trail, personal(world, ada, 2))
    other = make_trail(clock)
    await append(world, other, personal(world, ada, 3))
    assert [one.personal for one in await listed(world, other, ada)] == ['{"n":3}', '{"n":2}', '{"n":1}']
    assert {one.personal for one in await listed(world, other, ada, asking=False)} == {""}


async def test_what_is_stored_is_as_it_is_documented(world: World, trail: Trail, clock: FakeClock) -> None:
    ada = ResourceId(new_id())
    await append(world, trail, personal(world, ada, name="Ada"))
    stored = (await listed(world, trail, ada))[0].event
    assert stored.personal is not None
    key = trail._keys.get((world.tenant, ada))
    assert key is None, "a key of a transaction that may be rolled back is not kept"
    await append(world, trail, personal(world, ada, 2))
    opened = trail._keys[world.tenant, ada]
    plain = AESGCM(opened).decrypt(stored.personal[:12], stored.personal[12:], f"{world.tenant}|{stored.id}".encode())
    assert plain[16:] == b'{"name":"Ada"}'
    assert stored.commitment == hashlib.sha256(plain).digest()


async def test_two_who_make_a_key_at_once_seal_with_the_same(world: World, clock: FakeClock) -> None:
    ada = ResourceId(new_id())
    trails = [make_trail(FakeClock(seed=n)) for n in range(4)]
    await asyncio.gather(*(append(world, one, personal(world, ada, n)) for n, one in enumerate(trails)))
    shown = [one.personal for one in await listed(world, make_trail(clock), ada)]
    assert sorted(shown) == [f'{{"n":{n}}}' for n in range(4)]


async def test_a_rolled_back_key_is_forgotten(world: World, trail: Trail) -> None:
    ada = ResourceId(new_id())
    broken = replace(personal(world, ada), reason="\0")
    for born in ((), (ada,)):
        with pytest.raises(MusterError):
            await append(world, trail, personal(world, ada), broken, born=iter(born))
    await append(world, trail, personal(world, ada, 5))
    assert [one.personal for one in await listed(world, trail, ada)] == ['{"n":5}']


async def test_erased_at_once_for_every_reader_and_for_good(world: World, trail: Trail, clock: FakeClock) -> None:
    ada, bob = ResourceId(new_id()), ResourceId(new_id())
    other = make_trail(clock)
    for one in (trail, other):
        await append(world, one, personal(world, ada, 1), personal(world, bob, 1))
        await append(world, one, personal(world, ada, 2))
    await erase(world, ada)
    # The other process has the key in memory still: what it seals with it nobody can read.
    await append(world, other, personal(world, ada, 3))
    shown = await listed(world, other, ada)
    assert {(one.is_erased, one.personal) for one in shown} == {(True, "")}
    assert all(one.event.commitment for one in shown)
    clock.advance(trail_module.MAX_AGE_S)
    await append(world, other, replace(personal(world, ada, 4), action="late"))
    late = (await listed(world, other, ada))[0]
    assert (late.event.action, late.event.personal, late.event.commitment, late.is_erased) == (
        "late",
        None,
        None,
        False,
    )
    assert {one.personal for one in await listed(world, other, bob)} == {'{"n":1}'}


async def test_who_is_erased_before_there_was_a_key_never_gets_one(world: World, trail: Trail) -> None:
    ada = ResourceId(new_id())
    await erase(world, ada)
    await append(world, trail, personal(world, ada, 1))
    assert (await listed(world, trail, ada))[0].event.personal is None


async def test_a_moved_value_opens_nowhere(world: World, trail: Trail) -> None:
    ada = ResourceId(new_id())
    await append(world, trail, personal(world, ada, 1), personal(world, ada, 2))
    async with world.storage.begin(world.tenant) as tx:
        first, second = await audit.list_events(tx, AuditQuery(resource_id=str(ada)), None, 9)
        swapped = [replace(first, personal=second.personal)]
        assert [one.personal for one in await trail.entries(tx, swapped, with_personal=True)] == [""]


async def test_a_rotation_between_two_reads_hides_nothing(
    world: World, trail: Trail, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from who reads nor from who writes for many tenants: both see the old value, and no key for it."""
    ada, read = ResourceId(new_id()), audit_subjects.read
    await append(world, trail, personal(world, ada, 1))
    seeds = iter((77, 78))
    # The secret of the world's target is none.
    monkeypatch.setattr(keys, "SEALED_COLUMNS", (SUBJECT_KEYS,))

    async def read_then_rotated(tx: Tx, subjects: Iterable[Subject]) -> dict[Subject, bytes | None]:
        found = await read(tx, list(subjects))
        monkeypatch.setattr(audit_subjects, "read", read)
        other = FakeClock(seed=next(seeds))
        service = keys.KeyService(world.storage, other, Keyring(FileKeyProvider([KEY], other), other))
        assert [step async for step in service.rotate(CALLER, world.tenant)][-1].is_done
        return found

    monkeypatch.setattr(audit_subjects, "read", read_then_rotated)
    assert [one.personal for one in await listed(world, make_trail(clock), ada)] == ['{"n":1}']
    monkeypatch.setattr(audit_subjects, "read", read_then_rotated)
    async with world.storage.begin_batch([world.tenant]) as tx:
        await make_trail(clock).append_many(tx, [personal(world, ada, 2)])
    assert [one.personal for one in await listed(world, trail, ada)] == ['{"n":2}', '{"n":1}']


async def test_a_key_that_is_lost_stops_no_list(world: World, trail: Trail, clock: FakeClock) -> None:
    ada = ResourceId(new_id())
    await append(world, trail, personal(world, ada))
    stranger = Trail(Keyring(FileKeyProvider([b"x" * 32], clock), clock), clock)
    assert [(one.personal, one.is_erased) for one in await listed(world, stranger, ada)] == [("", False)]


async def test_values_that_the_chain_does_not_vouch_for_are_not_shown(
    world: World, trail: Trail, database: Database
) -> None:
    """Somebody who has the person's key can seal other ones, and cannot change the commitment."""
    ada = ResourceId(new_id())
    for number in (1, 2):
        await append(world, trail, personal(world, ada, number))
    one = (await listed(world, trail, ada))[0].event
    key = trail._keys[world.tenant, ada]
    forged = b"n" * 12 + AESGCM(key).encrypt(b"n" * 12, bytes(16) + b'{"n":9}', f"{world.tenant}|{one.id}".encode())
    async with connected(database.superuser_url) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE audit_events SET personal = %s WHERE id = %s", (forged, one.id))
    assert [shown.personal for shown in await listed(world, trail, ada)] == ["", '{"n":1}']


async def test_many_tenants_at_once_seal_with_keys_that_are_there(world: World, trail: Trail, clock: FakeClock) -> None:
    other, ada, nobody = await make_world(world.storage), ResourceId(new_id()), ResourceId(new_id())
    await append(world, trail, personal(world, ada, 1))
    async with world.storage.begin_batch([world.tenant, other.tenant]) as tx:
        await make_trail(clock).append_many(tx, [personal(world, ada, 2), personal(other, nobody, 3)])
    assert [one.personal for one in await listed(world, trail, ada)] == ['{"n":2}', '{"n":1}']
    (kept,) = await listed(other, trail, nobody)
    assert (kept.event.personal, kept.event.commitment, kept.is_erased) == (None, None, False)


async def pending(storage: Storage, tenant: TenantId) -> int:
    async with storage.begin(tenant) as tx:
        rows = await tx.fetch("SELECT count(*) FROM audit_pending WHERE event_id IN (SELECT id FROM audit_events)")
    count: int = rows[0][0]
    return count


async def test_every_event_waits_for_its_seal(world: World, trail: Trail) -> None:
    ada = ResourceId(new_id())
    await append(world, trail, event(world, 1), personal(world, ada, 2), born=iter([ada]))
    async with world.storage.begin_batch([world.tenant]) as tx:
        await audit.append(tx, [event(world, 3)])
    assert await pending(world.storage, world.tenant) == 3


async def test_refusals_beyond_the_limit_are_counted(world: World, clock: FakeClock) -> None:
    refusals = Refusals(world.storage, clock)
    for _ in range(MAX_PER_SECOND + 7):
        await refusals.record(CALLER, world.tenant, Deed("user.create", "user", "", {}), "no")
    clock.advance(1)
    await refusals.record(CALLER, world.tenant, Deed("user.patch", "user", "", {}), "no")
    for _ in range(2):
        await refusals.flush()
    async with world.storage.begin(world.tenant) as tx:
        found = await audit.list_events(tx, AuditQuery(), None, 999)
    told = [one.action for one in found]
    assert (told.count("user.create"), told.count("user.patch")) == (MAX_PER_SECOND, 1)
    (summary,) = [one for one in found if one.action == "audit.overflow"]
    assert summary.details == {"count": 7, "actions": {"user.create": 7}}


async def test_a_refusal_for_nobody_is_in_our_own_trail(world: World, clock: FakeClock) -> None:
    refusals, nobody = Refusals(world.storage, clock), TenantId(new_id())
    await refusals.record(CALLER, nobody, Deed("user.create", "user", "x1", {}), "no")
    await refusals.record(CALLER, None, Deed("tenant.create", "tenant", "x2", {}), "no")
    async with world.storage.begin(SYSTEM_TENANT) as tx:
        found = await audit.list_events(tx, AuditQuery(), None, 9)
    assert {one.resource_id for one in found} >= {"x1", "x2"}


async def test_reads_are_summed_up(world: World, clock: FakeClock) -> None:
    reads, other = Reads(world.storage, clock), await make_world(world.storage)
    began = clock.now()
    for tenant in (world.tenant, world.tenant, other.tenant):
        reads.note(Reader(tenant, CALLER.actor, "user", "get"))
        clock.advance(1)
    assert (await reads.flush(), await reads.flush()) == (2, 0)
    async with world.storage.begin(world.tenant) as tx:
        (found,) = await audit.list_events(tx, AuditQuery(action="user.get"), None, 9)
    ended = (began + timedelta(seconds=1)).isoformat()
    assert found.details == {"count": 2, "from": began.isoformat(), "to": ended}


async def test_a_search_that_takes_too_long_says_how_to_ask(world: World, database: Database) -> None:
    async with connected(database.superuser_url) as other, other.transaction():
        # It waits for the table, as it would for its disk.
        await other.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(InvalidArgument, match="narrower start_time and end_time"):
            async with world.storage.begin(world.tenant, read_only=True, timeout_s=0.05) as tx:
                await audit.list_events(tx, AuditQuery(), None, 9)
