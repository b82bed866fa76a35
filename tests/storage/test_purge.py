"""A deleted tenant's data goes when its grace is over: every row in every table, its keys first, and nobody else's."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.errors import Unavailable
from control_plane.domain.ids import SYSTEM_TENANT, EventId, TenantId
from control_plane.domain.tenants import Tenant, TenantState
from control_plane.services.purge import MARGIN, Purge, Purged
from control_plane.storage import audit, purge, tenants
from control_plane.storage.engine import Storage, Tx
from tests.fakes.clock import FakeClock
from tests.fixtures.postgres import Database
from tests.storage.world import NOW, World, connected, group, make_world, new_id, user

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
GRACE = timedelta(days=30)
_seeds = itertools.count(1)
TABLES = """
    SELECT c.table_name, c.column_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
      AND (c.column_name = 'tenant_id' OR (c.table_name = 'tenants' AND c.column_name = 'id'))
"""
# They belong to the installation: to no tenant that could be deleted.
SYSTEM_TABLES = {"operators", "api_keys"}
# What the storage modules used here do not write.
FILL = (
    """
    INSERT INTO tokens (id, tenant_id, key_id, label, scopes, hash, created_at)
    VALUES (gen_random_uuid(), %(t)s, gen_random_uuid()::text, '', '{1}', 'h', now())
    """,
    """
    INSERT INTO schemas (tenant_id, urn, urn_key, type, name, description, attributes, created_at, updated_at)
    VALUES (%(t)s, 'urn:x', 'urn:x', 1, 'X', '', '[]', now(), now())
    """,
    "INSERT INTO tenant_keys SELECT %(t)s, n, 'wrapped', 'k1', now() FROM generate_series(1, 2) n",
    "INSERT INTO audit_subjects SELECT %(t)s, gen_random_uuid(), 'key', now(), NULL FROM generate_series(1, 9)",
    "INSERT INTO audit_pending SELECT gen_random_uuid(), %(t)s FROM generate_series(1, 9)",
    "INSERT INTO audit_chain SELECT %(t)s, n, gen_random_uuid(), sha256(n::text::bytea) FROM generate_series(1, 9) n",
    "INSERT INTO audit_heads (tenant_id, seq, hash, first_hash) VALUES (%(t)s, 9, sha256('9'), '')",
    "INSERT INTO audit_checkpoints VALUES (%(t)s, 1, now(), 9, '', 0, 1, '{}', '', '', 'k', '')",
)


@pytest.fixture
def clock() -> FakeClock:
    """A clock whose dice no other test of this module throws: they share the installation's trail."""
    return FakeClock(NOW, seed=next(_seeds))


@pytest_asyncio.fixture
async def superuser(database: Database) -> AsyncIterator[Connection]:
    async with connected(database.superuser_url) as connection:
        yield connection


async def rows_of(superuser: Connection, tenant: TenantId) -> dict[str, int]:
    """Return how many rows each table has of the tenant, by the catalogue."""
    found = {}
    for table, column in await (await superuser.execute(TABLES)).fetchall():
        query = psycopg.sql.SQL("SELECT count(*) FROM {} WHERE {} = %s").format(
            psycopg.sql.Identifier(table), psycopg.sql.Identifier(column)
        )
        row = await (await superuser.execute(query, (tenant,))).fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def event(tenant: TenantId) -> AuditEvent:
    return AuditEvent(EventId(new_id()), tenant, NOW, Actor(ActorType.ADMIN, "admin"), "user.create", "user", "1")


async def full_world(storage: Storage, superuser: Connection) -> World:
    """Return a tenant with rows in every table, more of some than go in one statement."""
    world = await make_world(storage)
    people = [user(f"user-{number}", keys=(("emails.value", f"{number}@x"),)) for number in range(20)]
    staff, gone = group("Staff"), user("gone")
    await world.store(*people, staff, gone)
    await world.join(staff, *people)
    await world.delete(gone)
    async with storage.begin(world.tenant) as tx:
        await audit.append(tx, [event(world.tenant) for _ in range(20)])
    for statement in FILL:
        await superuser.execute(statement.encode(), {"t": world.tenant})
    counts = await rows_of(superuser, world.tenant)
    assert {table for table, count in counts.items() if count == 0} == SYSTEM_TABLES
    return world


async def delete(storage: Storage, tenant: TenantId) -> Tenant:
    async with storage.begin(tenant) as tx:
        old = await tenants.get(tx, tenant)
        assert old is not None
        deleted = replace(old, state=TenantState.DELETED, deleted_at=NOW, purge_at=NOW + GRACE)
        await tenants.update(tx, deleted)
    return deleted


def after_the_grace(clock: FakeClock) -> None:
    clock.advance((GRACE + MARGIN).total_seconds())


async def purged_events(storage: Storage, tenant: TenantId) -> list[dict[str, Any]]:
    """Return what the installation's trail says of the tenant's purge."""
    query = "SELECT details FROM audit_events WHERE action = 'tenant.purge' AND resource_id = %(tenant)b::text"
    async with storage.begin(SYSTEM_TENANT) as tx:
        return [row[0] for row in await tx.fetch(query, {"tenant": str(tenant)})]


