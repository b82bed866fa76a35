"""Marks and the beginning of leases."""

import asyncio
from collections.abc import Callable

import pytest

from control_plane.domain.errors import LeaseLost, Unavailable
from control_plane.domain.jobs import Failure, Fence, JobKey
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.domain.targets import Former, TargetState, Work
from control_plane.storage import memberships, provisioning, resources, targets
from control_plane.storage.engine import Storage
from tests.storage.world import NOW, World, done, failed, group, later, make_world, target_of, user


async def test_dispatch_records_the_fence_and_reads_the_work(world: World) -> None:
    ada = user("ada", document={"userName": "ada", "title": "Countess"})
    await world.store(ada)
    work = await world.lease(ada, Fence(1, 7))
    assert work is not None
    assert (work.target, work.resource, work.type) == (world.target, ada.id, ResourceType.USER)
    assert (work.desired_version, work.applied_version, work.remote_id, work.attempts) == (1, 0, "", 0)
    assert work.target_state is TargetState.ACTIVE
    assert work.desired is not None
    assert "Countess" in work.desired.document
    row = await world.row(ada)
    assert (row["epoch"], row["fence"], row["worker"]) == (1, 7, "worker-1")
    assert row["leased_at"] is not None


@pytest.mark.parametrize(
    ("second", "granted"),
    [(Fence(1, 8), True), (Fence(2, 1), True), (Fence(1, 7), False), (Fence(1, 6), False), (Fence(0, 9), False)],
)
async def test_dispatch_takes_only_newer_fences(world: World, second: Fence, granted: bool) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, Fence(1, 7))
    assert (await world.lease(ada, second) is not None) == granted


