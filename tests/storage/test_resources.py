"""Users and groups: written in batches, found by key, paged in order of creation."""

import asyncio
from typing import Literal

import orjson
import pytest

from control_plane.domain.resources import NewResource, ResourceType
from control_plane.domain.targets import TargetState
from control_plane.scim.errors import InvalidValue, Uniqueness
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage
from tests.storage.world import NOW, World, eventually_blocked, group, later, make_tenant, make_world, new_id, user

USER, GROUP = ResourceType.USER, ResourceType.GROUP


async def test_insert_stores_counts_and_marks(storage: Storage, world: World) -> None:
    ada = user("Ada", external_id="e1", display_name="Ada L", document={"userName": "Ada", "title": "Countess"})
    async with storage.begin(world.tenant) as tx:
        written = await resources.insert(tx, [ada])
        stored = (await resources.get(tx, USER, [ada.id]))[ada.id]
        page = await resources.page(tx, USER, 1, 10)
    assert written.ids == {ada.id}
    assert [(one.key, one.version, one.active) for one in written.raised] == [(world.key(ada), 1, True)]
    assert (stored.version, stored.user_name, stored.external_id, stored.display_name) == (1, "Ada", "e1", "Ada L")
    assert (stored.created_at, stored.updated_at) == (NOW, NOW)
    assert orjson.loads(stored.document) == ada.document
    assert (page.total, page.resources) == (1, (stored,))
    assert (await world.row(ada))["dirty_since"] is not None


async def test_insert_marks_every_target_and_says_which_are_active(storage: Storage) -> None:
    paused = await make_world(storage, TargetState.PAUSED)
    raised = await paused.store(user("ada"), user("bob"))
    assert [(one.key.target, one.active) for one in raised] == [(paused.target, False)] * 2


async def test_insert_without_targets_raises_nothing(storage: Storage) -> None:
    tenant = await make_tenant(storage)
    async with storage.begin(tenant) as tx:
        written = await resources.insert(tx, [user("ada"), group("Staff")])
    assert (len(written.ids), written.raised) == (2, ())


async def test_a_taken_user_name_is_left_out_and_its_neighbours_are_stored(storage: Storage, world: World) -> None:
    await world.store(user("ada"))
    again, bob = user("ADA"), user("bob")
    async with storage.begin(world.tenant) as tx:
        written = await resources.insert(tx, [again, bob])
        page = await resources.page(tx, USER, 1, 10)
    assert written.ids == {bob.id}
    assert page.total == 2


async def test_user_names_compare_casefolded(storage: Storage, world: World) -> None:
    await world.store(user("STRASSE@EXAMPLE.ORG"))
    async with storage.begin(world.tenant) as tx:
        found = await resources.find(tx, USER, "userName", "straße@example.org", 1, 10)
    assert found.total == 1


async def test_of_concurrent_creates_of_one_name_one_wins(storage: Storage, world: World) -> None:
    async def create(name: str) -> int:
        async with storage.begin(world.tenant) as tx:
            return len((await resources.insert(tx, [user(name)])).ids)

    names = ["Ada@example.org", "ada@example.org", "ADA@example.org", "aDa@example.org"] * 2
    assert sum(await asyncio.gather(*(create(name) for name in names))) == 1
    async with storage.begin(world.tenant) as tx:
        assert (await resources.page(tx, USER, 1, 0)).total == 1


async def test_groups_may_share_a_display_name(world: World) -> None:
    assert len(await world.store(group("Staff"), group("staff"))) == 2