async def test_every_table_of_tenants_is_purged(superuser: Connection) -> None:
    tables = {table for table, _ in await (await superuser.execute(TABLES)).fetchall()}
    steps = [purge.KEYS.table, *(step.table for step in (*purge.STEPS, *purge.TRAIL)), *purge.LAST]
    assert len(steps) == len(set(steps))
    assert set(steps) == tables - SYSTEM_TABLES


async def test_nothing_is_left_of_a_tenant_and_all_of_its_neighbour(
    storage: Storage, superuser: Connection, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "ROWS", 4)
    world, neighbour = await full_world(storage, superuser), await full_world(storage, superuser)
    had, theirs = await rows_of(superuser, world.tenant), await rows_of(superuser, neighbour.tenant)
    await delete(storage, world.tenant)
    after_the_grace(clock)
    done = await Purge(storage, clock).run_once()
    assert done.tenants == 1
    assert set((await rows_of(superuser, world.tenant)).values()) == {0}
    assert await rows_of(superuser, neighbour.tenant) == theirs
    (said,) = await purged_events(storage, world.tenant)
    assert said["display_name"] == "Acme"
    assert said["rows"] == {table: had[table] for table in had if had[table] and table not in purge.LAST}
    assert (said["audit_seq"], len(said["audit_hash"])) == (9, 64)
    assert sum(said["rows"].values()) == done.rows
    assert await Purge(storage, clock).run_once() == Purged()


async def test_a_tenant_stays_until_its_grace_is_over(
    storage: Storage, superuser: Connection, clock: FakeClock
) -> None:
    world = await make_world(storage)
    await delete(storage, world.tenant)
    had = await rows_of(superuser, world.tenant)
    clock.advance((GRACE + MARGIN).total_seconds() - 1)
    assert await Purge(storage, clock).run_once() == Purged()
    assert await rows_of(superuser, world.tenant) == had
    clock.advance(1)
    assert (await Purge(storage, clock).run_once()).tenants == 1


async def test_a_purge_that_was_cut_short_is_finished(
    storage: Storage, superuser: Connection, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await full_world(storage, superuser)
    await delete(storage, world.tenant)
    after_the_grace(clock)

    async def cut(*_: object) -> None:
        raise Unavailable("the database")

    with monkeypatch.context() as patch:
        patch.setattr(purge, "delete_tenant", cut)
        assert await Purge(storage, clock).run_once() == Purged()
    left = await rows_of(superuser, world.tenant)
    # Its key is gone, its last hash is not: that is in the event which tells of its end.
    assert (left["tenant_keys"], left["audit_heads"], left["tenants"]) == (0, 1, 1)
    assert await purged_events(storage, world.tenant) == []
    assert (await Purge(storage, clock).run_once()).tenants == 1
    assert set((await rows_of(superuser, world.tenant)).values()) == {0}
    assert [said["audit_seq"] for said in await purged_events(storage, world.tenant)] == [9]


async def test_the_keys_go_first(
    storage: Storage, superuser: Connection, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await full_world(storage, superuser)
    had = await rows_of(superuser, world.tenant)
    await delete(storage, world.tenant)
    after_the_grace(clock)
    monkeypatch.setattr(purge, "STEPS", (purge.Step("no_such_table", "id"),))
    assert await Purge(storage, clock).run_once() == Purged()
    assert await rows_of(superuser, world.tenant) == {**had, "tenant_keys": 0}
    monkeypatch.undo()
    assert (await Purge(storage, clock).run_once()).tenants == 1


async def test_one_control_plane_purges_at_a_time(storage: Storage, superuser: Connection, clock: FakeClock) -> None:
    world = await make_world(storage)
    await delete(storage, world.tenant)
    after_the_grace(clock)
    async with storage.begin_batch(()) as other:
        assert await purge.take_turn(other)
        assert await Purge(storage, clock).run_once() == Purged()
    assert (await Purge(storage, clock).run_once()).tenants == 1


async def test_a_tenant_that_cannot_be_purged_keeps_no_other(
    storage: Storage, superuser: Connection, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = await make_world(storage), await make_world(storage)
    await delete(storage, stuck.tenant)
    await delete(storage, other.tenant)
    after_the_grace(clock)
    wait = purge.wait_for_writers

    async def busy(tx: Tx, tenant: TenantId) -> None:
        if tenant == stuck.tenant:
            raise Unavailable("the database")
        await wait(tx, tenant)

    with monkeypatch.context() as patch:
        patch.setattr(purge, "wait_for_writers", busy)
        assert (await Purge(storage, clock).run_once()).tenants == 1
    assert (await rows_of(superuser, stuck.tenant))["tenants"] == 1
    assert (await rows_of(superuser, other.tenant))["tenants"] == 0
    assert (await Purge(storage, clock).run_once()).tenants == 1
