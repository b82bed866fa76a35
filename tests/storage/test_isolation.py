"""No function of any repository reaches what belongs to another tenant: neither reads it nor changes it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from control_plane.domain.audit import Actor, ActorType, AuditEvent, AuditQuery
from control_plane.domain.errors import MusterError, NotFound
from control_plane.domain.ids import EventId, TokenId
from control_plane.domain.jobs import Fence
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.domain.targets import Target
from control_plane.domain.tenants import Tenant
from control_plane.domain.tokens import Scope, Token
from control_plane.storage import audit, memberships, provisioning, resources, targets, tenants, tokens, uniqueness
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.uniqueness import GROUP_NAME, Claim
from tests.fixtures.postgres import Database
from tests.storage.world import NOW, World, connected, done, group, make_world, new_id, target_of, user

USER, GROUP = ResourceType.USER, ResourceType.GROUP


@dataclass(frozen=True, slots=True)
class Victim:
    """Everything that the other tenant has."""

    world: World
    ada: NewResource
    staff: NewResource
    token: Token
    target: Target


def token_of(world: World) -> Token:
    return Token(TokenId(new_id()), world.tenant, new_id().hex, "label", (Scope.READ,), "hash", NOW, None, None, None)


def event_of(world: World) -> AuditEvent:
    return AuditEvent(EventId(new_id()), world.tenant, NOW, Actor(ActorType.ADMIN, "admin"), "user.create", "user", "1")


@pytest_asyncio.fixture
async def victim(storage: Storage) -> Victim:
    """Another tenant with one of each."""
    world = await make_world(storage)
    ada = user("ada", external_id="e1", display_name="Ada", keys=(("emails.value", "ada@example.org"),))
    staff = group("Staff")
    await world.store(ada, staff)
    await world.join(staff, ada)
    await world.link(ada, "r-1", Fence(1, 1))
    token, target = token_of(world), target_of(world.tenant)
    async with storage.begin(world.tenant) as tx:
        await tokens.insert(tx, token)
        await targets.insert(tx, target)
        await audit.append(tx, [event_of(world)])
    return Victim(world, ada, staff, token, target)


async def everything(database: Database) -> dict[str, list[Any]]:
    """Return every row of every table, as a superuser sees them."""
    async with connected(database.superuser_url) as connection:
        tables = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: await (await connection.execute(f"SELECT x::text FROM {name} x ORDER BY 1".encode())).fetchall()
            for (name,) in await tables.fetchall()
        }


Read = Callable[[Tx, Victim], Awaitable[Any]]
EMPTY = resources.Page(0, ())
READS: dict[str, tuple[Read, Any]] = {
    "resources.get": (lambda tx, v: resources.get(tx, USER, [v.ada.id]), {}),
    "resources.get locked": (lambda tx, v: resources.get(tx, USER, [v.ada.id], lock=True), {}),
    "resources.get_for_delete": (lambda tx, v: resources.get_for_delete(tx, [v.ada.id, v.staff.id]), {}),
    "resources.find id": (lambda tx, v: resources.find(tx, USER, "id", str(v.ada.id), 1, 9), EMPTY),
    "resources.find userName": (lambda tx, v: resources.find(tx, USER, "userName", "ada", 1, 9), EMPTY),
    "resources.find externalId": (lambda tx, v: resources.find(tx, USER, "externalId", "e1", 1, 9), EMPTY),
    "resources.find displayName": (lambda tx, v: resources.find(tx, USER, "displayName", "ada", 1, 9), EMPTY),
    "resources.page": (lambda tx, v: resources.page(tx, USER, 1, 9), EMPTY),
    "uniqueness.claim": (
        lambda tx, v: uniqueness.claim(
            tx, [Claim(GROUP_NAME, "staff", v.ada.id), Claim("emails.value", "ada@example.org", v.staff.id)]
        ),
        set(),
    ),
    "tenants.get": (lambda tx, v: tenants.get(tx, v.world.tenant), None),
    "tokens.get": (lambda tx, v: tokens.get(tx, v.token.id), None),
    "tokens.list_before": (lambda tx, v: tokens.list_before(tx, None, 9), []),
    "tokens.list_working": (lambda tx, v: tokens.list_working(tx, NOW), []),
    "tokens.list_successors": (lambda tx, v: tokens.list_successors(tx, v.token.id), []),
    "tokens.find_owners": (lambda tx, v: tokens.find_owners(tx, [v.token.key_id]), {}),
    "tokens.find_by_key_ids": (lambda tx, v: tokens.find_by_key_ids(tx, [v.token.key_id]), {}),
    "targets.get": (lambda tx, v: targets.get(tx, v.target.id), None),
    "targets.load": (lambda tx, v: targets.load(tx, [v.target.id]), {}),
    "audit.list_events": (lambda tx, v: audit.list_events(tx, AuditQuery(), None, 9), []),
}  # fmt: skip


async def test_reading_finds_nothing(storage: Storage, world: World, victim: Victim) -> None:
    for name, (read, nothing) in READS.items():
        async with storage.begin(world.tenant) as tx:
            assert await read(tx, victim) == nothing, name


async def test_rendering_members_and_status_find_nothing(storage: Storage, world: World, victim: Victim) -> None:
    async with storage.begin(world.tenant) as tx:
        assert await memberships.render(tx, [victim.staff.id], "") == {victim.staff.id: ("", 0)}
        assert await memberships.render_groups(tx, [victim.ada.id], "") == {victim.ada.id: ""}
        status = await provisioning.status(tx, victim.world.target)
    assert (status.total, status.pending, status.failing, status.last_error) == (0, 0, 0, "")


async def test_streaming_members_finds_nothing(storage: Storage, world: World, victim: Victim) -> None:
    async with storage.begin(world.tenant) as tx:
        assert [chunk async for chunk in memberships.stream(tx, victim.staff.id, "")] == []


WRITES: dict[str, Read] = {
    "resources.update": lambda tx, v: resources.update(tx, [replace(v.ada, user_name="mallory", keys=())]),
    "resources.update keys": lambda tx, v: resources.update(tx, [replace(v.ada, keys=(("emails.value", "x"),))]),
    "memberships.fill": lambda tx, v: memberships.fill(tx, {v.staff.id: [v.ada.id, v.staff.id]}),
    "resources.touch": lambda tx, v: resources.touch(tx, [v.staff.id], NOW),
    "resources.delete_locked": lambda tx, v: resources.delete_locked(tx, [v.ada.id, v.staff.id], NOW),
    "memberships.remove": lambda tx, v: memberships.remove(tx, v.staff.id, [v.ada.id]),
    "memberships.replace": lambda tx, v: memberships.replace(tx, v.staff.id, []),
    "memberships.clear": lambda tx, v: memberships.clear(tx, v.staff.id),
    "memberships.add": lambda tx, v: memberships.add(tx, v.staff.id, [v.ada.id]),
    "tokens.set_revoked": lambda tx, v: tokens.set_revoked(tx, v.token.id, NOW),
    "tokens.replace_hash": lambda tx, v: tokens.replace_hash(tx, v.token.id, v.token.hash, "mine"),
    "tokens.set_expires": lambda tx, v: tokens.set_expires(tx, v.token.id, NOW),
}


async def test_writing_changes_nothing(storage: Storage, database: Database, world: World, victim: Victim) -> None:
    before = await everything(database)
    for name, write in WRITES.items():
        async with storage.begin(world.tenant) as tx:
            await write(tx, victim)
        assert await everything(database) == before, name


REFUSED: dict[str, tuple[Read, type[MusterError]]] = {
    "tenants.insert": (lambda tx, v: tenants.insert(tx, Tenant(new_id(), "Mallory", NOW)), MusterError),
    "tokens.insert": (lambda tx, v: tokens.insert(tx, token_of(v.world)), MusterError),
    "targets.insert": (lambda tx, v: targets.insert(tx, target_of(v.world.tenant)), MusterError),
    "targets.update": (lambda tx, v: targets.update(tx, v.target), NotFound),
    "audit.append": (lambda tx, v: audit.append(tx, [event_of(v.world)]), MusterError),
}


async def test_writing_is_refused(storage: Storage, database: Database, world: World, victim: Victim) -> None:
    before = await everything(database)
    for name, (write, error) in REFUSED.items():
        with pytest.raises(error):
            async with storage.begin(world.tenant) as tx:
                await write(tx, victim)
        assert await everything(database) == before, name


async def test_backfill_of_anothers_target_is_refused(storage: Storage, world: World, victim: Victim) -> None:
    await world.store(user("eve"))
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant, exclusive=True) as tx:
            await provisioning.backfill(tx, victim.target.id, NOW)


async def test_batches_reach_only_the_tenants_they_began_for(
    storage: Storage, database: Database, world: World, victim: Victim
) -> None:
    key, fence = victim.world.key(victim.ada), Fence(9, 9)
    before = await everything(database)
    async with storage.begin_batch([world.tenant], token_key="another-key") as tx:
        assert await provisioning.dispatch(tx, [(key, fence)], "w", NOW) == {}
        assert (await provisioning.settle(tx, [done(key, fence, 9, "r-9")])).accepted == frozenset()
        assert await provisioning.redirty(tx, [key], NOW) == ()
        assert await provisioning.dirty_page(tx, None, 9) == []
        assert await targets.load(tx, [victim.target.id]) == {}
        assert await tokens.find_by_key_ids(tx, [victim.token.key_id]) == {}
    assert await everything(database) == before


async def test_a_key_id_opens_one_token_and_nothing_else(storage: Storage, victim: Victim) -> None:
    async with storage.begin(victim.world.tenant) as tx:
        await tokens.insert(tx, token_of(victim.world))
    async with storage.begin_batch((), token_key=victim.token.key_id) as tx:
        found = (await tokens.find_by_key_ids(tx, [victim.token.key_id])).get(victim.token.key_id)
        assert found is not None
        assert (found[0], found[1].id) == (victim.token, victim.world.tenant)
        assert await tx.fetch("SELECT count(*) FROM tokens") == [(1,)]
        assert await tx.fetch("SELECT count(*) FROM resources") == [(0,)]