async def test_get_is_by_type(storage: Storage, world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    async with storage.begin(world.tenant) as tx:
        assert set(await resources.get(tx, USER, [ada.id, staff.id, new_id()])) == {ada.id}
        assert set(await resources.get(tx, GROUP, [ada.id, staff.id], lock=True)) == {staff.id}


async def test_update_replaces_and_raises(storage: Storage, world: World) -> None:
    ada = user("ada", external_id="e1")
    await world.store(ada)
    new = user("Ada2", id=ada.id, active=False, document={"userName": "Ada2"}, at=later(5))
    async with storage.begin(world.tenant) as tx:
        await resources.get(tx, USER, [ada.id], lock=True)
        written = await resources.update(tx, [new])
        stored = (await resources.get(tx, USER, [ada.id]))[ada.id]
    assert [(one.key, one.version) for one in written.raised] == [(world.key(ada), 2)]
    assert (stored.version, stored.user_name, stored.external_id, stored.active) == (2, "Ada2", None, False)
    assert (stored.created_at, stored.updated_at) == (NOW, later(5))


async def test_update_to_a_taken_name_is_refused_and_undone(storage: Storage, world: World) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    with pytest.raises(Uniqueness):
        async with storage.begin(world.tenant) as tx:
            await resources.update(tx, [user("ADA", id=bob.id)])
    async with storage.begin(world.tenant) as tx:
        assert (await resources.get(tx, USER, [bob.id]))[bob.id].version == 1


async def test_update_may_change_the_case_of_ones_own_name(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        assert (await resources.update(tx, [user("ADA", id=ada.id)])).ids == {ada.id}


async def test_what_no_index_can_hold_is_refused(world: World) -> None:
    for change in ({"user_name": "a" * 1025}, {"external_id": "ü" * 513}, {"display_name": "d" * 1025}):
        with pytest.raises(InvalidValue):
            await world.store(user("ada", **change))


async def test_touch_raises_version_and_marks(storage: Storage, world: World) -> None:
    staff = group("Staff")
    await world.store(staff)
    async with storage.begin(world.tenant) as tx:
        written = await resources.touch(tx, [staff.id], later(3))
        stored = (await resources.get(tx, GROUP, [staff.id]))[staff.id]
    assert (stored.version, stored.updated_at) == (2, later(3))
    assert [one.version for one in written.raised] == [2]


async def test_delete_leaves_a_tombstone_and_touches_the_groups(storage: Storage, world: World) -> None:
    ada, bob, staff, other = user("ada"), user("bob"), group("Staff"), group("Other")
    await world.store(ada, bob, staff, other)
    await world.join(staff, ada, bob)
    written = await world.delete(ada)
    assert written.ids == {ada.id}
    assert {(one.key.resource, one.version) for one in written.raised} == {(ada.id, 2), (staff.id, 2)}
    assert (await world.row(ada))["deleted"] is True
    assert (await world.row(staff))["deleted"] is False
    async with storage.begin(world.tenant) as tx:
        assert (await resources.page(tx, USER, 1, 10)).total == 1
        groups = await resources.get(tx, GROUP, [staff.id, other.id])
        assert (groups[staff.id].version, groups[staff.id].updated_at) == (2, later(2))
        assert groups[other.id].version == 1
        assert (await memberships.render(tx, [staff.id], ""))[staff.id][1] == 1


async def test_the_name_of_a_deleted_user_is_free_at_once(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.delete(ada)
    assert len(await world.store(user("ada"))) == 1


async def test_deleting_a_group_deletes_its_memberships(storage: Storage, world: World) -> None:
    ada, inner, outer = user("ada"), group("Inner"), group("Outer")
    await world.store(ada, inner, outer)
    await world.join(inner, ada)
    await world.join(outer, inner)
    written = await world.delete(inner)
    assert {one.key.resource for one in written.raised} == {inner.id, outer.id}
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT count(*) FROM memberships") == [(0,)]


async def test_users_and_groups_go_together(storage: Storage, world: World) -> None:
    ada, bob, inner, outer, other = user("ada"), user("bob"), group("Inner"), group("Outer"), group("Other")
    await world.store(ada, bob, inner, outer, other)
    await world.join(inner, ada, outer)
    await world.join(outer, inner, bob)
    await world.join(other, ada, inner)
    written = await world.delete(inner, ada, outer)
    assert written.ids == {ada.id, inner.id, outer.id}
    # A group that goes as well is not raised a second time for what it held.
    assert {(one.key.resource, one.version) for one in written.raised} == {
        (one.id, 2) for one in (ada, inner, outer, other)
    }
    assert [(await world.row(one))["deleted"] for one in (ada, inner, outer, other)] == [True, True, True, False]
    async with storage.begin(world.tenant) as tx:
        assert [(await resources.page(tx, kind, 1, 0)).total for kind in (USER, GROUP)] == [1, 1]
        assert await tx.fetch("SELECT count(*) FROM memberships") == [(0,)]


async def test_delete_of_what_is_not_there_changes_nothing(storage: Storage, world: World) -> None:
    async with storage.begin(world.tenant) as tx:
        for ids in ([], [new_id()]):
            written = await resources.delete_locked(tx, ids, later(1))
            assert (written.ids, written.raised) == (frozenset(), ())


async def test_a_member_added_during_its_deletion_still_touches_the_group(storage: Storage, world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    async with storage.begin(world.tenant) as adding:
        await memberships.add(adding, staff.id, [ada.id])
        deleting = asyncio.create_task(world.delete(ada))
        # The deletion waits for the lock that the membership holds on its member.
        await eventually_blocked(storage)
    written = await deleting
    assert staff.id in {one.key.resource for one in written.raised}


Attribute = Literal["id", "userName", "externalId", "displayName"]
FINDS: tuple[tuple[Attribute, str, list[str]], ...] = (
    ("userName", "ADA", ["ada"]),
    ("userName", "nobody", []),
    ("externalId", "shared", ["ada", "bob"]),
    ("externalId", "SHARED", []),
    ("displayName", "same", ["ada", "bob"]),
    ("id", "not-a-uuid", []),
)


async def test_find(storage: Storage, world: World) -> None:
    rows = [user(name, external_id="shared", display_name="Same") for name in ("ada", "bob")]
    await world.store(*rows, group("Same"))
    async with storage.begin(world.tenant) as tx:
        for attribute, value, hits in FINDS:
            found = await resources.find(tx, USER, attribute, value, 1, 10)
            assert (found.total, [one.user_name for one in found.resources]) == (len(hits), hits), attribute


async def test_find_by_id_is_exact(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        assert (await resources.find(tx, USER, "id", str(ada.id), 1, 10)).total == 1
        assert (await resources.find(tx, USER, "id", str(ada.id).upper(), 1, 10)).total == 0
        assert (await resources.find(tx, GROUP, "id", str(ada.id), 1, 10)).total == 0
        assert (await resources.find(tx, GROUP, "userName", "ada", 1, 10)).total == 0


async def test_find_pages(storage: Storage, world: World) -> None:
    rows = [user(f"u{number}", external_id="shared") for number in range(5)]
    await world.store(*rows)
    async with storage.begin(world.tenant) as tx:
        second = await resources.find(tx, USER, "externalId", "shared", 2, 2)
        beyond = await resources.find(tx, USER, "externalId", "shared", 9, 2)
        none = await resources.find(tx, USER, "userName", "u1", 1, 0)
    assert (second.total, [one.id for one in second.resources]) == (5, [rows[1].id, rows[2].id])
    assert (beyond.total, beyond.resources) == (5, ())
    assert (none.total, none.resources) == (1, ())


PAGES: tuple[tuple[int, int, list[int]], ...] = ((1, 2, [0, 1]), (3, 2, [2, 3]), (5, 9, [4]), (6, 2, []), (1, 0, []))


async def test_page(storage: Storage, world: World) -> None:
    rows = [user(f"u{number}") for number in range(5)]
    for row in rows:
        await world.store(row, group("Staff"))
    async with storage.begin(world.tenant) as tx:
        for start, count, expected in PAGES:
            found = await resources.page(tx, USER, start, count)
            assert found.total == 5
            assert [one.id for one in found.resources] == [rows[number].id for number in expected]


async def test_a_batch_takes_many_rows(storage: Storage, world: World) -> None:
    rows: list[NewResource] = [user(f"u{number}") for number in range(200)]
    await world.store(*rows)
    async with storage.begin(world.tenant) as tx:
        assert len(await resources.get(tx, USER, [row.id for row in rows])) == 200
        assert len((await resources.update(tx, rows)).raised) == 200
