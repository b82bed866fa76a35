"""Members: set operations that say what they did, JSON rendered by the database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import orjson
import pytest

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import NewResource
from control_plane.scim.errors import TooMany
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage
from control_plane.storage.memberships import INLINE_GROUP_LIMITS, GroupLimits, MemberLimits
from tests.storage.world import World, eventually_blocked, group, later, make_world, new_id, user

BASE = "https://muster.example/scim/v2"
NOBODY = ResourceId(UUID(int=7))


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


SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("upper case", str.upper),
    ("braces", lambda text: f"{{{text}}}"),
    ("no hyphens", lambda text: text.replace("-", "")),
    ("URN", lambda text: f"urn:uuid:{text}"),
)


@pytest.mark.parametrize("spell", [row[1] for row in SPELLINGS], ids=[row[0] for row in SPELLINGS])
async def test_another_spelling_of_an_id_is_unknown(
    storage: Storage, world: World, spell: Callable[[str], str]
) -> None:
    """An id is caseExact (RFC 7643 section 3.1): what a filter on members.value would not find is no member."""
    ada, staff = user("ada"), group("Staff")
    # Letters in it, for there to be an upper case.
    ada = replace(ada, id=ResourceId(UUID(f"{str(ada.id)[:-4]}abcd")))
    await world.store(ada, staff)
    wrong = spell(str(ada.id))
    async with storage.begin(world.tenant) as tx:
        added = await memberships.add(tx, staff.id, [wrong])
        right = await memberships.add(tx, staff.id, [str(ada.id)])
        removed = await memberships.remove(tx, staff.id, [wrong])
    assert added == memberships.MemberWrite(0, (wrong,))
    assert (right.changed, removed.changed) == (1, 0)


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


async def test_render_keeps_to_its_limit_and_counts_one_further(storage: Storage, world: World) -> None:
    users = [user(f"u{number}") for number in range(5)]
    small, large, empty = group("Small"), group("Large"), group("Empty")
    await world.store(*users, small, large, empty)
    await world.join(small, *users[:2])
    await world.join(large, *users)
    async with storage.begin(world.tenant, read_only=True) as tx:
        rendered = await memberships.render(tx, [small.id, large.id, empty.id], "", MemberLimits(count=2))
    assert orjson.loads(rendered[small.id][0]) == [{"value": str(one.id), "type": "User"} for one in users[:2]]
    assert (rendered[large.id], rendered[empty.id]) == (("", 3), ("", 0))


async def test_members_whose_text_is_too_long_count_as_too_many(storage: Storage, world: World) -> None:
    # Six bytes of JSON for each character, and two of UTF-8 for the other name.
    bad, wide = user("bad", display_name="\x01" * 100), user("wide", display_name="ü" * 100)
    staff, other = group("Staff"), group("Other")
    await world.store(bad, wide, staff, other)
    await world.join(staff, bad)
    await world.join(other, wide)
    async with storage.begin(world.tenant, read_only=True) as tx:
        whole = await memberships.render(tx, [staff.id, other.id], BASE)
        sizes = [len(whole[one.id][0].encode()) for one in (staff, other)]
        for one, size in zip((staff, other), sizes, strict=True):
            fits = await memberships.render(tx, [one.id], BASE, MemberLimits(7, size))
            exceeds = await memberships.render(tx, [one.id], BASE, MemberLimits(7, size - 1))
            assert (fits[one.id], exceeds[one.id]) == (whole[one.id], ("", 8))
    assert sizes[0] > 600
    assert sizes[1] > 200


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


async def groups_of(
    world: World, *users: NewResource, limits: GroupLimits = INLINE_GROUP_LIMITS
) -> list[list[tuple[str, str]]]:
    """Return for each user the names of its groups and how it is in them, in the order of rendering."""
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        rendered = await memberships.render_groups(tx, [one.id for one in users], "", limits)
    assert list(rendered) == [one.id for one in users]
    return [[(found["display"], found["type"]) for found in orjson.loads(rendered[one.id] or "[]")] for one in users]


async def test_groups_are_direct_first_then_nested_each_by_id(world: World) -> None:
    ada, bob, eve = user("ada"), user("bob"), user("eve")
    top, inner, other, middle = group("Top"), group("Inner"), group("Other"), group("Middle")
    await world.store(ada, bob, eve, top, inner, other, middle)
    await world.join(top, middle)
    await world.join(middle, inner, bob)
    await world.join(inner, ada)
    # Ada is in Other twice: herself, and through Inner.
    await world.join(other, ada, inner)
    assert await groups_of(world, ada, bob, eve) == [
        [("Inner", "direct"), ("Other", "direct"), ("Top", "indirect"), ("Middle", "indirect")],
        [("Middle", "direct"), ("Top", "indirect")],
        [],
    ]


async def test_groups_that_hold_each_other_end_the_walk(world: World) -> None:
    ada, one, two, three = user("ada"), group("One"), group("Two"), group("Three")
    await world.store(ada, one, two, three)
    await world.join(one, ada, three)
    await world.join(two, one)
    await world.join(three, two)
    assert await groups_of(world, ada) == [[("One", "direct"), ("Two", "indirect"), ("Three", "indirect")]]


async def test_groups_are_at_most_so_many_for_each_user(world: World) -> None:
    ada, bob, outer = user("ada"), user("bob"), group("Outer")
    groups = [group(f"G{number}") for number in range(4)]
    await world.store(ada, bob, outer, *groups)
    for one in groups:
        await world.join(one, ada)
    await world.join(groups[0], bob)
    await world.join(outer, groups[0])
    first = [(f"G{number}", "direct") for number in range(3)]
    assert await groups_of(world, ada, bob, limits=GroupLimits(count=3)) == [
        first,
        [("G0", "direct"), ("Outer", "indirect")],
    ]


async def test_groups_are_as_many_as_their_bytes_allow(storage: Storage, world: World) -> None:
    ada = user("ada")
    groups = [group(f"\x01ü{number}") for number in range(4)]
    await world.store(ada, *groups)
    for one in groups:
        await world.join(one, ada)
    async with storage.begin(world.tenant, read_only=True) as tx:
        whole = (await memberships.render_groups(tx, [ada.id], BASE))[ada.id]
        size = len(whole.encode())
        fits = await memberships.render_groups(tx, [ada.id], BASE, GroupLimits(size_bytes=size))
        three = await memberships.render_groups(tx, [ada.id], BASE, GroupLimits(size_bytes=size - 1))
        none = await memberships.render_groups(tx, [ada.id], BASE, GroupLimits(size_bytes=10))
    assert (fits[ada.id], none[ada.id]) == (whole, "")
    assert orjson.loads(three[ada.id]) == orjson.loads(whole)[:3]


PAGES: tuple[tuple[str, GroupLimits, bool], ...] = (
    ("as many as a page may have", GroupLimits(page_count=6), False),
    ("one more", GroupLimits(page_count=5), True),
    # What each leaves out was walked all the same.
    ("more than are shown", GroupLimits(count=1, page_count=5), True),
    ("too long", GroupLimits(page_bytes=300), True),
    ("short, for each leaves out what is too long", GroupLimits(size_bytes=140, page_bytes=300), False),
)


@pytest.mark.parametrize(("limits", "is_refused"), [row[1:] for row in PAGES], ids=[row[0] for row in PAGES])
async def test_groups_of_a_page_have_a_limit_together(world: World, limits: GroupLimits, is_refused: bool) -> None:
    ada, bob, eve = user("ada"), user("bob"), user("eve")
    groups = [group(f"G{number}") for number in range(3)]
    await world.store(ada, bob, eve, *groups)
    for one in groups:
        await world.join(one, ada, bob)
    if is_refused:
        with pytest.raises(TooMany, match="excludedAttributes=groups"):
            await groups_of(world, ada, bob, eve, limits=limits)
    else:
        await groups_of(world, ada, bob, eve, limits=limits)


async def test_the_groups_of_one_user_are_shown_beyond_the_limit_of_a_page(world: World) -> None:
    ada, outer = user("ada"), group("Outer")
    groups = [group(f"G{number}") for number in range(3)]
    await world.store(ada, outer, *groups)
    for one in groups:
        await world.join(one, ada)
    await world.join(outer, groups[0])
    direct = [(f"G{number}", "direct") for number in range(3)]
    # The walk comes to direct groups first, and ends one beyond the limit.
    assert await groups_of(world, ada, limits=GroupLimits(page_count=2)) == [direct]


async def test_groups_are_json_that_survives_hostile_names(storage: Storage, world: World) -> None:
    name = 'St"a\\ \n </script> ☃ %s {0}'
    ada, staff = user("ada"), group(name)
    await world.store(ada, staff)
    await world.join(staff, ada)
    async with storage.begin(world.tenant, read_only=True) as tx:
        plain = await memberships.render_groups(tx, [ada.id, NOBODY], "")
        linked = await memberships.render_groups(tx, [ada.id], BASE + '/"x')
    assert plain[NOBODY] == ""
    assert orjson.loads(plain[ada.id]) == [{"value": str(staff.id), "display": name, "type": "direct"}]
    assert orjson.loads(linked[ada.id]) == [
        {"value": str(staff.id), "$ref": f'{BASE}/"x/Groups/{staff.id}', "display": name, "type": "direct"}
    ]


async def test_fill_gives_new_groups_their_members(storage: Storage, world: World) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    one, two, empty = group("One"), group("Two"), group("Empty")
    shouted = str(bob.id).upper()
    async with storage.begin(world.tenant) as tx:
        await resources.insert(tx, [one, two, empty])
        # In a circle.
        wanted: dict[ResourceId, list[str | ResourceId]] = {
            one.id: [ada.id, str(bob.id), shouted, two.id, NOBODY, "nonsense"],
            two.id: [one.id, two.id],
            empty.id: [],
        }
        filled = await memberships.fill(tx, wanted)
        assert await memberships.fill(tx, {}) == {}
    assert {group: write.changed for group, write in filled.items()} == {one.id: 3, two.id: 1, empty.id: 0}
    assert {group: set(write.unknown) for group, write in filled.items()} == {
        one.id: {NOBODY, "nonsense", shouted}, two.id: {two.id}, empty.id: set()
    }  # fmt: skip
    assert await members_of(world, one.id) == [str(found.id) for found in (ada, bob, two)]
    assert await members_of(world, two.id) == [str(one.id)]


async def test_batches_that_fill_groups_with_the_same_people_do_not_deadlock(storage: Storage, world: World) -> None:
    users = [user(f"u{number}") for number in range(30)]
    await world.store(*users)

    async def batch(order: list[NewResource]) -> None:
        groups = [group(f"g{number}") for number in range(30)]
        async with storage.begin(world.tenant) as tx:
            await resources.insert(tx, groups)
            await memberships.fill(tx, {one.id: [member.id] for one, member in zip(groups, order, strict=True)})

    # A deadlock would raise Unavailable.
    await asyncio.gather(*(batch(users[:: 1 if number % 2 else -1]) for number in range(8)))


async def test_fifty_that_add_to_one_group_at_once_lose_nobody(storage: Storage, world: World) -> None:
    users, staff = [user(f"u{number}") for number in range(50)], group("Staff")
    await world.store(*users, staff)

    async def add(one: NewResource) -> None:
        async with storage.begin(world.tenant) as tx:
            await resources.get(tx, staff.type, [staff.id], lock=True)
            write = await memberships.add(tx, staff.id, [one.id])
            assert write == memberships.MemberWrite(1, ())
            await resources.touch(tx, [staff.id], later(1))

    await asyncio.gather(*map(add, users))
    assert await members_of(world, staff.id) == [str(one.id) for one in users]
    async with storage.begin(world.tenant) as tx:
        assert (await resources.get(tx, staff.type, [staff.id]))[staff.id].version == 51
    assert (await world.row(staff))["desired_version"] == 51


async def test_adders_removers_and_deletions_at_once_leave_what_each_meant(storage: Storage, world: World) -> None:
    kinds = ("stay", "come", "go", "die")
    users = {kind: [user(f"{kind}{number}") for number in range(12)] for kind in kinds}
    staff = group("Staff")
    await world.store(*(one for some in users.values() for one in some), staff)
    await world.join(staff, *users["stay"], *users["go"], *users["die"])

    async def patch(write: Callable[..., Awaitable[object]], one: NewResource) -> None:
        async with storage.begin(world.tenant) as tx:
            await resources.get(tx, staff.type, [staff.id], lock=True)
            await write(tx, staff.id, [one.id])
            await resources.touch(tx, [staff.id], later(1))

    # A deadlock would raise Unavailable.
    await asyncio.gather(
        *(patch(memberships.add, one) for one in users["come"]),
        *(patch(memberships.remove, one) for one in users["go"]),
        *(world.delete(one) for one in users["die"]),
    )
    assert await members_of(world, staff.id) == [str(one.id) for one in (*users["stay"], *users["come"])]
