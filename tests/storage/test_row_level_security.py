"""Every table with a tenant is closed by policy, for each runtime role; and the test would notice if one were not."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from control_plane.domain.errors import MusterError
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database
from tests.storage.walls import (
    APP,
    BATCH,
    KEEPER,
    NO_TENANT,
    POLICIES,
    RIGHTS,
    ROLES,
    TRIGGERS,
    Connection,
    Policy,
    assert_isolated,
)
from tests.storage.world import World, connected, make_world, user

ATTRIBUTES = """
    SELECT rolname, rolsuper, rolbypassrls, rolinherit, rolcreaterole, rolcanlogin,
           EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
    FROM pg_roles r WHERE rolname = any(%s)
"""


async def test_every_table_is_closed(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        assert await assert_isolated(connection) == set(RIGHTS) - NO_TENANT


def mutations(policy: Policy) -> Iterator[str]:
    """Yield every way to weaken, or break, one policy."""
    named = f"{policy.name} ON {policy.table}"
    yield f"DROP POLICY {named}"
    yield f"ALTER POLICY {named} USING ({'false' if policy.using == 'true' else 'true'})"
    if policy.check is not None:
        yield f"ALTER POLICY {named} WITH CHECK (true)"
    for role in {*ROLES, "public"} - {policy.role}:
        yield f"ALTER POLICY {named} TO {role}"
    yield f"ALTER POLICY {named} TO {', '.join(ROLES)}"
    # Another setting: what a neighbour's transaction may see.
    yield f"ALTER POLICY {named} USING (current_setting('muster.tenant', true) IS NOT NULL)"


def damage_to(table: str) -> Iterator[str]:
    """Yield every way to open one table besides its policies."""
    yield f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
    # What the backfill of 0002 does for a moment.
    yield f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
    for role in ROLES:
        yield f"ALTER TABLE {table} OWNER TO {role}"
        yield f"CREATE POLICY extra ON {table} TO {role} USING (true)"
        yield f"CREATE POLICY extra ON {table} FOR SELECT TO {role} USING (true)"
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"):
            verb = "REVOKE {} ON {} FROM {}" if right in RIGHTS[table].get(role, ()) else "GRANT {} ON {} TO {}"
            yield verb.format(right, table, role)
    yield f"CREATE POLICY extra ON {table} USING (true)"
    yield f"GRANT SELECT ON {table} TO public"


DAMAGE = (
    "CREATE TABLE notes (id uuid, tenant_id uuid)",
    "CREATE TABLE notes (id uuid)",
    "CREATE VIEW everything AS SELECT * FROM resources",
    "GRANT UPDATE (name) ON schemas TO muster_batch",
    "GRANT UPDATE (display_name) ON tenants TO muster_keeper",
    "REVOKE UPDATE (seq) ON audit_heads FROM muster_keeper",
    "GRANT UPDATE (epoch) ON queue_state TO muster_app",
    *(f"DROP TRIGGER {name} ON {table}" for table, name, *_ in sorted(TRIGGERS)),
    *(f"ALTER TABLE {table} DISABLE TRIGGER {name}" for table, name, *_ in sorted(TRIGGERS)),
    *(statement for policy in POLICIES for statement in mutations(policy)),
    *(statement for table in sorted(set(RIGHTS) - NO_TENANT) for statement in damage_to(table)),
)


async def test_the_check_notices_damage(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        for damage in DAMAGE:
            async with connection.transaction(force_rollback=True):
                await connection.execute(damage.encode())
                with pytest.raises(AssertionError):
                    await assert_isolated(connection)
        await assert_isolated(connection)


def test_no_policy_is_forgotten_by_the_damage() -> None:
    for policy in POLICIES:
        assert len([one for one in DAMAGE if f" {policy.name} ON {policy.table} " in f"{one} "]) >= 6, policy


async def test_runtime_roles_have_no_special_rights(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        rows = await (await connection.execute(ATTRIBUTES, (list(ROLES),))).fetchall()
    assert sorted(rows) == [(role, False, False, False, False, True, False) for role in ROLES]


TRAIL = ("audit_events", "audit_chain")
CHANGES = (
    "UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = '{}'",
    "DELETE FROM {} WHERE tenant_id = '{}'",
    "TRUNCATE {}",
)


async def with_a_trail(database: Database, world: World) -> None:
    """Give the tenant an event that has its place in the chain."""
    async with connected(database.superuser_url) as connection:
        await connection.execute(
            """
            WITH event AS (
                INSERT INTO audit_events SELECT gen_random_uuid(), %(t)s, now(), 2, 'admin', '', 'user.create', 'user',
                                                'x', 1, '', '', '{}'
                RETURNING id
            ) INSERT INTO audit_chain SELECT %(t)s, 1, id, 'hash' FROM event
            """,
            {"t": world.tenant},
        )


async def changed(connection: Connection, statement: str) -> int:
    """Return how many rows a statement changed, and undo it; -1 if it was refused."""
    try:
        async with connection.transaction(force_rollback=True):
            return (await connection.execute(statement.encode())).rowcount
    except psycopg.errors.InsufficientPrivilege:
        return -1


async def test_the_trail_can_only_grow(database: Database, world: World) -> None:
    await with_a_trail(database, world)
    see = f"SET muster.tenant = '{world.tenant}'", f"SET muster.tenants = '{{{world.tenant}}}'"
    users = {role: database.app_url.replace(APP, role) for role in ROLES}
    users |= {"owner": database.owner_url, "superuser": database.superuser_url}
    for name, url in users.items():
        async with connected(url) as connection:
            for setting in see:
                await connection.execute(setting.encode())
            for table in TRAIL:
                got = [await changed(connection, change.format(table, world.tenant)) for change in CHANGES]
                # The keeper lets expire; the owner sees no row that it could change.
                expected = {KEEPER: [-1, 1, -1], "owner": [0, 0, -1]}.get(name, [-1, -1, -1])
                assert got == expected, (name, table)


async def test_the_owner_cannot_change_the_trail_when_it_sees_it(database: Database, world: World) -> None:
    await with_a_trail(database, world)
    async with connected(database.owner_url) as connection:
        for table in TRAIL:
            await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY".encode())
            assert [await changed(connection, change.format(table, world.tenant)) for change in CHANGES] == [-1] * 3
            await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY".encode())


async def test_without_a_tenant_nothing_is_seen(database: Database, world: World) -> None:
    await world.store(user("ada", keys=(("emails.value", "ada@example.org"),)))
    await with_a_trail(database, world)
    for role in ROLES:
        async with connected(database.app_url.replace(APP, role)) as connection:
            for table in sorted(set(RIGHTS) - NO_TENANT):
                if "SELECT" not in RIGHTS[table].get(role, ()) or (role, table) in LISTS:
                    continue
                count = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
                assert count == (0,), (role, table)


# What duties begin with; it says which tenants there are, and no more.
LISTS = {(BATCH, "tenants"), (KEEPER, "tenants"), (KEEPER, "audit_pending")}


async def test_the_keeper_changes_only_whom_it_names(storage: Storage, world: World) -> None:
    """It reads the list of all, but takes away nobody else."""
    other = await make_world(storage)
    async with storage.begin_keeper([world.tenant]) as tx:
        seen = await tx.fetch("SELECT id FROM tenants WHERE id = any(%(ids)b)", {"ids": [world.tenant, other.tenant]})
        gone = await tx.fetch("DELETE FROM tenants WHERE id = %(id)b RETURNING id", {"id": other.tenant})
        targets = await tx.fetch("DELETE FROM targets RETURNING tenant_id", ())
    assert (len(seen), gone, targets) == (2, [], [(world.tenant,)])


async def test_the_setting_ends_with_the_transaction(storage: Storage, world: World) -> None:
    await world.store(user("ada"))
    async with storage.begin(world.tenant) as tx:
        assert await tx.fetch("SELECT count(*) FROM resources") == [(1,)]
        driver = tx._driver
    # The same connection, as the next user of the pool finds it.
    rows = await (
        await driver.execute("SELECT count(*), current_setting('muster.tenant', true) FROM resources")
    ).fetchone()
    await driver.rollback()
    assert rows == (0, "")


async def test_writing_for_another_tenant_is_refused(storage: Storage, world: World) -> None:
    other = await make_world(storage)
    statement = "INSERT INTO counters (tenant_id, type, slot, count) VALUES (%s, 1, 0, 1)"
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant) as tx:
            await tx.fetch(statement, (other.tenant,))


async def test_the_owner_sees_nothing_either(database: Database, world: World) -> None:
    await world.store(user("ada", keys=(("emails.value", "ada@example.org"),)))
    async with connected(database.owner_url) as connection:
        for query in ("SELECT count(*) FROM resources", "SELECT count(*) FROM attribute_values"):
            assert await (await connection.execute(query.encode())).fetchone() == (0,)


FOREIGN = (
    "INSERT INTO attribute_values (tenant_id, resource_id, attribute, value_key) VALUES (%s, %s, 'emails.value', 'x')",
    """
    INSERT INTO schemas (tenant_id, urn, urn_key, type, name, description, attributes, created_at, updated_at)
    VALUES (%s, 'urn:' || %s::text, 'urn:x', 1, 'X', '', '[]', now(), now())
    """,
)


@pytest.mark.parametrize("statement", FOREIGN)
async def test_what_belongs_to_another_tenant_is_refused(
    storage: Storage, world: World, statement: LiteralString
) -> None:
    other, ada = await make_world(storage), user("ada")
    await other.store(ada)
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant) as tx:
            await tx.fetch(statement, (other.tenant, ada.id))


async def test_a_value_of_another_tenants_resource_is_refused(storage: Storage, world: World) -> None:
    """Even under one's own tenant: the foreign key has the tenant in it; the resource is as good as not there."""
    other, ada = await make_world(storage), user("ada")
    await other.store(ada)
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant) as tx:
            await tx.fetch(FOREIGN[0], (world.tenant, ada.id))
