"""Every table with a tenant is closed by policy, for both runtime roles; and the test would notice if one were not."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import pytest

from control_plane.domain.errors import MusterError
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database
from tests.storage.world import World, connected, make_world, user

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
ROLES = ("muster_app", "muster_batch")
# Background duties have no business there: no policy and no right.
APP_ONLY = {"schemas", "attribute_values"}
TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
      AND (c.relname = 'tenants' OR EXISTS (
          SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
"""
POLICIES = """
    SELECT tablename, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public'
"""
RIGHTS = """
    SELECT rolname, rolsuper, rolbypassrls, rolinherit, rolcreaterole, rolcanlogin,
           EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
    FROM pg_roles r WHERE rolname = any(%s)
"""
RIGHTS_ON = """
    SELECT has_any_column_privilege('muster_batch', name, 'SELECT, INSERT, UPDATE, REFERENCES')
        OR has_table_privilege('muster_batch', name, 'DELETE, TRUNCATE, TRIGGER')
    FROM (SELECT %s::text AS name) n
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """A row of pg_policies."""

    table: str
    permissive: str
    roles: list[str]
    command: str
    using: str | None
    check: str | None


async def assert_isolated(connection: Connection) -> set[str]:
    """Check every table with a tenant in the catalogue; return their names."""
    tables = await (await connection.execute(TABLES)).fetchall()
    policies = [Policy(*row) for row in await (await connection.execute(POLICIES)).fetchall()]
    for table, enabled, forced, owner in tables:
        assert enabled, f"{table}: row-level security is off"
        assert forced, f"{table}: row-level security is not forced on the owner"
        assert owner not in ROLES, f"{table}: belongs to a runtime role"
        mine = [one for one in policies if one.table == table]
        assert_one_policy(table, "muster_app", mine)
        if table not in APP_ONLY:
            assert_one_policy(table, "muster_batch", mine)
        else:
            assert len(mine) == 1, f"{table}: a policy for others than muster_app"
            rights = await (await connection.execute(RIGHTS_ON, (table,))).fetchall()
            assert rights == [(False,)], f"{table}: muster_batch has rights"
    return {row[0] for row in tables}


def assert_one_policy(table: str, role: str, policies: list[Policy]) -> None:
    """Check that ``role`` has exactly one policy on ``table``, about the tenant, for reading and writing."""
    mine = [one for one in policies if role in one.roles or "public" in one.roles]
    assert len(mine) == 1, f"{table}: {role} has {len(mine)} policies; permissive ones are joined by OR"
    policy = mine[0]
    assert policy.permissive == "PERMISSIVE"
    assert policy.roles == [role], f"{table}: a policy for several roles"
    if (table, role) == ("tenants", "muster_batch"):
        # The one exception: background duties list the tenants. They cannot write there at all.
        assert (policy.command, policy.using) == ("SELECT", "true")
        return
    setting = "muster.tenant'" if role == "muster_app" else "muster.tenants'"
    assert policy.command == "ALL", f"{table}: {role} has no policy for some command"
    assert setting in (policy.using or ""), f"{table}: {role} has no USING about the tenant"
    assert setting in (policy.check or ""), f"{table}: {role} has no WITH CHECK about the tenant"


async def test_every_table_with_a_tenant_is_closed(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        tables = await assert_isolated(connection)
    assert tables > APP_ONLY
    assert tables > {"tenants", "tokens", "resources", "memberships", "targets", "provisioning", "audit_events"}


DAMAGE = (
    "DROP POLICY app ON resources",
    "DROP POLICY batch ON provisioning",
    "ALTER TABLE memberships DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE tokens NO FORCE ROW LEVEL SECURITY",
    "ALTER POLICY app ON targets USING (true)",
    "ALTER POLICY batch ON provisioning WITH CHECK (true)",
    "CREATE POLICY extra ON targets FOR SELECT TO muster_app USING (true)",
    "CREATE POLICY extra ON counters USING (true)",
    "ALTER TABLE audit_events OWNER TO muster_app",
    "CREATE TABLE notes (id uuid, tenant_id uuid)",
    "DROP POLICY app ON attribute_values",
    "ALTER TABLE attribute_values NO FORCE ROW LEVEL SECURITY",
    "ALTER POLICY app ON schemas USING (true)",
    "CREATE POLICY batch ON schemas TO muster_batch USING (true)",
    "GRANT SELECT ON attribute_values TO muster_batch",
    "GRANT UPDATE (name) ON schemas TO muster_batch",
    # What the backfill of 0002 does for a moment.
    "ALTER TABLE resources NO FORCE ROW LEVEL SECURITY",
)


async def test_the_check_notices_damage(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        for damage in DAMAGE:
            await connection.execute("BEGIN")
            await connection.execute(damage.encode())
            with pytest.raises(AssertionError):
                await assert_isolated(connection)
            await connection.execute("ROLLBACK")
        await assert_isolated(connection)


async def test_runtime_roles_have_no_special_rights(database: Database) -> None:
    async with connected(database.superuser_url) as connection:
        rows = await (await connection.execute(RIGHTS, (list(ROLES),))).fetchall()
    assert sorted(rows) == [(role, False, False, False, False, True, False) for role in ROLES]


async def test_the_trail_can_only_grow(database: Database) -> None:
    query = """
        SELECT grantee, privilege_type FROM information_schema.role_table_grants
        WHERE table_name = 'audit_events' AND grantee = any(%s)
        UNION
        SELECT grantee, privilege_type FROM information_schema.column_privileges
        WHERE table_name = 'audit_events' AND grantee = any(%s)
    """
    async with connected(database.superuser_url) as connection:
        rows = await (await connection.execute(query, (list(ROLES), list(ROLES)))).fetchall()
    assert set(rows) == {(role, right) for role in ROLES for right in ("INSERT", "SELECT")}


async def test_without_a_tenant_nothing_is_seen(database: Database, world: World) -> None:
    await world.store(user("ada", keys=(("emails.value", "ada@example.org"),)))
    async with connected(database.superuser_url) as connection:
        tables = await assert_isolated(connection)
    for role, denied in (("muster_app", set()), ("muster_batch", {"counters"} | APP_ONLY)):
        async with connected(database.app_url.replace("muster_app", role)) as connection:
            for table in sorted(tables - {"tenants"} - denied):
                count = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
                assert count == (0,), table


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
