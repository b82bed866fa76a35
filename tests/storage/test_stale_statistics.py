"""Filters do work in proportion to the directory, also when the statistics are from before it grew.

A pilot first, then everybody: what was planned for 10 groups of 40 then meets one of 5,000. Work is counted in rows and
index searches, which no busy machine changes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString, cast

import pytest
import pytest_asyncio
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import ResourceType
from control_plane.scim.filters import parse_filter
from control_plane.scim.sorting import parse_sort_by
from control_plane.storage import member_filter, memberships
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.query import Query, search
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.random_directory import BASE, KINDS, REGISTRY
from tests.storage.test_plans import nodes
from tests.storage.world import World, group, make_world, new_id

DIALECT = PGDialectAsync_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
NAME = "muster_test_stale_statistics"
USER, GROUP = KINDS
PILOT, EVERYBODY = 300, 5_000
USERS = """
    INSERT INTO resources
        SELECT uuidv7(), '%(tenant)s', 1, 1, 'p' || n, 'p' || n, 'x' || n, 'D' || n, 'd' || n, true, now(), now(),
               jsonb_build_object('userName', 'p' || n, 'emails', jsonb_build_array(jsonb_build_object('value', n)))
        FROM generate_series(%(first)s, %(last)s) n;
    INSERT INTO attribute_values
        SELECT tenant_id, id, 'emails.value', user_name_key FROM resources
        WHERE tenant_id = '%(tenant)s' AND substr(user_name, 2)::int BETWEEN %(first)s AND %(last)s;
"""
SMALL_GROUPS = """
    INSERT INTO resources
        SELECT uuidv7(), '%(tenant)s', 2, 1, NULL, NULL, NULL, 'g' || n, 'g' || n, NULL, now(), now(),
               jsonb_build_object('displayName', 'g' || n)
        FROM generate_series(1, 10) n;
    INSERT INTO memberships
        SELECT '%(tenant)s', g.id, u.id FROM resources g JOIN resources u ON u.type = 1 AND u.tenant_id = '%(tenant)s'
            AND substr(u.user_name, 2)::int / 40 = substr(g.display_name, 2)::int - 1
        WHERE g.type = 2 AND g.tenant_id = '%(tenant)s' AND g.display_name LIKE 'g%%';
"""
BIG_GROUP = """
    INSERT INTO memberships SELECT '%(tenant)s', '%(big)s', id FROM resources
        WHERE type = 1 AND tenant_id = '%(tenant)s';
"""
NESTING = """
    INSERT INTO memberships VALUES ('%(tenant)s', '%(top)s', '%(big)s')
"""
# A step of a plan returns each user, group or membership once, or is asked about each; and a plan has some 20 steps.
STEP = 3 * (PILOT + EVERYBODY)
PLAN = 10 * STEP


@pytest.fixture(scope="module", params=["pilot", "nobody", "nested"])
def scene(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, template_database: Database
) -> Iterator[tuple[Database, Any, ResourceId]]:
    """A tenant whose big group came after the statistics, which are of the pilot or of nobody."""
    database = postgres_server.create(NAME, template_database.name)
    big, top = group("big"), group("top")

    async def arrive() -> World:
        storage = await Storage.open(database.app_url, pool_size=2, timeout_s=30)
        world = await make_world(storage)
        await world.store(big, top)
        await storage.close()
        return world

    replica = "SET session_replication_role = replica;"
    world = asyncio.run(arrive())
    names = {"tenant": world.tenant, "big": big.id, "top": top.id}
    pilot = USERS % {**names, "first": 1, "last": PILOT} + SMALL_GROUPS % names
    everybody = USERS % {**names, "first": PILOT + 1, "last": PILOT + EVERYBODY} + BIG_GROUP % names
    postgres_server.execute_in(database, replica + pilot)
    if request.param in ("pilot", "nested"):
        postgres_server.execute_in(database, "ANALYZE")
    postgres_server.execute_in(database, replica + everybody)
    if request.param == "nested":
        postgres_server.execute_in(database, replica + NESTING % names)
    yield database, world, big.id
    postgres_server.drop(NAME)


@pytest_asyncio.fixture
async def here(scene: tuple[Database, Any, ResourceId]) -> AsyncIterator[tuple[World, ResourceId]]:
    """The scene, in this test's own loop."""
    database, world, big = scene
    storage = await Storage.open(database.app_url, pool_size=2, timeout_s=30)
    yield World(storage, world.tenant, world.target), big
    await storage.close()


