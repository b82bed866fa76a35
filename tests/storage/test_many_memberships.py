"""What looking up the groups of members reads, where there are a great many memberships: one probe for each.

PostgreSQL 18 can skip over the values of a column that a statement does not name. Where an index makes it pay for that,
another index may look as cheap, and then reads a piece of every group for each member. Counted in searches of the index
and in pages, with both ways a prepared statement may be planned, and with the other index the smaller one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString

import pytest
import pytest_asyncio

from control_plane.domain.ids import TenantId
from control_plane.storage import memberships, resource_sql
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.world import World, make_world

NAME = "muster_test_many_memberships"
# Everybody is in the groups of the whole company and in one team: 210,000 memberships.
USERS, COMPANY, TEAMS, PAGE = 30_000, 6, 1_500, 200
FILL = f"""
    INSERT INTO resources
        SELECT uuidv7(), '%(tenant)s', 1, 1, 'm' || n, 'm' || n, NULL, NULL, NULL, true, now(), now(), '{{}}'
        FROM generate_series(1, {USERS}) n;
    INSERT INTO resources
        SELECT uuidv7(), '%(tenant)s', 2, 1, NULL, NULL, NULL, 'g' || n, 'g' || n, NULL, now(), now(), '{{}}'
        FROM generate_series(0, {COMPANY + TEAMS} - 1) n;
    INSERT INTO memberships
        SELECT '%(tenant)s', g.id, u.id
        FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM resources WHERE type = 2) g
        JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM resources WHERE type = 1) u
            ON g.n < {COMPANY} OR u.n %% {TEAMS} = g.n - {COMPANY};
"""
REPLICA = "SET session_replication_role = replica;"


@pytest.fixture(scope="module", params=["grown", "rebuilt"])
def company(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, template_database: Database
) -> Iterator[tuple[Database, TenantId]]:
    """A company whose indexes are as they grew, or whose primary key was rebuilt since and is the smaller index."""
    database = postgres_server.create(NAME, template_database.name)

    async def arrive() -> World:
        storage = await Storage.open(database.app_url, pool_size=1, timeout_s=10)
        world = await make_world(storage)
        await storage.close()
        return world

    tenant = asyncio.run(arrive()).tenant
    rebuild = ("REINDEX INDEX memberships_pkey",) if request.param == "rebuilt" else ()
    postgres_server.execute_in(database, REPLICA + FILL % {"tenant": tenant}, *rebuild, "VACUUM ANALYZE")
    yield database, tenant
    postgres_server.drop(NAME)


@pytest_asyncio.fixture
async def here(company: tuple[Database, TenantId]) -> AsyncIterator[tuple[Storage, TenantId]]:
    """The company, in this test's own loop."""
    storage = await Storage.open(company[0].app_url, pool_size=1, timeout_s=30)
    yield storage, company[1]
    await storage.close()


def probes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a plan that read an index of memberships."""
    if plan.get("Index Name", "").startswith("memberships_"):
        yield plan
    for child in plan.get("Plans", []):
        yield from probes(child)


# For how many users, and how many lookups by member that takes: of their groups, none is in another group.
STATEMENTS: dict[str, tuple[LiteralString, int, int]] = {
    "groups of one": (memberships.RENDER_GROUPS, 1, 1 + (COMPANY + 1)),
    "groups of a page": (memberships.RENDER_GROUPS, PAGE, PAGE + PAGE * (COMPANY + 1)),
    "one locked to delete": (resource_sql.LOCK_FOR_DELETE, 1, 1),
    "many locked to delete": (resource_sql.LOCK_FOR_DELETE, PAGE, PAGE),
}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", STATEMENTS)
async def test_each_lookup_by_member_is_one_search(here: tuple[Storage, TenantId], name: str, mode: str) -> None:
    (storage, tenant), (sql, count, lookups) = here, STATEMENTS[name]
    async with storage.begin(tenant) as tx:
        some = "SELECT id FROM resources WHERE type = 1 ORDER BY id LIMIT %(count)b::bigint"
        rows = await tx.fetch(some, {"count": count})
        ids = [row[0] for row in rows]
        params: dict[str, Any] = {
            "tenant": tenant, "users": ids, "ids": ids, "base": "", "limit": 5_000, "bytes": 2**20, "page": 20_000,
            "page_bytes": 2**22,
        }  # fmt: skip
        await tx.fetch("SELECT set_config('plan_cache_mode', %(mode)b::text, true)", {"mode": mode})
        found = await tx.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, params)
    steps = list(probes(found[0][0][0]["Plan"]))
    assert {one["Index Name"] for one in steps} == {"memberships_of_member"}
    # Of members that are neighbours in the index, several are found in one search.
    assert sum(one["Index Searches"] for one in steps) <= lookups
    # From the root of the index to the entry, and on to the next page.
    assert sum(one["Shared Hit Blocks"] + one["Shared Read Blocks"] for one in steps) <= 4 * lookups
