"""The table attribute_values: written with its resource, as the difference, and gone with it."""

import asyncio
from dataclasses import replace

import pytest

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import NewResource
from control_plane.scim.errors import InvalidValue, Uniqueness
from control_plane.storage import resources
from control_plane.storage.engine import Storage, Tx
from tests.storage.world import World, eventually_blocked, group, later, user

EMAIL, COST = "emails.value", "urn:example:hr:badge"
A, B, C = (EMAIL, "a@x"), (EMAIL, "b@x"), (COST, "7")
OF = "SELECT attribute, value_key FROM attribute_values WHERE resource_id = %(id)b::uuid ORDER BY 1, 2"
NEW = """
    SELECT value_key FROM attribute_values
    WHERE resource_id = %(id)b::uuid AND xmin::text = pg_current_xact_id()::text ORDER BY 1
"""


async def keys_of(tx: Tx, one: NewResource) -> list[tuple[str, str]]:
    """Return what is stored for a resource."""
    return [(row[0], row[1]) for row in await tx.fetch(OF, {"id": one.id})]


async def change(world: World, row: NewResource) -> None:
    """Lock and update one resource in a transaction, as a service does."""
    async with world.storage.begin(world.tenant) as tx:
        found = await resources.get(tx, row.type, [row.id], lock=True)
        if found:
            await resources.update(tx, [row])


async def test_insert_writes_each_resources_own(storage: Storage, world: World) -> None:
    ada, bob, eve, staff = user("ada", keys=(A, C)), user("bob", keys=(A,)), user("eve"), group("Staff", keys=(C,))
    await world.store(ada, bob, eve, staff)
    async with storage.begin(world.tenant) as tx:
        assert [await keys_of(tx, one) for one in (ada, bob, eve, staff)] == [[A, C], [A], [], [C]]


async def test_one_that_was_not_stored_leaves_no_value(storage: Storage, world: World) -> None:
    await world.store(user("ada"))
    again, bob = user("ADA", keys=(A,)), user("bob", keys=(B,))
    await world.store(again, bob)
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT resource_id, value_key FROM attribute_values") == [(bob.id, "b@x")]


UPDATES: tuple[tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], list[str]], ...] = (
    ((A, C), (A, C), []),
    ((A, C), (B, C), ["b@x"]),
    ((A,), (A, B), ["b@x"]),
    ((A, B), (B,), []),
    ((A, C), (), []),
    ((), (A,), ["a@x"]),
    # The same key under another attribute is another value.
    ((A,), ((COST, "a@x"),), ["a@x"]),
)


@pytest.mark.parametrize(("before", "after", "written"), UPDATES)
async def test_update_writes_the_difference(
    storage: Storage,
    world: World,
    before: tuple[tuple[str, str], ...],
    after: tuple[tuple[str, str], ...],
    written: list[str],
) -> None:
    ada, bob = user("ada", keys=before), user("bob", keys=(A, B, C))
    await world.store(ada, bob)
    async with storage.begin(world.tenant) as tx:
        await resources.get(tx, ada.type, [ada.id], lock=True)
        await resources.update(tx, [replace(ada, keys=after)])
        assert [row[0] for row in await tx.fetch(NEW, {"id": ada.id})] == written
    async with storage.begin(world.tenant) as tx:
        assert (await keys_of(tx, ada), await keys_of(tx, bob)) == (sorted(after), [A, B, C])


async def test_a_batch_updates_each_by_its_own(storage: Storage, world: World) -> None:
    rows = [user(f"u{number}", keys=((EMAIL, f"{number}@x"), C)) for number in range(100)]
    await world.store(*rows)
    changed = [replace(row, keys=((EMAIL, f"new-{number}@x"),)) for number, row in enumerate(rows)]
    async with storage.begin(world.tenant) as tx:
        await resources.get(tx, rows[0].type, [row.id for row in rows], lock=True)
        await resources.update(tx, changed)
        assert [await keys_of(tx, row) for row in rows] == [[(EMAIL, f"new-{number}@x")] for number in range(100)]


