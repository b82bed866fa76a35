"""Claims: of those who want one value at the same time, one gets it."""

import asyncio
from dataclasses import replace

import pytest

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import NewResource
from control_plane.storage import resources, uniqueness
from control_plane.storage.engine import Storage
from control_plane.storage.uniqueness import GROUP_NAME, LOCKS, Claim, claim
from tests.storage.world import World, eventually_blocked, group, make_world, new_id, user

BADGE = "urn:example:hr:badge"


async def create(world: World, row: NewResource, *wanted: Claim) -> bool:
    """Store a resource unless another has a value it claims, as a service does; tell whether it was stored."""
    async with world.storage.begin(world.tenant) as tx:
        if await claim(tx, wanted):
            return False
        await resources.insert(tx, [row])
        return True


def named(one: NewResource) -> Claim:
    assert one.display_name is not None
    return Claim(GROUP_NAME, one.display_name.casefold(), one.id)


async def test_what_another_has_is_returned(storage: Storage, world: World) -> None:
    ada, staff = user("ada", display_name="Boss", keys=((BADGE, "7"),)), group("Staff", keys=((BADGE, "8"),))
    await world.store(ada, staff)
    someone = ResourceId(new_id())
    taken = {Claim(BADGE, "7", someone), Claim(BADGE, "8", someone), Claim(GROUP_NAME, "staff", someone)}
    free = {
        # One's own, another value, the same value of another attribute, the name of a user.
        Claim(BADGE, "7", ada.id), Claim(GROUP_NAME, "staff", staff.id), Claim(BADGE, "9", someone),
        Claim("urn:example:hr:desk", "7", someone), Claim(GROUP_NAME, "boss", someone),
    }  # fmt: skip
    async with storage.begin(world.tenant) as tx:
        assert await claim(tx, [*taken, *free]) == taken
        assert await claim(tx, []) == set()


async def test_a_value_of_another_tenant_is_free(storage: Storage, world: World) -> None:
    other = await make_world(storage)
    await other.store(user("ada", keys=((BADGE, "7"),)), group("Staff"))
    someone = ResourceId(new_id())
    async with storage.begin(world.tenant) as tx:
        assert await claim(tx, [Claim(BADGE, "7", someone), Claim(GROUP_NAME, "staff", someone)]) == set()


@pytest.mark.parametrize("attribute", [BADGE, GROUP_NAME])
async def test_who_waits_for_a_claim_sees_what_the_first_stored(storage: Storage, world: World, attribute: str) -> None:
    first, second = (group("Staff", keys=((BADGE, "staff"),)) for _ in range(2))
    async with storage.begin(world.tenant) as tx:
        assert await claim(tx, [Claim(attribute, "staff", first.id)]) == set()
        await resources.insert(tx, [first])
        waiting = asyncio.create_task(create(world, second, Claim(attribute, "staff", second.id)))
        await eventually_blocked(storage)
    assert await waiting is False


async def test_who_waits_for_a_claim_that_is_undone_gets_it(storage: Storage, world: World) -> None:
    first, second = group("Staff"), group("Staff")
    waiting: list[asyncio.Task[bool]] = []

    async def fail() -> None:
        async with storage.begin(world.tenant) as tx:
            await claim(tx, [named(first)])
            await resources.insert(tx, [first])
            waiting.append(asyncio.create_task(create(world, second, named(second))))
            await eventually_blocked(storage)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await waiting[0] is True


async def test_of_many_at_once_one_gets_it(world: World) -> None:
    rows = [group("Staff") for _ in range(20)]
    assert sum(await asyncio.gather(*(create(world, row, named(row)) for row in rows))) == 1


async def test_of_many_renames_at_once_one_gets_it(storage: Storage, world: World) -> None:
    rows = [group(f"G{number}") for number in range(20)]
    await world.store(*rows)

    async def rename(row: NewResource) -> bool:
        new = replace(row, display_name="Staff")
        async with storage.begin(world.tenant) as tx:
            await resources.get(tx, row.type, [row.id], lock=True)
            if await claim(tx, [named(new)]):
                return False
            await resources.update(tx, [new])
            return True

    assert sum(await asyncio.gather(*map(rename, rows))) == 1


async def test_batches_that_claim_the_same_values_do_not_deadlock(world: World) -> None:
    def batch(step: int) -> list[Claim]:
        return [Claim(BADGE, str(number), ResourceId(new_id())) for number in range(300)][::step]

    async def take(claims: list[Claim]) -> set[Claim]:
        async with world.storage.begin(world.tenant) as tx:
            return await claim(tx, claims)

    # A deadlock would raise Unavailable.
    assert await asyncio.gather(*(take(batch(1 if number % 2 else -1)) for number in range(16))) == [set()] * 16


async def test_a_batch_takes_a_bounded_number_of_locks(storage: Storage, world: World) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND pid = pg_backend_pid()"
    async with storage.begin(world.tenant) as tx:
        await claim(tx, [Claim(BADGE, str(number), ResourceId(new_id())) for number in range(3_000)])
        assert await tx.fetch(held) == [(LOCKS,)]


def test_the_number_of_a_lock_is_the_same_in_every_process() -> None:
    assert uniqueness._number(b"muster") == 782_988_263
