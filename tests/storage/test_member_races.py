"""A member's first account and its membership, written at the same moment: the group gets to know of both."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from control_plane.domain.jobs import Fence
from control_plane.domain.resources import NewResource
from control_plane.storage import memberships, provisioning, resources
from control_plane.storage.engine import Storage, Tx
from tests.storage.world import World, done, eventually_blocked, group, later, user

ONE, TWO, THREE = Fence(1, 1), Fence(1, 2), Fence(1, 3)
Change = Callable[[Tx, NewResource, NewResource], Awaitable[object]]


async def add_and_touch(tx: Tx, staff: NewResource, ada: NewResource) -> None:
    """As a PATCH of the members."""
    await resources.get(tx, staff.type, [staff.id], lock=True)
    await memberships.add(tx, staff.id, [ada.id])
    await resources.touch(tx, [staff.id], later(2))


async def replace_and_update(tx: Tx, staff: NewResource, ada: NewResource) -> None:
    """As a PUT."""
    await resources.get(tx, staff.type, [staff.id], lock=True)
    await memberships.replace(tx, staff.id, [ada.id])
    await resources.update(tx, [replace(staff, display_name="Staff 2")])


async def create(tx: Tx, staff: NewResource, ada: NewResource) -> None:
    """As a POST."""
    await resources.insert(tx, [staff])
    await memberships.replace(tx, staff.id, [ada.id])


CHANGES = (add_and_touch, replace_and_update, create)


async def prepared(world: World, change: Change, account: str | None) -> tuple[NewResource, NewResource]:
    """Return a user with a lease and perhaps an account, and a group without members, unless ``change`` makes it."""
    ada, staff = user("ada"), group("Staff")
    await world.store(ada)
    if change is not create:
        await world.store(staff)
        await world.link(staff, "g-1", ONE)
    if account is not None:
        await world.link(ada, account, ONE)
    assert await world.lease(ada, TWO) is not None
    return ada, staff


async def accounts_at_lease(world: World, staff: NewResource) -> list[str]:
    """Return which accounts a lease of the group puts into it now."""
    assert await world.lease(staff, THREE) is not None
    async with world.storage.begin_batch([world.tenant]) as tx:
        return await provisioning.member_remote_ids(tx, world.key(staff), THREE, None, 9)


@pytest.mark.parametrize("account", [None, "r-0"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_membership_waits_for_the_account_that_is_being_settled(
    storage: Storage, world: World, change: Change, account: str | None
) -> None:
    ada, staff = await prepared(world, change, account)

    async def join() -> None:
        async with storage.begin(world.tenant) as tx:
            await change(tx, staff, ada)

    async with storage.begin_batch([world.tenant]) as settling:
        outcome = await provisioning.settle(settling, [done(world.key(ada), TWO, 1, "r-1")])
        joining = asyncio.create_task(join())
        await eventually_blocked(storage)
    assert outcome.raised == ()
    await joining
    assert staff.id in await world.dirty()
    assert await accounts_at_lease(world, staff) == ["r-1"]


@pytest.mark.parametrize("account", [None, "r-0"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_settlement_waits_for_the_membership_that_is_being_written(
    storage: Storage, world: World, change: Change, account: str | None
) -> None:
    ada, staff = await prepared(world, change, account)
    async with storage.begin(world.tenant) as tx:
        await change(tx, staff, ada)
        settling = asyncio.create_task(world.settle(done(world.key(ada), TWO, 1, "r-1")))
        await eventually_blocked(storage)
    assert [one.key for one in (await settling).raised] == [world.key(staff)]


async def test_kept_members_are_not_locked(storage: Storage, world: World) -> None:
    """A large group does not hold up the settlement of all its members for each change."""
    ada, bob, staff = user("ada"), user("bob"), group("Staff")
    await world.store(ada, bob, staff)
    await world.join(staff, ada)
    await world.lease(ada, ONE)
    async with storage.begin(world.tenant) as tx:
        await memberships.replace(tx, staff.id, [ada.id, bob.id])
        await resources.update(tx, [staff])
        held = "SELECT resource_id FROM provisioning WHERE tenant_id = %(tenant)b FOR UPDATE SKIP LOCKED"
        async with storage.begin(world.tenant) as other:
            free = await other.fetch(held, {"tenant": world.tenant})
    assert free == [(ada.id,)]


async def test_members_added_one_by_one_do_not_deadlock_with_their_settlement(storage: Storage, world: World) -> None:
    # The groups are older than some members and younger than others: neither side of the order by chance.
    before, groups, after = (
        [user(f"a{number}") for number in range(8)],
        [group(f"g{number}") for number in range(6)],
        [user(f"b{number}") for number in range(8)],
    )
    await world.store(*before, *groups, *after)
    users = [*before, *after]
    for number, row in enumerate([*users, *groups]):
        await world.lease(row, Fence(1, number + 1))
    results = [done(world.key(row), Fence(1, number + 1), 1, f"r-{number}") for number, row in enumerate(users)]

    async def patch(one: NewResource, order: list[NewResource]) -> None:
        for half in (order[::2], order[1::2]):
            async with storage.begin(world.tenant) as tx:
                await resources.get(tx, one.type, [one.id], lock=True)
                for member in half:
                    await memberships.add(tx, one.id, [member.id])
                await resources.touch(tx, [one.id], later(2))

    patches = [patch(one, users[:: 1 if number % 2 else -1]) for number, one in enumerate(groups)]
    settlements = [world.settle(*results[side::3]) for side in range(3)]
    # A deadlock would raise Unavailable.
    await asyncio.gather(*patches, *settlements)
    assert await world.dirty() == {one.id for one in groups}
    for number, one in enumerate(groups):
        async with storage.begin_batch([world.tenant]) as tx:
            fence = Fence(1, 17 + number)
            assert len(await provisioning.member_remote_ids(tx, world.key(one), fence, None, 99)) == len(users)