async def test_an_update_that_is_refused_changes_no_value(storage: Storage, world: World) -> None:
    ada, bob = user("ada", keys=(A,)), user("bob", keys=(B,))
    await world.store(ada, bob)
    with pytest.raises(Uniqueness):
        await change(world, user("ADA", id=bob.id, keys=(C,)))
    async with storage.begin(world.tenant) as tx:
        assert await keys_of(tx, bob) == [B]


async def test_an_update_of_what_is_gone_or_of_another_type_writes_no_value(storage: Storage, world: World) -> None:
    ada, staff = user("ada", keys=(A,)), group("Staff", keys=(C,))
    await world.store(ada, staff)
    await world.delete(ada)
    async with storage.begin(world.tenant) as tx:
        await resources.update(tx, [replace(ada, keys=(B,)), user("staff", id=staff.id, keys=(B,))])
        assert [await keys_of(tx, one) for one in (ada, staff)] == [[], [C]]


async def test_touch_leaves_them_and_delete_takes_them(storage: Storage, world: World) -> None:
    staff, other = group("Staff", keys=(A, C)), group("Other", keys=(A,))
    await world.store(staff, other)
    async with storage.begin(world.tenant) as tx:
        await resources.touch(tx, [staff.id], later(1))
        assert await keys_of(tx, staff) == [A, C]
    await world.delete(staff)
    async with storage.begin(world.tenant) as tx:
        assert [await keys_of(tx, one) for one in (staff, other)] == [[], [A]]


async def test_a_key_that_no_index_can_hold_is_refused(world: World) -> None:
    with pytest.raises(InvalidValue):
        await world.store(user("ada", keys=((EMAIL, "a" * 1025),)))


async def test_concurrent_updates_of_one_user_leave_the_values_of_the_last(storage: Storage, world: World) -> None:
    ada = user("ada", keys=(A,))
    await world.store(ada)
    changes = [replace(ada, keys=((EMAIL, f"{number}@x"), (EMAIL, "all@x"))) for number in range(20)]
    # A deadlock would raise Unavailable.
    await asyncio.gather(*(change(world, one) for one in changes))
    async with storage.begin(world.tenant) as tx:
        stored = await keys_of(tx, ada)
        version = (await resources.get(tx, ada.type, [ada.id]))[ada.id].version
    assert version == 21
    assert tuple(stored) in {one.keys for one in changes}


async def test_an_update_sees_the_values_of_the_one_it_waited_for(storage: Storage, world: World) -> None:
    ada = user("ada", keys=(A,))
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        await resources.get(tx, ada.type, [ada.id], lock=True)
        await resources.update(tx, [replace(ada, keys=(B,))])
        second = asyncio.create_task(change(world, replace(ada, keys=(C,))))
        await eventually_blocked(storage)
    await second
    async with storage.begin(world.tenant) as tx:
        assert await keys_of(tx, ada) == [C]


async def test_an_update_that_waited_for_a_deletion_finds_nothing(storage: Storage, world: World) -> None:
    ada = user("ada", keys=(A,))
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        await resources.delete_locked(tx, await resources.get_for_delete(tx, [ada.id]), later(1))
        update = asyncio.create_task(change(world, replace(ada, keys=(B,))))
        await eventually_blocked(storage)
    await update
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT count(*) FROM attribute_values") == [(0,)]


async def test_a_deletion_that_waited_for_an_update_takes_its_values(storage: Storage, world: World) -> None:
    ada = user("ada", keys=(A,))
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        await resources.get(tx, ada.type, [ada.id], lock=True)
        await resources.update(tx, [replace(ada, keys=(B, C))])
        deletion = asyncio.create_task(world.delete(ada))
        await eventually_blocked(storage)
    assert (await deletion).ids == {ResourceId(ada.id)}
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT count(*) FROM attribute_values") == [(0,)]
