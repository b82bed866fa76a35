"""The hot statements use their index, for a tenant that PostgreSQL knows nothing about in a table full of others.

Both ways a prepared statement may be planned are tried: for its values, and once for all values.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString

import pytest
import pytest_asyncio

from control_plane.domain.ids import TargetId, TenantId
from control_plane.domain.jobs import JobKey
from control_plane.storage import (
    marks,
    memberships,
    provisioning,
    purge,
    quotas,
    resource_sql,
    resources,
    settlement,
    targets,
    tenants,
    tokens,
    uniqueness,
)
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.marks import key_columns
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.conftest import filled
from tests.storage.world import NOW, World, group, make_world, user

OTHERS, EACH = 50, 1_000
NAME = "muster_test_plans"
FILL = f"""
    INSERT INTO tenants SELECT gen_random_uuid(), 'other', now() FROM generate_series(1, {OTHERS});
    INSERT INTO targets SELECT gen_random_uuid(), id, 'App', 1, 2, 'https://x', '', 1, now(), now() FROM tenants;
    INSERT INTO resources
        SELECT uuidv7(), t.id, CASE n % 10 WHEN 0 THEN 2 ELSE 1 END, 1, 'u' || n, 'u' || n, 'e' || n, 'd' || n,
               'd' || n, true, now(), now(), '{{"userName": "u"}}'
        FROM tenants t, generate_series(1, {EACH}) n;
    INSERT INTO memberships
        SELECT g.tenant_id, g.id, u.id FROM resources g JOIN LATERAL (
            SELECT id FROM resources u WHERE u.tenant_id = g.tenant_id AND u.type = 1 LIMIT 10) u ON true
        WHERE g.type = 2;
    INSERT INTO provisioning
        SELECT r.tenant_id, t.id, r.id, r.type, 2, CASE WHEN random() < 0.1 THEN 1 ELSE 2 END, false, 'r' || r.id::text
        FROM resources r JOIN targets t ON t.tenant_id = r.tenant_id;
    INSERT INTO attribute_values
        SELECT tenant_id, id, 'emails.value', user_name_key || '@example.org' FROM resources WHERE type = 1;
    INSERT INTO counters SELECT id, 1, 0, {EACH} FROM tenants;
    INSERT INTO audit_events
        SELECT uuidv7(), id, now(), 2, 'admin', '', 'user.create', 'user', 'x', 1, '', '', '{{}}'
        FROM tenants, generate_series(1, {EACH // 10});
    INSERT INTO audit_chain
        SELECT tenant_id, row_number() OVER (PARTITION BY tenant_id ORDER BY id), id, '' FROM audit_events;
"""
# Every table here grows with the customers; these do not.
SMALL = {"queue_state"}


@pytest.fixture(scope="module")
def full_database(postgres_server: PostgresServer, template_database: Database) -> Iterator[Database]:
    """A database with 50,000 resources of other tenants, whose statistics are fresh."""
    with filled(postgres_server, template_database, NAME, FILL) as database:
        yield database


@pytest.fixture(scope="module")
def newcomer(full_database: Database) -> tuple[TenantId, TargetId]:
    """A tenant that came after the statistics, with a target, 300 users and a group of them all."""

    async def arrive() -> tuple[TenantId, TargetId]:
        storage = await Storage.open(full_database.app_url, pool_size=2, timeout_s=10)
        world = await make_world(storage)
        rows = [
            user(f"user-{n}", external_id=f"x{n}", display_name="Same", keys=(("emails.value", f"{n}@x"),))
            for n in range(300)
        ]
        staff = group("Staff")
        await world.store(*rows, staff)
        await world.join(staff, *rows)
        await storage.close()
        return world.tenant, world.target

    return asyncio.run(arrive())


@pytest_asyncio.fixture
async def fresh(full_database: Database, newcomer: tuple[TenantId, TargetId]) -> AsyncIterator[World]:
    """The newcomer, in this test's own loop."""
    storage = await Storage.open(full_database.app_url, pool_size=2, timeout_s=10)
    yield World(storage, *newcomer)
    await storage.close()


async def content_of(world: World) -> tuple[list[Any], Any]:
    """Return the ids of the users, and of the group."""
    async with world.storage.begin(world.tenant) as tx:
        users = await tx.fetch("SELECT id FROM resources WHERE type = 1 ORDER BY id")
        groups = await tx.fetch("SELECT id FROM resources WHERE type = 2")
    return [row[0] for row in users], groups[0][0]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def indexes(tx: Tx, mode: str, sql: LiteralString, params: dict[str, Any]) -> set[str]:
    """Return which indexes the plan of ``sql`` uses; fail if it reads a table without one, or a whole index."""
    await tx.fetch("SELECT set_config('plan_cache_mode', %(mode)b::text, true)", {"mode": mode})
    found = await tx.fetch("EXPLAIN (FORMAT JSON) " + sql, params)
    plan = found[0][0][0]["Plan"]
    used = set()
    for node in nodes(plan):
        relation = node.get("Relation Name")
        if relation is not None and node["Node Type"] != "ModifyTable":
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), plan
            assert "Index Cond" in node or "Recheck Cond" in node, f"{relation}: walks a whole index: {plan}"
        # Both indexes of targets have the same two columns: either is as good.
        if "Index Name" in node and not node["Index Name"].startswith("targets_"):
            used.add(node["Index Name"])
    return used


MODES = ("force_custom_plan", "force_generic_plan")
WANTED: dict[str, tuple[LiteralString, dict[str, Any], set[str]]] = {
    "get": (resource_sql.GET, {}, {"resources_pkey"}),
    "get locked": (resource_sql.GET_LOCKED, {}, {"resources_pkey"}),
    "users locked": (resource_sql.GET_USERS_LOCKED, {}, {"resources_pkey", "audit_subjects_pkey"}),
    "userName": (resource_sql.FIND_USER_NAME, {"value": "user-7"}, {"resources_user_name"}),
    "externalId": (resource_sql.FIND_EXTERNAL_ID, {"value": "x7"}, {"resources_external_id", "resources_pkey"}),
    "displayName": (resource_sql.FIND_DISPLAY_NAME, {"value": "same"}, {"resources_display_name", "resources_pkey"}),
    "first page": (resource_sql.FIRST_PAGE, {}, {"resources_listing", "counters_pkey"}),
    "later page": (resource_sql.LATER_PAGE, {}, {"resources_listing", "resources_pkey", "counters_pkey"}),
    "insert": (resource_sql.INSERT, {}, set()),
    "update": (
        resource_sql.UPDATE, {}, {"resources_pkey", "provisioning_pkey", "attribute_values_of_resource"}
    ),
    "claimed": (uniqueness.HELD, {}, {"attribute_values_pkey"}),
    "name claimed": (uniqueness.HELD_NAMES, {}, {"resources_display_name"}),
    "backfill": (provisioning.BACKFILL, {}, {"resources_listing"}),
    "touch": (resource_sql.TOUCH, {}, {"resources_pkey", "provisioning_pkey"}),
    "delete": (
        resource_sql.DELETE, {}, {"resources_pkey", "memberships_of_member", "provisioning_pkey"}
    ),
    "locked to delete": (resource_sql.LOCK_FOR_DELETE, {}, {"resources_pkey", "memberships_of_member"}),
    "groups filled": (memberships.FILL, {}, {"resources_pkey"}),
    "groups rendered": (memberships.RENDER_GROUPS, {}, {"memberships_of_member", "resources_pkey"}),
    "members rendered": (memberships.RENDER, {}, {"memberships_pkey", "resources_pkey"}),
    "members streamed": (memberships.STREAM, {}, {"memberships_pkey", "resources_pkey"}),
    "members added": (memberships.ADD, {}, {"memberships_pkey", "memberships_of_member", "resources_pkey"}),
    "members replaced": (memberships.REPLACE, {}, {"memberships_pkey", "memberships_of_member", "resources_pkey"}),
    "marks held": (marks.HOLD_JOINED, {}, {"provisioning_pkey"}),
    "status": (provisioning.STATUS, {}, {"provisioning_dirty", "counters_pkey"}),
    "quota": (quotas.LOCK, {"wanted": 1, "most": 10, "limit": 5, "number": 1, "lock": 1}, {"counters_pkey"}),
    "users": (quotas.USERS, {}, {"counters_pkey"}),
}  # fmt: skip
BATCH: dict[str, tuple[LiteralString, set[str]]] = {
    "lease": (provisioning.LEASE, {"provisioning_pkey"}),
    "read work": (
        provisioning.READ_WORK,
        {
            "provisioning_pkey", "provisioning_remote_id", "resources_pkey", "resources_user_name",
            "resources_display_name", "tenants_pkey",
        },
    ),
    "settle": (
        settlement.LOCK, {"provisioning_pkey", "provisioning_remote_id", "memberships_of_member"}
    ),
    "raise groups": (settlement.RAISE_GROUPS, {"provisioning_pkey", "memberships_of_member"}),
    "redirty": (provisioning.REDIRTY, {"provisioning_pkey"}),
    "dirty page": (provisioning.DIRTY_PAGE, {"provisioning_dirty"}),
    "member remote ids": (provisioning.MEMBER_REMOTE_IDS, {"memberships_pkey", "provisioning_pkey"}),
    "load targets": (targets.LOAD, set()),
    "token": (tokens.FIND_BY_KEY_IDS, {"tokens_key_id", "tenants_pkey"}),
    "owners of tokens": (tokens.FIND_OWNERS, {"tokens_key_id"}),
    "uses of tokens": (tokens.NOTE_USES, {"tokens_pkey", "tokens_listing"}),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WANTED)
async def test_requests_use_their_index(fresh: World, mode: str, batch: int, name: str) -> None:
    sql, special, wanted = WANTED[name]
    users, staff = await content_of(fresh)
    params = {
        "tenant": fresh.tenant, "type": 1, "ids": users[:batch], "groups": [staff], "group": staff, "base": "",
        "limit": 1000, "bytes": 2**20, "page": 20_000, "page_bytes": 2**20,
        "count": 100, "skip": 100, "at": NOW, "slot": 3, "target": fresh.target,
        "joined": users[:batch], "users": users[:batch], "resources": users[:batch], "keys": ["a@x"] * batch,
        "attributes": ["emails.value"] * batch, **special,
    }  # fmt: skip
    if name in ("insert", "update"):
        emails = (("emails.value", "a@x"), ("emails.value", "b@x"))
        params |= resources._columns([user(f"new-{number}", keys=emails) for number in range(batch)])
    if name == "groups filled":
        params["groups"] = [staff] * batch
    async with fresh.storage.begin(fresh.tenant) as tx:
        assert await indexes(tx, mode, sql, params) <= wanted


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BATCH)
async def test_leases_use_their_index(fresh: World, mode: str, batch: int, name: str) -> None:
    sql, wanted = BATCH[name]
    users, staff = await content_of(fresh)
    keys = [JobKey(fresh.tenant, fresh.target, one) for one in users[:batch]]
    nil = provisioning.NIL
    params = {
        **key_columns(keys), "epochs": [1] * batch, "fences": [1] * batch, "at": NOW, "worker": "w",
        "remote_ids": ["r-1"] * batch, "tenant": nil, "target": nil, "resource": nil, "nil": nil, "limit": 1000,
        "key_id": "k", "after": "", "ids": [fresh.target], "key_ids": ["k"] * batch, "tenants": [fresh.tenant],
        "ats": [NOW], "addresses": [""], "agents": [""],
    }  # fmt: skip
    if name == "member remote ids":
        params |= {"tenant": fresh.tenant, "target": fresh.target, "resource": staff}
    async with fresh.storage.begin_batch([fresh.tenant, TenantId(nil)]) as tx:
        assert await indexes(tx, mode, sql, params) <= wanted