class Measurer:
    """Runs what a transaction is given, and keeps the plans with what they did."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.tenant = tx.tenant
        self.plans: list[dict[str, Any]] = []

    async def execute(self, statement: ClauseElement) -> Any:
        compiled = statement.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
        # What the explanation wrote, the statement has to find undone.
        await self._tx.fetch("SAVEPOINT explained")
        rows = await self._tx.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", compiled.params)
        await self._tx.fetch("ROLLBACK TO explained")
        self.plans.append(rows[0][0][0]["Plan"])
        return await self._tx.execute(cast("Any", statement))

    async def fetch(self, sql: LiteralString, params: Any = ()) -> list[tuple[Any, ...]]:
        return await self._tx.fetch(sql, params)


def work(node: dict[str, Any]) -> int:
    """Return how many rows a step returned or threw away, and how often it searched an index."""
    thrown = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    return int((node["Actual Rows"] + thrown) * node["Actual Loops"]) + int(node.get("Index Searches", 0))


def check(plans: list[dict[str, Any]]) -> None:
    """Fail if a plan, or one of its steps, did more than the directory is large."""
    assert plans
    for plan in plans:
        done = [(work(node), node["Node Type"], node.get("Index Name")) for node in nodes(plan)]
        most = max(done, key=lambda one: one[0])
        assert most[0] <= STEP, most
        assert sum(one for one, _, _ in done) <= PLAN, done


FILTERS = [
    (USER, 'groups.type eq "indirect"'),
    (USER, 'groups[type eq "indirect"]'),
    (USER, 'groups.type ne "direct"'),
    (USER, 'not (groups.type eq "indirect")'),
    (USER, 'groups[display eq "big" and type eq "indirect"]'),
    (USER, 'groups.type eq "direct"'),
    (USER, "groups pr"),
    (USER, 'groups.display eq "big"'),
    (USER, 'groups.display co "g"'),
    (USER, 'groups.display ne "big"'),
    (USER, 'groups.display eq "big" or groups.display eq "g1"'),
    (USER, 'groups.value eq "BIG"'),
    (USER, 'not (groups.value eq "BIG")'),
    (USER, 'groups[value eq "BIG" and type eq "direct"]'),
    (USER, 'groups.$ref ew "BIG"'),
    (USER, 'emails.value eq "p7" or emails.value eq "p8"'),
    (USER, 'userName sw "p"'),
    (USER, 'displayName sw "d" and groups.display eq "g1"'),
    (USER, 'meta.lastModified gt "2020-01-01T00:00:00Z"'),
    (USER, "title pr"),
    (GROUP, 'members.display eq "nobody"'),
    (GROUP, 'members.type eq "Group"'),
    (GROUP, 'members[type eq "Group" and display eq "big"]'),
    (GROUP, 'not (members.display co "D")'),
    (GROUP, 'members.value sw "x"'),
    (GROUP, 'members.value eq "BIG" or displayName eq "big"'),
]


@pytest.mark.parametrize("sort", ["", "displayName", "externalId"])
@pytest.mark.parametrize(("kind", "text"), FILTERS, ids=[text for _, text in FILTERS])
async def test_a_list_reads_no_more_than_there_is(
    here: tuple[World, ResourceId], kind: ResourceType, text: str, sort: str
) -> None:
    world, big = here
    query = Query(
        (kind,), parse_filter(text.replace("BIG", str(big))), parse_sort_by(sort, False) if sort else None,
        base=BASE, count=5,
    )  # fmt: skip
    async with world.storage.begin(world.tenant) as tx:
        measured = Measurer(tx)
        await search(cast("Tx", measured), query, REGISTRY)
    check(measured.plans)


@pytest.mark.parametrize("kinds", [KINDS, (USER,)])
async def test_a_page_in_the_middle_reads_no_more_than_there_is(
    here: tuple[World, ResourceId], kinds: tuple[ResourceType, ...]
) -> None:
    world, _ = here
    query = Query(kinds, sort=parse_sort_by("displayName", True), start=EVERYBODY // 2, count=200)
    async with world.storage.begin(world.tenant) as tx:
        measured = Measurer(tx)
        await search(cast("Tx", measured), query, REGISTRY)
    check(measured.plans)


@pytest.mark.parametrize(
    "selection",
    [
        'type eq "Group"',
        'type eq "User"',
        'display eq "nobody"',
        'not (display eq "D7")',
        'value sw "0"',
        'value ne "BIG"',
        '$ref co "/Users/"',
    ],
)
async def test_members_are_selected_each_by_itself(here: tuple[World, ResourceId], selection: str) -> None:
    world, big = here
    node = parse_filter(selection.replace("BIG", str(big)))
    async with world.storage.begin(world.tenant) as tx:
        measured = Measurer(tx)
        await tx.fetch("SAVEPOINT before")
        await member_filter.remove_selected(cast("Tx", measured), big, node, BASE)
        # The next test wants them as well.
        await tx.fetch("ROLLBACK TO before")
    check(measured.plans)


@pytest.mark.parametrize("sql", [memberships.ADD, memberships.REPLACE], ids=["add", "full push"])
async def test_a_push_of_half_the_members_looks_at_each_once(
    here: tuple[World, ResourceId], sql: LiteralString
) -> None:
    world, big = here
    async with world.storage.begin(world.tenant) as tx:
        rows = await tx.fetch("SELECT member_id FROM memberships WHERE group_id = %(big)b::uuid", {"big": big})
        ids = [row[0] for row in rows[::2]] + [new_id() for _ in range(len(rows) // 2)]
        await tx.fetch("SAVEPOINT before")
        explained = await tx.fetch(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + sql, {"tenant": tx.tenant, "group": big, "ids": ids}
        )
        await tx.fetch("ROLLBACK TO before")
    check([explained[0][0][0]["Plan"]])


async def test_a_small_group_beside_a_huge_one_reads_its_own_members(here: tuple[World, ResourceId]) -> None:
    world, _ = here
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        small = (await tx.fetch("SELECT id FROM resources WHERE display_name_key = 'g2' AND type = 2"))[0][0]
        params = {"tenant": tx.tenant, "groups": [small], "base": "", "limit": 1_000, "bytes": 1_000_000}
        explained = await tx.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + memberships.RENDER, params)
    done = [(work(node), node["Node Type"]) for node in nodes(explained[0][0][0]["Plan"])]
    assert sum(one for one, _ in done) <= 20 * PILOT, done
