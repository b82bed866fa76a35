"""A limit of users is exact, however many create some at once; far from it nobody waits."""

import asyncio
from uuid import uuid4

import pytest

from control_plane.domain.errors import Contended
from control_plane.services.again import again
from control_plane.storage import quotas, resources
from control_plane.storage.engine import Storage
from tests.storage.world import World, eventually_blocked, group, make_world, user

FAR = 1_000_000


async def create(world: World, limit: int, wanted: int) -> int:
    """Create as many of ``wanted`` users as the limit allows; return how many."""

    async def transaction() -> int:
        async with world.storage.begin(world.tenant) as tx:
            places = await quotas.room(tx, limit, wanted)
            rows = [user(f"user-{uuid4()}") for _ in range(places)]
            return len((await resources.insert(tx, rows)).ids) if rows else 0

    return await again(transaction)


async def users_of(world: World) -> int:
    async with world.storage.begin(world.tenant) as tx:
        counted = await tx.fetch("SELECT sum(count)::bigint FROM counters WHERE type = 1")
        stored = await tx.fetch("SELECT count(*) FROM resources WHERE type = 1")
    assert counted == stored
    found: int = stored[0][0]
    return found


@pytest.mark.parametrize(("most", "limit"), [(10, 25), (1, 450)])
async def test_the_limit_is_reached_and_never_passed(
    world: World, monkeypatch: pytest.MonkeyPatch, most: int, limit: int
) -> None:
    """With ``most`` 1 the creators share the lock at first, and take turns only behind 50 users."""
    monkeypatch.setattr(quotas, "SHARED_MOST", most)
    wishes = [1, 1, 3, 1, 20, 1] * (limit // 20 + 1)
    made = await asyncio.gather(*(create(world, limit, wish) for wish in wishes))
    assert sum(made) == limit
    assert await users_of(world) == limit
    assert await create(world, limit, 1) == 0


async def test_groups_need_no_place(world: World) -> None:
    await world.store(*(group(f"g{number}") for number in range(5)))
    assert await create(world, 2, 5) == 2


async def test_a_deleted_user_gives_its_place_back(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    assert await create(world, 1, 1) == 0
    await world.delete(ada)
    assert await create(world, 1, 1) == 1


async def test_more_than_the_limit_by_now_is_no_place(world: World) -> None:
    await world.store(*(user(f"old-{number}") for number in range(5)))
    assert await create(world, 3, 1) == 0


async def test_far_from_the_limit_nobody_waits(world: World) -> None:
    async with world.storage.begin(world.tenant) as first, world.storage.begin(world.tenant) as second:
        assert await quotas.room(first, FAR, 1) == 1
        assert await quotas.room(second, FAR, quotas.SHARED_MOST) == quotas.SHARED_MOST


@pytest.mark.parametrize(("limit", "wanted"), [(5, 1), (FAR, 11)])
async def test_near_the_limit_and_for_many_creators_take_turns(
    storage: Storage, world: World, limit: int, wanted: int
) -> None:
    async with world.storage.begin(world.tenant) as first:
        assert await quotas.room(first, limit, wanted) == wanted
        second = asyncio.create_task(create(world, limit, 1))
        await eventually_blocked(storage)
        await resources.insert(first, [user(f"mine-{number}") for number in range(wanted)])
    assert await second == 1
    assert await users_of(world) == wanted + 1


async def test_who_waited_while_the_limit_came_near_begins_again(
    storage: Storage, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock that others share: to ask for it alone now could be a deadlock."""
    monkeypatch.setattr(quotas, "SHARED_MOST", 1)
    limit = 500

    async def share() -> int:
        async with world.storage.begin(world.tenant) as tx:
            return await quotas.room(tx, limit, 1)

    async with world.storage.begin(world.tenant) as first:
        assert await quotas.room(first, limit, 400) == 400
        second = asyncio.create_task(share())
        await eventually_blocked(storage)
        await resources.insert(first, [user(f"mine-{number}") for number in range(400)])
    with pytest.raises(Contended):
        await second
    assert await share() == 1


async def test_tenants_do_not_wait_for_each_other(storage: Storage, world: World) -> None:
    other = await make_world(storage)
    async with storage.begin(world.tenant) as mine, storage.begin(other.tenant) as theirs:
        assert await quotas.room(mine, 5, 1) == 1
        assert await quotas.room(theirs, 5, 1) == 1