@pytest.mark.parametrize("mode", MODES)
async def test_sweeps_walk_the_tenants_in_order(fresh: World, mode: str) -> None:
    params = {"after": provisioning.NIL, "limit": 500, "ids": [fresh.tenant] * 100}
    async with fresh.storage.begin_batch(()) as tx:
        for sql in (tenants.ACTIVE_AFTER, tenants.ACTIVE_AMONG):
            assert await indexes(tx, mode, sql, params) == {"tenants_pkey"}


# Those of each table that a purge may take; a walk goes through the whole of one, once.
PURGED = {
    "tenant_keys": {"tenant_keys_pkey"},
    "audit_subjects": {"audit_subjects_pkey"},
    "tokens": {"tokens_listing"},
    "schemas": {"schemas_listing"},
    "memberships": {"memberships_of_member"},
    "attribute_values": {"attribute_values_of_resource"},
    "provisioning": {"provisioning_pkey"},
    "targets": {"targets_listing"},
    "resources": {"resources_listing"},
    "counters": {"counters_pkey"},
    "audit_pending": {"audit_pending_pkey"},
    "audit_events": {"audit_events_listing"},
    "audit_chain": {"audit_chain_pkey"},
    "audit_checkpoints": {"audit_checkpoints_pkey"},
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_purge_goes_by_indexes(fresh: World, mode: str) -> None:
    params = {"tenant": fresh.tenant, "after": provisioning.NIL, "rows": purge.ROWS}
    found = {}
    async with fresh.storage.begin_keeper([fresh.tenant]) as tx:
        await tx.fetch("SELECT set_config('plan_cache_mode', %(mode)b::text, true)", {"mode": mode})
        for step in (purge.KEYS, *purge.STEPS, *purge.TRAIL):
            plan = (await tx.fetch("EXPLAIN (FORMAT JSON) " + step.sql, params))[0][0][0]["Plan"]
            assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"], plan
            found[step.table] = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    assert found == PURGED


async def test_indexes_of_resources_that_start_with_the_tenant_are_locked(fresh: World) -> None:
    """Only a statement that says their condition, which is always true, can use them; no other takes one by mistake."""
    query = """
        SELECT i.indexrelid::regclass::text, pg_get_expr(i.indpred, i.indrelid) FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = 'resources'::regclass AND a.attname = 'tenant_id'
    """
    async with fresh.storage.begin(fresh.tenant) as tx:
        found = dict(await tx.fetch(query))
    keys = {
        "resources_listing": "created_at > '-infinity'",
        "resources_by_user_name": "updated_at > '-infinity'",
        "resources_by_display_name": "updated_at > '-infinity'",
        "resources_by_update": "version > 0",
    }
    assert found.keys() == keys.keys()
    for name, key in keys.items():
        assert key in found[name]
