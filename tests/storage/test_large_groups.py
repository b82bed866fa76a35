"""What a change of a large group reads: as much as in a small one.

Counted in pages, which no busy machine changes, and for both ways a prepared statement may be planned.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, LiteralString
from uuid import UUID

import pytest
import pytest_asyncio

from control_plane.domain.ids import ResourceId
from control_plane.storage import memberships, resource_sql
from control_plane.storage.engine import Storage, Tx
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.world import NOW, World, group, make_world, user

NAME = "muster_test_large_groups"
SMALL, LARGE, LIMIT = 10, 100_000, 1_000
FILL = f"""
    INSERT INTO resources
        SELECT uuidv7(), '%(tenant)s', 1, 1, 'm' || n, 'm' || n, NULL, NULL, NULL, true, now(), now(), '{{}}'
        FROM generate_series(1, {LARGE}) n;
    INSERT INTO memberships
        SELECT '%(tenant)s', '%(large)s', id FROM resources
        WHERE tenant_id = '%(tenant)s' AND type = 1 AND user_name_key LIKE 'm%%';
    INSERT INTO memberships
        SELECT '%(tenant)s', '%(small)s', id FROM resources
        WHERE tenant_id = '%(tenant)s' AND type = 1 AND user_name_key LIKE 'm%%' LIMIT {SMALL};
"""
# 5,000 other groups of ten members each, so that a group is small on average.
OTHERS = """
    INSERT INTO memberships
        SELECT gen_random_uuid(), g, gen_random_uuid()
        FROM (SELECT gen_random_uuid() AS g FROM generate_series(1, 5000)) g, generate_series(1, 10)
"""
Scene = tuple[World, ResourceId, ResourceId, ResourceId]


@pytest.fixture(scope="module", params=["before", "after"])
def scene(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, template_database: Database
) -> Iterator[tuple[Database, Any, ResourceId, ResourceId, ResourceId]]:
    """A tenant with a newcomer and two groups, whose statistics are from before the large one, or from after."""
    database = postgres_server.create(NAME, template_database.name)
    newcomer, small, large = user("newcomer"), group("Small"), group("Large")

    async def arrive() -> World:
        storage = await Storage.open(database.app_url, pool_size=2, timeout_s=30)
        world = await make_world(storage)
        await world.store(newcomer, small, large)
        await storage.close()
        return world

    world = asyncio.run(arrive())
    fill = FILL % {"tenant": world.tenant, "small": small.id, "large": large.id}
    replica = "SET session_replication_role = replica;"
    steps = [replica + OTHERS, "ANALYZE", replica + fill]
    if request.param == "after":
        steps.append("ANALYZE")
    postgres_server.execute_in(database, *steps)
    yield database, world, newcomer.id, small.id, large.id
    postgres_server.drop(NAME)


@pytest_asyncio.fixture
async def here(scene: tuple[Database, Any, ResourceId, ResourceId, ResourceId]) -> AsyncIterator[Scene]:
    """The scene, in this test's own loop."""
    database, world, *ids = scene
    storage = await Storage.open(database.app_url, pool_size=2, timeout_s=30)
    yield World(storage, world.tenant, world.target), ids[0], ids[1], ids[2]
    await storage.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def cost(tx: Tx, mode: str, sql: LiteralString, params: dict[str, Any]) -> tuple[int, float]:
    """Run ``sql`` and return how many pages it touched, and how many rows the busiest step of its plan returned."""
    await tx.fetch("SELECT set_config('plan_cache_mode', %(mode)b::text, true)", {"mode": mode})
    found = await tx.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, params)
    plan = found[0][0][0]["Plan"]
    rows = max(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan))
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], rows


MODES = ("force_custom_plan", "force_generic_plan")
STATEMENTS: dict[str, LiteralString] = {
    "locked": resource_sql.GET_LOCKED,
    "added": memberships.ADD,
    "added, of many": memberships.ADD,
    "removed": memberships.REMOVE,
    "touched": resource_sql.TOUCH,
}
IDS: dict[str, Callable[[ResourceId, ResourceId], list[ResourceId]]] = {
    "locked": lambda group, _: [group],
    "touched": lambda group, _: [group],
    "added": lambda _, newcomer: [newcomer],
    # More than a small group has members: reading such a group would be the shorter way.
    "added, of many": lambda _, newcomer: [newcomer, *(ResourceId(UUID(int=number)) for number in range(100))],
    "removed": lambda _, newcomer: [newcomer],
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_change_of_one_member_reads_as_much_in_any_group(here: Scene, mode: str) -> None:
    world, newcomer, small, large = here
    found: dict[ResourceId, dict[str, tuple[int, float]]] = {small: {}, large: {}}
    for one, costs in found.items():
        async with world.storage.begin(world.tenant) as tx:
            for name, sql in STATEMENTS.items():
                params: dict[str, Any] = {
                    "tenant": tx.tenant, "type": 2, "group": one, "at": NOW, "joined": [newcomer],
                    "ids": IDS[name](one, newcomer),
                }  # fmt: skip
                costs[name] = await cost(tx, mode, sql, params)
    for name in STATEMENTS:
        (few, _), (pages, rows) = found[small][name], found[large][name]
        # An index of 100,000 entries is a level or two higher than the root that ten need.
        assert pages <= few + 30, f"{name}: {few} pages in a small group, {pages} in a large one"
        assert rows <= 101, f"{name}: a step with {rows} rows"


@pytest.mark.parametrize("mode", MODES)
async def test_showing_a_large_group_counts_no_further_than_the_limit(here: Scene, mode: str) -> None:
    world, _, small, large = here
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        params: dict[str, Any] = {"tenant": tx.tenant, "groups": [large], "base": "", "limit": LIMIT, "bytes": 2**20}
        pages, rows = await cost(tx, mode, memberships.RENDER, params)
        rendered = await memberships.render(tx, [small, large], "", memberships.MemberLimits(LIMIT))
    assert rows == LIMIT + 1
    # The pages of the index that hold 1,001 entries; before the first vacuum also those of the table.
    assert pages <= 2 * LIMIT
    assert (rendered[small][1], rendered[large]) == (SMALL, ("", LIMIT + 1))


@pytest.mark.parametrize("mode", MODES)
async def test_the_groups_of_a_member_do_not_read_the_other_members(here: Scene, mode: str) -> None:
    world, _, small, _ = here
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        rows = await tx.fetch("SELECT member_id FROM memberships WHERE group_id = %(id)b::uuid", {"id": small})
        params: dict[str, Any] = {
            "tenant": tx.tenant, "users": [row[0] for row in rows], "base": "", "limit": 100, "bytes": 2**20,
            "page": 1_000, "page_bytes": 2**20,
        }  # fmt: skip
        _, most = await cost(tx, mode, memberships.RENDER_GROUPS, params)
    # Each of the ten is in both groups.
    assert most == 2 * SMALL
