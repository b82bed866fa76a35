"""Deletions beside each other and beside other writes: one waits for the other, none for each other."""

import asyncio
import random

from control_plane.domain.resources import NewResource, ResourceType
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage
from tests.storage.world import World, eventually_blocked, group, later, user


async def test_get_for_delete_returns_both_types(storage: Storage, world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    async with storage.begin(world.tenant) as tx:
        found = await resources.get_for_delete(tx, [staff.id, ada.id])
    assert {one.id: one.type for one in found.values()} == {ada.id: ResourceType.USER, staff.id: ResourceType.GROUP}


async def test_get_for_delete_returns_what_it_waited_for(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)

    async def version() -> int:
        async with storage.begin(world.tenant) as tx:
            return (await resources.get_for_delete(tx, [ada.id]))[ada.id].version

    async with storage.begin(world.tenant) as tx:
        await resources.touch(tx, [ada.id], later(1))
        waiting = asyncio.create_task(version())
        await eventually_blocked(storage)
    assert await waiting == 2


async def test_the_groups_are_locked_with_their_member(storage: Storage, world: World) -> None:
    """But not against being made a member: that would let two writers of groups wait for each other."""
    ada, staff, outer, other = user("ada"), group("Staff"), group("Outer"), group("Other")
    await world.store(ada, staff, outer, other)
    await world.join(staff, ada)
    free = "SELECT id FROM resources WHERE type = 2 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
    async with storage.begin(world.tenant) as tx:
        await resources.get_for_delete(tx, [ada.id])
        async with storage.begin(world.tenant) as neighbour:
            assert await neighbour.fetch(free) == [(outer.id,), (other.id,)]
            assert (await memberships.add(neighbour, outer.id, [staff.id])).changed == 1


async def test_two_that_delete_groups_holding_each_other_do_not_deadlock(storage: Storage, world: World) -> None:
    for _ in range(10):
        one, two = group("One"), group("Two")
        await world.store(one, two)
        await world.join(one, two)
        await world.join(two, one)
        # A deadlock would raise Unavailable.
        await asyncio.gather(world.delete(one), world.delete(two))
    async with storage.begin(world.tenant) as tx:
        assert (await resources.page(tx, ResourceType.GROUP, 1, 0)).total == 0


async def test_batches_of_deletions_in_any_order_do_not_deadlock(storage: Storage, world: World) -> None:
    users, groups = [user(f"u{number}") for number in range(20)], [group(f"g{number}") for number in range(5)]
    await world.store(*users, *groups)
    for one in groups:
        await world.join(one, *users, *groups)
    some = (users, users[::-1], groups, groups[::-1], users[5:15])
    batches = [world.delete(*rows) for rows in some]
    gone = [written.ids for written in await asyncio.gather(*batches)]
    assert sum(map(len, gone)) == 25
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT count(*) FROM memberships") == [(0,)]


async def test_batches_of_users_and_groups_in_any_order_do_not_deadlock(world: World) -> None:
    chance = random.Random(7)
    rows = [*(user(f"u{number}") for number in range(20)), *(group(f"g{number}") for number in range(10))]
    await world.store(*rows)
    for one in rows[20:]:
        await world.join(one, *chance.sample(rows, 15))
    # A deadlock would raise Unavailable.
    written = await asyncio.gather(*(world.delete(*chance.sample(rows, 12)) for _ in range(12)))
    gone = [one for batch in written for one in batch.ids]
    assert len(gone) == len(set(gone))
    async with world.storage.begin(world.tenant) as tx:
        left = await tx.fetch("SELECT id FROM resources")
        counted = [(await resources.page(tx, kind, 1, 0)).total for kind in ResourceType]
    assert {row.id for row in rows} - set(gone) == {row[0] for row in left}
    assert sum(counted) == len(left)


async def test_deletions_and_updates_of_the_same_people_do_not_deadlock(storage: Storage, world: World) -> None:
    users, staff = [user(f"u{number}", keys=(("emails.value", f"{number}@x"),)) for number in range(20)], group("Staff")
    await world.store(*users, staff)
    await world.join(staff, *users)

    async def update(rows: list[NewResource]) -> int:
        async with storage.begin(world.tenant) as tx:
            found = await resources.get(tx, ResourceType.USER, [row.id for row in rows], lock=True)
            left = [row for row in rows if row.id in found]
            return len((await resources.update(tx, left)).ids) if left else 0

    await asyncio.gather(update(users), world.delete(*users[::2]), update(users[::-1]), world.delete(*users[::-3]))
    left = {row.id for row in users} - {row.id for row in (*users[::2], *users[::-3])}
    async with storage.begin(world.tenant) as tx:
        for table in ("SELECT member_id FROM memberships", "SELECT resource_id FROM attribute_values"):
            assert {row[0] for row in await tx.fetch(table)} == left
