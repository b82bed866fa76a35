"""How leases end: the fence, first accounts that groups wait for, and tombstones whose account lives on."""

import asyncio
import os

import psycopg
import pytest

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.jobs import Effect, Failure, Fence
from control_plane.domain.targets import TargetState
from control_plane.storage import provisioning, targets
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database
from tests.storage.world import World, connected, done, failed, group, make_world, target_of, user

ONE, TWO, THREE, FOUR = Fence(1, 1), Fence(1, 2), Fence(1, 3), Fence(1, 4)


async def test_done_is_applied_and_linked(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    outcome = await world.link(ada, "r-1", ONE)
    row = await world.row(ada)
    assert (outcome.accepted, outcome.raised, outcome.lags_s) == (frozenset({world.key(ada)}), (), (1.0,))
    assert (row["applied_version"], row["remote_id"], row["attempts"], row["leased_at"]) == (1, "r-1", 0, None)
    assert (row["dirty_since"], row["last_error"]) == (None, None)
    assert row["applied_at"] is not None
    assert await world.dirty() == set()


@pytest.mark.parametrize(("late", "taken"), [(ONE, False), (TWO, True), (Fence(0, 99), False), (Fence(2, 1), True)])
async def test_a_result_with_an_old_fence_changes_nothing(world: World, late: Fence, taken: bool) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    await world.lease(ada, TWO)
    before = await world.row(ada)
    outcome = await world.settle(done(world.key(ada), late, 1, "r-late"))
    assert (world.key(ada) in outcome.accepted) == taken
    assert (await world.row(ada) == before) != taken


async def test_of_two_results_of_one_batch_the_late_one_is_refused(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, TWO)
    outcome = await world.settle(done(world.key(ada), TWO, 1, "r-2"), done(world.key(ada), ONE, 1, "r-1"))
    assert outcome.accepted == {world.key(ada)}
    assert (await world.row(ada))["remote_id"] == "r-2"


async def test_a_change_during_the_lease_leaves_the_key_dirty(world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    await world.lease(ada, ONE)
    await world.delete(ada)
    outcome = await world.settle(done(world.key(ada), ONE, 1, "r-1"))
    row = await world.row(ada)
    assert (row["applied_version"], row["desired_version"], row["remote_id"]) == (1, 2, "r-1")
    assert outcome.lags_s == ()
    assert ada.id in await world.dirty()


async def test_a_worker_cannot_claim_more_than_was_wanted(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    await world.settle(done(world.key(ada), ONE, 99, "r-1"))
    assert (await world.row(ada))["applied_version"] == 1


async def test_applied_version_never_falls(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", ONE)
    await world.lease(ada, TWO)
    await world.settle(done(world.key(ada), TWO, 0))
    row = await world.row(ada)
    assert (row["applied_version"], row["remote_id"]) == (1, "r-1")


async def test_failures_count_and_keep_the_account(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", ONE)
    key = world.key(ada)
    for number, (failure, error) in enumerate([(Failure.THROTTLED, "slow down"), (Failure.INVALID, "bad")], 2):
        await world.lease(ada, Fence(1, number))
        await world.settle(failed(key, Fence(1, number), failure, error=error))
    row = await world.row(ada)
    assert (row["attempts"], row["last_error"], row["last_failure"], row["remote_id"]) == (2, "bad", 4, "r-1")
    await world.lease(ada, Fence(1, 4))
    await world.settle(done(key, Fence(1, 4), 1, "r-1"))
    row = await world.row(ada)
    assert (row["attempts"], row["last_error"], row["last_failure"]) == (0, None, None)


async def test_a_released_lease_costs_no_attempt(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    outcome = await world.settle(failed(world.key(ada), ONE, Failure.RELEASED, error=""))
    row = await world.row(ada)
    assert (outcome.accepted, row["attempts"], row["last_error"]) == (frozenset({world.key(ada)}), 0, None)
    assert row["leased_at"] is None


async def test_a_failure_may_bring_the_account(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    await world.settle(failed(world.key(ada), ONE, remote_id="r-1"))
    row = await world.row(ada)
    assert (row["remote_id"], row["applied_version"]) == ("r-1", 0)


async def test_the_first_account_raises_the_groups_that_wait_for_it(storage: Storage, world: World) -> None:
    ada, bob, staff, other = user("ada"), user("bob"), group("Staff"), group("Other")
    await world.store(ada, bob, staff, other)
    await world.join(staff, ada, bob)
    await world.link(staff, "g-1", ONE)
    assert staff.id not in await world.dirty()
    for row, fence in ((ada, TWO), (bob, THREE)):
        await world.lease(row, fence)
    outcome = await world.settle(done(world.key(ada), TWO, 1, "r-1"), done(world.key(bob), THREE, 1, "r-2"))
    assert [(one.key, one.version) for one in outcome.raised] == [(world.key(staff), 2)]
    # Not again: an account that is applied once more changes no membership.
    await world.lease(ada, FOUR)
    again = await world.settle(done(world.key(ada), FOUR, 1, "r-1"))
    assert again.raised == ()


async def test_another_account_raises_the_groups_as_well(storage: Storage, world: World) -> None:
    """The target's admin deleted r-1, and its memberships with it; the next lease made r-2."""
    second = target_of(world.tenant, TargetState.ACTIVE)
    ada, staff, other = user("ada"), group("Staff"), group("Other")
    async with storage.begin(world.tenant) as tx:
        await targets.insert(tx, second)
    await world.store(ada, staff, other)
    await world.join(staff, ada)
    await world.link(ada, "r-1", ONE)
    await world.link(staff, "g-1", ONE)
    await world.link(other, "g-2", ONE)
    assert await world.lease(ada, TWO) is not None
    outcome = await world.settle(done(world.key(ada), TWO, 1, "r-2"))
    assert [(one.key, one.version) for one in outcome.raised] == [(world.key(staff), 3)]


@pytest.mark.parametrize("remote_id", ["r\0", "r\ud800", "r" * 1025, "ü" * 513])
async def test_an_account_id_that_cannot_be_stored_is_refused_before_anything_happens(
    storage: Storage, world: World, remote_id: str
) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    await world.lease(ada, ONE)
    await world.lease(bob, ONE)
    good, bad = done(world.key(ada), ONE, 1, "r-1"), done(world.key(bob), ONE, 1, remote_id)
    async with storage.begin_batch([world.tenant]) as tx:
        with pytest.raises(InvalidArgument) as caught:
            await provisioning.settle(tx, [good, bad])
        # The transaction is as good as new.
        assert (await provisioning.settle(tx, [good])).accepted == {world.key(ada)}
    assert caught.value.field == "remote_id"
    assert "r" * 9 not in str(caught.value)


async def test_the_longest_account_id_fits_and_the_table_says_where_it_ends(world: World, database: Database) -> None:
    ada = user("ada")
    await world.store(ada)
    # Random, for PostgreSQL compresses what an index cannot hold otherwise.
    longest = os.urandom(512).hex()
    await world.link(ada, longest, ONE)
    assert (await world.row(ada))["remote_id"] == longest
    async with connected(database.superuser_url) as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("UPDATE provisioning SET remote_id = remote_id || 'x'")


async def test_an_error_text_is_stored_without_what_the_database_refuses(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    await world.settle(failed(world.key(ada), ONE, error="no\0 luck \ud800"))
    assert (await world.row(ada))["last_error"] == "no luck ?"


async def test_a_group_settled_in_the_same_batch_is_raised_as_well(world: World) -> None:
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    await world.join(staff, ada)
    await world.lease(ada, ONE)
    await world.lease(staff, TWO)
    outcome = await world.settle(done(world.key(staff), TWO, 1, "g-1"), done(world.key(ada), ONE, 1, "r-1"))
    assert [(one.key, one.version) for one in outcome.raised] == [(world.key(staff), 2)]
    row = await world.row(staff)
    assert (row["applied_version"], row["desired_version"]) == (1, 2)


async def test_groups_are_raised_in_the_same_target_only(storage: Storage, world: World) -> None:
    second = target_of(world.tenant, TargetState.ACTIVE)
    async with storage.begin(world.tenant) as tx:
        await targets.insert(tx, second)
    ada, staff = user("ada"), group("Staff")
    await world.store(ada, staff)
    await world.join(staff, ada)
    outcome = await world.link(ada, "r-1", ONE)
    assert {one.key.target for one in outcome.raised} == {world.target}


async def test_settling_groups_and_members_from_two_sides_does_not_deadlock(world: World) -> None:
    users, groups = [user(f"u{number}") for number in range(12)], [group(f"g{number}") for number in range(12)]
    await world.store(*users, *groups)
    for one in groups:
        await world.join(one, *users)
    for number, row in enumerate([*users, *groups]):
        await world.lease(row, Fence(1, number + 1))
    results = [
        done(world.key(row), Fence(1, number + 1), 1, f"r-{number}") for number, row in enumerate([*users, *groups])
    ]
    outcomes = await asyncio.gather(*(world.settle(*results[side::4]) for side in range(4)))
    assert sum(len(one.accepted) for one in outcomes) == 24


async def test_an_account_taken_over_by_a_living_resource_is_lost_to_the_tombstone(world: World) -> None:
    """Rule (a): deleted and created again; the target's account was found by its name."""
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await world.store(new)
    outcome = await world.link(new, "r-1", TWO)
    assert [(one.key, one.version) for one in outcome.raised] == [(world.key(new), 2)]
    assert (await world.row(old))["remote_id"] is None
    # Once: the verification itself raises nothing.
    work = await world.lease(new, THREE)
    assert work is not None
    assert (await world.settle(done(world.key(new), THREE, 2, "r-1"))).raised == ()
    work = await world.lease(old, FOUR)
    assert work is not None
    assert (work.desired, work.remote_id) == (None, "")


async def test_a_deleted_account_that_a_living_resource_holds_is_made_again(world: World) -> None:
    """Rule (b): the tombstone's deletion ran while the living resource adopted the account."""
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await world.lease(old, TWO)
    await world.store(new)
    adopted = await world.link(new, "r-1", THREE)
    assert [one.key for one in adopted.raised] == [world.key(new)]
    outcome = await world.settle(done(world.key(old), TWO, 2, "", effect=Effect.DELETED))
    assert [one.key for one in outcome.raised] == [world.key(new)]
    assert ((await world.row(old))["remote_id"], (await world.row(new))["remote_id"]) == (None, None)
    assert await world.dirty() == {new.id}


@pytest.mark.parametrize("new_first", [True, False])
async def test_adoption_and_deletion_in_one_batch(world: World, new_first: bool) -> None:
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await world.lease(old, TWO)
    await world.store(new)
    await world.lease(new, THREE)
    adopted = done(world.key(new), THREE, 1, "r-1", effect=Effect.ADOPTED)
    deleted = done(world.key(old), TWO, 2, "", effect=Effect.DELETED)
    outcome = await world.settle(*([adopted, deleted] if new_first else [deleted, adopted]))
    assert len(outcome.accepted) == 2
    # Whichever is reported first, nobody knows which came first in the target: the living one is looked at again.
    assert [one.key for one in outcome.raised] == [world.key(new)]
    assert (await world.row(new))["remote_id"] == (None if new_first else "r-1")
    assert (await world.row(old))["remote_id"] is None


async def test_an_adoption_reported_after_the_deletion_is_verified(world: World) -> None:
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await world.lease(old, TWO)
    await world.store(new)
    await world.settle(done(world.key(old), TWO, 2, "", effect=Effect.DELETED))
    outcome = await world.link(new, "r-1", THREE)
    assert [one.key for one in outcome.raised] == [world.key(new)]
    assert (await world.row(old))["remote_id"] is None


async def test_a_deletion_of_unknown_outcome_makes_the_living_resource_verify(world: World) -> None:
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await world.lease(old, TWO)
    await world.store(new)
    await world.link(new, "r-1", THREE)
    outcome = await world.settle(failed(world.key(old), TWO, Failure.TRANSIENT, error="timed out"))
    assert [one.key for one in outcome.raised] == [world.key(new)]
    assert ((await world.row(old))["remote_id"], (await world.row(new))["remote_id"]) == (None, "r-1")


async def test_a_tombstone_is_never_handed_an_account_that_lives(world: World) -> None:
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    # Its worker vanishes without a result; the next lease comes after the adoption.
    await world.lease(old, TWO)
    await world.store(new)
    await world.link(new, "r-1", THREE)
    work = await world.lease(old, FOUR)
    assert work is not None
    assert work.remote_id == ""


async def test_an_ordinary_deletion_leaves_nothing_to_do(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.link(ada, "r-1", ONE)
    await world.delete(ada)
    await world.lease(ada, TWO)
    outcome = await world.settle(done(world.key(ada), TWO, 2, "", effect=Effect.DELETED))
    row = await world.row(ada)
    assert (outcome.raised, row["applied_version"]) == ((), 2)
    assert await world.dirty() == set()


async def test_the_same_account_in_another_target_or_tenant_is_another_account(storage: Storage, world: World) -> None:
    other = await make_world(storage)
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.link(old, "r-1", ONE)
    await world.delete(old)
    await other.store(new)
    await other.lease(new, TWO)
    async with storage.begin_batch([world.tenant, other.tenant]) as tx:
        outcome = await provisioning.settle(tx, [done(other.key(new), TWO, 1, "r-1")])
    assert outcome.raised == ()
    assert (await world.row(old))["remote_id"] == "r-1"


async def test_settle_without_its_tenant_writes_nothing(storage: Storage, world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    await world.lease(ada, ONE)
    other = await make_world(storage)
    async with storage.begin_batch([other.tenant]) as tx:
        outcome = await provisioning.settle(tx, [done(world.key(ada), ONE, 1, "r-1")])
        assert await provisioning.settle(tx, []) == provisioning.SettleOutcome(frozenset(), ())
    assert outcome.accepted == frozenset()
    assert (await world.row(ada))["remote_id"] is None


async def test_a_tombstone_that_deleted_a_living_resources_account_has_it_made_again(world: World) -> None:
    """The tombstone had no link: it found the account by its former name, which a new resource took up meanwhile."""
    old, new = user("ada"), user("ada")
    await world.store(old)
    await world.delete(old)
    await world.store(new)
    assert await world.lease(old, Fence(1, 1)) is not None
    await world.link(new, "r-1", Fence(1, 2))
    outcome = await world.settle(done(world.key(old), Fence(1, 1), 2, "r-1", effect=Effect.DELETED))
    assert {one.key for one in outcome.raised} == {world.key(new)}
    assert (await world.row(new))["remote_id"] is None


async def test_an_account_that_another_living_resource_has_is_not_linked_twice(world: World) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    await world.link(ada, "r-1", Fence(1, 1))
    await world.link(bob, "r-1", Fence(1, 2))
    row = await world.row(bob)
    assert (row["remote_id"], row["applied_version"], row["last_failure"]) == (None, 0, int(Failure.INVALID))
    assert "another resource" in row["last_error"]
    assert (await world.row(ada))["remote_id"] == "r-1"


async def test_a_result_that_is_sent_again_changes_nothing(world: World) -> None:
    ada = user("ada")
    await world.store(ada)
    assert await world.lease(ada, Fence(1, 1)) is not None
    result = failed(world.key(ada), Fence(1, 1))
    assert (await world.settle(result)).repeated == frozenset()
    again = await world.settle(result)
    assert again.accepted == again.repeated == frozenset([world.key(ada)])
    assert (await world.row(ada))["attempts"] == 1
