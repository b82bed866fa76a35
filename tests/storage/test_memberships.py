"""Members: set operations that say what they did, JSON rendered by the database."""

import asyncio

import orjson

from control_plane.domain.ids import ResourceId
from control_plane.storage import memberships
from control_plane.storage.engine import Storage
from tests.storage.world import World, eventually_blocked, group, make_world, new_id, user

BASE = "https://muster.example/scim/v2"


async def members_of(world: World, one: ResourceId) -> list[str]:
    async with world.storage.begin(world.tenant) as tx:
        text, _ = (await memberships.render(tx, [one], ""))[one]
    return [member["value"] for member in orjson.loads(text or "[]")]


async def test_add_says_what_changed_and_names_the_unknown(storage: Storage, world: World) -> None:
    ada, bob, inner, staff = user("ada"), user("bob"), group("Inner"), group("Staff")
    await world.store(ada, bob, inner, staff)
    stranger = ResourceId(new_id())
    async with storage.begin(world.tenant) as tx:
        first = await memberships.add(tx, staff.id, [ada.id, str(inner.id), stranger, "nonsense", staff.id])
        again = await memberships.add(tx, staff.id, [ada.id, bob.id])
    assert first.changed == 2
    assert set(first.unknown) == {stranger, "nonsense", staff.id}
    assert (again.changed, again.unknown) == (1, ())
    assert await members_of(world, staff.id) == sorted(str(one.id) for one in (ada, bob, inner))


async def test_members_of_another_tenant_are_unknown(storage: Storage, world: World) -> None:
    other = await make_world(storage)
    ada, staff = user("ada"), group("Staff")
    await other.store(ada)
    await world.store(staff)
    async with storage.begin(world.tenant) as tx:
        added = await memberships.add(tx, staff.id, [ada.id])
        replaced = await memberships.replace(tx, staff.id, [ada.id])
    assert (added.changed, added.unknown) == (0, (ada.id,))
    assert (replaced.changed, replaced.unknown) == (0, (ada.id,))


async def test_remove_and_clear(storage: Storage, world: World) -> None:
    users = [user(f"u{number}") for number in range(4)]
    staff = group("Staff")
    await world.store(*users, staff)
    await world.join(staff, *users)
    async with storage.begin(world.tenant) as tx:
        removed = await memberships.remove(tx, staff.id, [users[0].id, new_id(), "nonsense"])
        again = await memberships.remove(tx, staff.id, [users[0].id])
        cleared = await memberships.clear(tx, staff.id)
    assert (removed.changed, removed.unknown, again.changed, cleared.changed) == (1, (), 0, 3)


async def test_replace_writes_the_difference(storage: Storage, world: World) -> None:
    ada, bob, eve, staff = user("ada"), user("bob"), user("eve"), group("Staff")
    await world.store(ada, bob, eve, staff)
    await world.join(staff, ada, bob)
    async with storage.begin(world.tenant) as tx:
        changed = await memberships.replace(tx, staff.id, [bob.id, eve.id])
        same = await memberships.replace(tx, staff.id, [bob.id, eve.id])
        rows = await tx.fetch("SELECT member_id, xmin::text = pg_current_xact_id()::text FROM memberships")
        none = await memberships.replace(tx, staff.id, [])
    assert (changed.changed, same.changed, none.changed) == (2, 0, 2)
    assert dict(rows) == {bob.id: False, eve.id: True}


async def test_a_member_that_is_being_deleted_is_unknown(storage: Storage, world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)

    async def add() -> memberships.MemberWrite:
        async with storage.begin(world.tenant) as tx:
            return await memberships.add(tx, staff.id, [ada.id])

    async with storage.begin(world.tenant) as tx:
        await tx.fetch("DELETE FROM resources WHERE id = %(id)b", {"id": ada.id})
        adding = asyncio.create_task(add())
        await eventually_blocked(storage)
    assert await adding == memberships.MemberWrite(0, (ada.id,))


async def test_render_builds_json_that_survives_hostile_names(storage: Storage, world: World) -> None:
    name = 'Ad"a\\ \n </script> ☃ %s {0}'
    ada, inner, bob, staff = user("ada", display_name=name), group("Inner"), user("bob"), group("Staff")
    await world.store(ada, inner, bob, staff)
    await world.join(staff, bob, inner, ada)
    async with storage.begin(world.tenant) as tx:
        text, count = (await memberships.render(tx, [staff.id], BASE + '/"x'))[staff.id]
    assert count == 3
    assert orjson.loads(text) == [
        {"value": str(ada.id), "type": "User", "display": name, "$ref": f'{BASE}/"x/Users/{ada.id}'},
        {"value": str(inner.id), "type": "Group", "display": "Inner", "$ref": f'{BASE}/"x/Groups/{inner.id}'},
        {"value": str(bob.id), "type": "User", "$ref": f'{BASE}/"x/Users/{bob.id}'},
    ]


async def test_render_keeps_to_its_limit_and_counts_all(storage: Storage, world: World) -> None:
    users = [user(f"u{number}") for number in range(3)]
    small, large, empty = group("Small"), group("Large"), group("Empty")
    await world.store(*users, small, large, empty)
    await world.join(small, *users[:2])
    await world.join(large, *users)
    async with storage.begin(world.tenant, read_only=True) as tx:
        rendered = await memberships.render(tx, [small.id, large.id, empty.id], "", limit=2)
    assert orjson.loads(rendered[small.id][0]) == [{"value": str(one.id), "type": "User"} for one in users[:2]]
    assert (rendered[large.id], rendered[empty.id]) == (("", 3), ("", 0))


async def test_stream_yields_every_member_in_order(storage: Storage, world: World) -> None:
    users = [user(f"u{number}", display_name=f"Ü {number}") for number in range(2_100)]
    staff = group("Staff")
    await world.store(*users, staff)
    await world.join(staff, *users)
    for chunk_bytes in (1, 5_000, 262_144):
        async with storage.begin(world.tenant, read_only=True) as tx:
            chunks = [chunk async for chunk in memberships.stream(tx, staff.id, BASE, chunk_bytes)]
        assert all(len(chunk.encode()) <= max(chunk_bytes, 250) for chunk in chunks)
        members = [member for chunk in chunks for member in orjson.loads(f"[{chunk}]")]
        assert [member["value"] for member in members] == [str(one.id) for one in users]
        assert members[0]["$ref"] == f"{BASE}/Users/{users[0].id}"


async def test_stream_of_an_empty_group_yields_nothing(storage: Storage, world: World) -> None:
    async with storage.begin(world.tenant, read_only=True) as tx:
        assert [chunk async for chunk in memberships.stream(tx, ResourceId(new_id()), "")] == []