async def test_dispatch_leaves_unknown_keys_out(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    claims = [(world.key(ada), Fence(1, 1)), (world.key(user("ghost")), Fence(1, 2))]
    async with storage.begin_batch([world.tenant]) as tx:
        assert set(await provisioning.dispatch(tx, claims, "w", NOW)) == {world.key(ada)}
        assert await provisioning.dispatch(tx, [], "w", NOW) == {}


async def test_dispatch_spans_tenants_but_only_those_it_began_for(storage: Storage, world: World) -> None:
    other, third = await make_world(storage), await make_world(storage)
    rows = [user("ada"), user("bob"), user("eve")]
    worlds = [world, other, third]
    for one, row in zip(worlds, rows, strict=True):
        await one.store(row)
    claims = [(one.key(row), Fence(1, 1)) for one, row in zip(worlds, rows, strict=True)]
    async with storage.begin_batch([world.tenant, other.tenant]) as tx:
        works = await provisioning.dispatch(tx, claims, "w", NOW)
    assert set(works) == {claims[0][0], claims[1][0]}


async def test_dispatch_of_a_tombstone_has_no_desired_state(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", Fence(1, 1))
    await world.delete(ada)
    work = await world.lease(ada, Fence(1, 2))
    assert work is not None
    assert (work.desired, work.remote_id, work.desired_version, work.applied_version) == (None, "r-1", 2, 1)


async def test_a_tombstone_without_a_link_says_what_it_was_called(world: World) -> None:
    ada, staff = user("Ada", external_id="x-1"), group("Staff")
    await world.store(ada, staff)
    for one, name, external_id in ((ada, "Ada", "x-1"), (staff, "Staff", "")):
        await world.delete(one)
        work = await world.lease(one, Fence(1, 2))
        assert work is not None
        assert (work.remote_id, work.former) == ("", Former(name, external_id))


@pytest.mark.parametrize("make", [user, group])
async def test_a_former_name_that_lives_again_is_not_told(world: World, make: Callable[[str], NewResource]) -> None:
    old, new = make("Same"), make("SAME")
    await world.store(old)
    await world.delete(old)
    await world.store(new)
    work = await world.lease(old, Fence(1, 1))
    assert work is not None
    assert work.former is None


async def test_a_linked_tombstone_needs_no_former_name(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", Fence(1, 1))
    await world.delete(ada)
    work = await world.lease(ada, Fence(1, 2))
    assert work is not None
    assert work.former is None


async def test_dispatch_reads_version_and_document_of_one_write(storage: Storage, world: World) -> None:
    """A dispatch that waited for a write must not pair the new version with the old document."""
    ada = user("ada")
    await world.store(ada)
    async with storage.begin(world.tenant) as tx:
        await resources.update(tx, [user("ada", id=ada.id, document={"userName": "ada", "title": "new"})])
        leasing = asyncio.create_task(world.lease(ada, Fence(1, 1)))
        await eventually_waiting(leasing)
    work = await leasing
    assert work is not None
    assert work.desired is not None
    assert (work.desired_version, work.desired.version, "new" in work.desired.document) == (2, 2, True)


async def eventually_waiting(task: "asyncio.Task[Work | None]") -> None:
    """Let the task come as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert not task.done()


async def test_redirty_raises_once_more(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", Fence(1, 1))
    assert await world.dirty() == set()
    async with storage.begin_batch([world.tenant]) as tx:
        raised = await provisioning.redirty(tx, [world.key(ada), world.key(user("ghost"))], later(9))
    assert [(one.key, one.version, one.active) for one in raised] == [(world.key(ada), 2, True)]
    assert await world.dirty() == {ada.id}


async def test_dirty_pages_follow_the_key_over_targets_and_tenants(storage: Storage) -> None:
    worlds = sorted([await make_world(storage) for _ in range(3)], key=lambda one: one.tenant)
    expected: list[JobKey] = []
    for one in worlds:
        more = [target_of(one.tenant), target_of(one.tenant, TargetState.PAUSED)]
        async with storage.begin(one.tenant) as tx:
            for target in more:
                await targets.insert(tx, target)
        rows = [user(f"u{number}") for number in range(3)]
        await one.store(*rows)
        expected += [one.key(row, target) for target in (one.target, more[0].id) for row in rows]
    expected.sort(key=lambda key: (key.tenant, key.target, key.resource))
    seen: list[JobKey] = []
    async with storage.begin_batch([one.tenant for one in worlds]) as tx:
        while page := await provisioning.dirty_page(tx, seen[-1] if seen else None, 4):
            seen += [dirty.key for dirty in page]
    assert seen == expected


async def test_dirty_page_says_who_holds_a_lease(storage: Storage, world: World) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    await world.lease(ada, Fence(3, 4))
    async with storage.begin_batch([world.tenant]) as tx:
        page = await provisioning.dirty_page(tx, None, 10)
    assert page == [
        provisioning.Dirty(world.key(ada), 1, Fence(3, 4)),
        provisioning.Dirty(world.key(bob), 1, None),
    ]


async def test_member_remote_ids_are_paged_and_fenced(storage: Storage, world: World) -> None:
    users = [user(f"u{number}") for number in range(5)]
    staff = group("Staff")
    await world.store(*users, staff)
    await world.join(staff, *users)
    for number, one in enumerate(users[:4]):
        await world.link(one, f"r-{number}", Fence(1, number + 1))
    await world.lease(staff, Fence(1, 9))
    key = world.key(staff)
    async with storage.begin_batch([world.tenant]) as tx:
        first = await provisioning.member_remote_ids(tx, key, Fence(1, 9), None, 3)
        second = await provisioning.member_remote_ids(tx, key, Fence(1, 9), first[-1], 3)
        with pytest.raises(LeaseLost):
            await provisioning.member_remote_ids(tx, key, Fence(1, 8), None, 3)
        with pytest.raises(LeaseLost):
            await provisioning.member_remote_ids(tx, world.key(group("Ghost")), Fence(1, 9), None, 3)
    assert (first, second) == (["r-0", "r-1", "r-2"], ["r-3"])


async def test_backfill_marks_what_is_there(storage: Storage, world: World) -> None:
    rows = [user("ada"), user("bob"), group("Staff")]
    await world.store(*rows)
    target = target_of(world.tenant, TargetState.PAUSED)
    async with storage.begin(world.tenant, exclusive=True) as tx:
        await targets.insert(tx, target)
        assert await provisioning.backfill(tx, target.id, NOW) == 3
        assert (await provisioning.status(tx, target.id)).pending == 3


async def test_backfill_insists_on_having_the_tenant_alone(storage: Storage, world: World) -> None:
    with pytest.raises(RuntimeError, match="tenant's lock"):
        async with storage.begin(world.tenant) as tx:
            await provisioning.backfill(tx, world.target, NOW)


async def test_backfill_misses_no_write_that_is_under_way(storage: Storage, world: World) -> None:
    """A resource written by a transaction that cannot see the new target is marked by the backfill."""
    target = target_of(world.tenant)

    async def attach() -> int:
        async with storage.begin(world.tenant, exclusive=True) as tx:
            await targets.insert(tx, target)
            return await provisioning.backfill(tx, target.id, NOW)

    async with storage.begin(world.tenant) as tx:
        await resources.insert(tx, [user("ada")])
        attaching = asyncio.create_task(attach())
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not attaching.done()
        # A reader is not held up.
        async with storage.begin(world.tenant, read_only=True) as reading:
            await reading.fetch("SELECT 1")
    assert await attaching == 1


async def test_a_writer_waits_for_the_backfill_no_longer_than_its_limit(storage: Storage, world: World) -> None:
    async with storage.begin(world.tenant, exclusive=True):
        with pytest.raises(Unavailable):
            async with storage.begin(world.tenant, timeout_s=0.05):
                pass


async def test_status_counts(storage: Storage, world: World) -> None:
    ada, bob, eve, gone = user("ada"), user("bob"), user("eve"), user("gone")
    await world.store(ada, bob, eve, gone)
    await world.link(ada, "r-1", Fence(1, 1))
    await world.link(gone, "r-2", Fence(1, 2))
    await world.delete(gone)
    await world.lease(bob, Fence(1, 3))
    await world.settle(failed(world.key(bob), Fence(1, 3), Failure.INVALID, error="userName is bad"))
    async with storage.begin(world.tenant, read_only=True) as tx:
        status = await provisioning.status(tx, world.target)
    assert (status.total, status.pending, status.failing) == (4, 3, 1)
    assert (status.oldest_pending_at, status.last_error) == (NOW, "userName is bad")
    await world.lease(gone, Fence(1, 4))
    await world.settle(done(world.key(gone), Fence(1, 4), 2, ""))
    async with storage.begin(world.tenant, read_only=True) as tx:
        assert (await provisioning.status(tx, world.target)).total == 3


async def test_members_change_does_not_need_the_target(storage: Storage, world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    await world.link(staff, "g-1", Fence(1, 1))
    async with storage.begin(world.tenant) as tx:
        await memberships.add(tx, staff.id, [ada.id])
        await resources.touch(tx, [staff.id], later(1))
    assert staff.id in await world.dirty()
