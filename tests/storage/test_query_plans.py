"""Lists use their index, for a tenant that PostgreSQL knows nothing about in a table full of others.

Needles use value-first indexes and the primary keys, whatever else the filter says; prefixes and sorts walk in their
own index. They run as ``muster_app``: what row-level security keeps from using an index would show here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString, cast

import pytest
import pytest_asyncio
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.resources import ResourceType
from control_plane.scim.filters import parse_filter
from control_plane.scim.sorting import Sort, parse_sort_by
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.query import Position, Query, search
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.conftest import filled
from tests.storage.random_directory import BADGE, BASE, KINDS, REGISTRY
from tests.storage.test_plans import FILL, nodes
from tests.storage.world import World, group, make_world, user

NAME = "muster_test_query_plans"
MORE = """
    INSERT INTO attribute_values
        SELECT tenant_id, id, 'emails.value', user_name_key || '@x' FROM resources WHERE type = 1;
"""
USER, GROUP = KINDS
MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"
EMAILS = ("emails.value", f"{MANAGER}.value", f"{BADGE}:code")


@pytest.fixture(scope="module")
def full_database(postgres_server: PostgresServer, template_database: Database) -> Iterator[Database]:
    """A database with 50,000 resources of other tenants, whose statistics are fresh."""
    with filled(postgres_server, template_database, NAME, FILL + MORE) as database:
        yield database


@pytest.fixture(scope="module")
def newcomer(full_database: Database) -> tuple[TenantId, TargetId]:
    """A tenant that came after the statistics, with 300 users named like everybody's and a group of them all."""

    async def arrive() -> tuple[TenantId, TargetId]:
        storage = await Storage.open(full_database.app_url, pool_size=2, timeout_s=10)
        world = await make_world(storage)
        rows = [
            user(f"u{n}", external_id=f"x{n}", display_name=f"D{n}", keys=tuple((name, f"v{n}") for name in EMAILS))
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


class Recorder:
    """Runs what a transaction is given, and keeps the statements."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.tenant = tx.tenant
        self.statements: list[ClauseElement] = []

    async def execute(self, statement: Any) -> Any:
        self.statements.append(statement)
        return await self._tx.execute(statement)

    async def fetch(self, sql: LiteralString, params: Any = ()) -> list[tuple[Any, ...]]:
        return await self._tx.fetch(sql, params)


async def plans(world: World, query: Query) -> list[dict[str, Any]]:
    """Return the plans of the statements behind a list."""
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        recorder = Recorder(tx)
        await search(cast("Tx", recorder), query, REGISTRY)
        return [await explain(tx, statement) for statement in recorder.statements]


async def explain(tx: Tx, statement: ClauseElement) -> dict[str, Any]:
    """Return the plan of a statement for its values."""
    dialect = PGDialectAsync_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    rows = await tx.fetch(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params)
    plan: dict[str, Any] = rows[0][0][0]["Plan"]
    return plan


async def first_columns(tx: Tx) -> dict[str, str]:
    """Return the column that each index begins with."""
    rows = await tx.fetch("""
        SELECT i.indexrelid::regclass::text, a.attname
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    """)
    return dict(rows)


def indexes(plan: dict[str, Any], leading: dict[str, str]) -> set[str]:
    """Return which indexes a plan uses; fail if it reads a table without one, or a whole index."""
    used = set()
    for node in nodes(plan):
        if node.get("Relation Name") is not None:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), plan
        if "Index Name" in node:
            name = node["Index Name"]
            assert leading[name] in node.get("Index Cond", ""), f"walks the whole of {name}: {plan}"
            used.add(name)
    return used


def sorts_all(plan: dict[str, Any]) -> bool:
    """Whether rows are sorted that no limit stands below: the whole tenant, that is."""
    return any(
        node["Node Type"] == "Sort" and not any(below["Node Type"] == "Limit" for below in nodes(node))
        for node in nodes(plan)
    )


PKEY, KEYED = "resources_pkey", {"attribute_values_pkey", "resources_pkey"}
# The filter, and the indexes that may be used. U and G stand for the ids of a user and of the group of all.
NEEDLES: list[tuple[ResourceType, str, set[str]]] = [
    (USER, 'userName eq "u7" and active eq true', {"resources_user_name", PKEY}),
    (USER, 'id eq "U" and manager eq "v7"', {PKEY}),
    (USER, 'externalId eq "x7" and title pr', {"resources_external_id", PKEY}),
    (USER, 'displayName eq "D7" and not (title pr)', {"resources_display_name", PKEY}),
    (USER, 'emails.value eq "v7"', KEYED),
    (USER, 'emails eq "v7" and userName co "u"', KEYED),
    (USER, 'emails[type eq "work" and value eq "v7"]', KEYED),
    (USER, 'emails[type eq "work"].value eq "v7"', KEYED),
    (USER, f'{MANAGER}.value eq "v7"', KEYED),
    (USER, 'manager eq "v7" and title co "x"', KEYED),
    (USER, f'{BADGE}:code eq "v7"', KEYED),
    (USER, 'externalId eq "x7" or emails.value eq "v8" or userName eq "u9"',
     {"resources_external_id", "resources_user_name"} | KEYED),
    (USER, 'groups.value eq "G"', {"memberships_pkey", PKEY}),
    (USER, 'groups[value eq "G"] and active eq true', {"memberships_pkey", "resources_listing", PKEY}),
    (USER, 'groups.display eq "Staff" and active eq true', {"resources_display_name", "memberships_pkey", PKEY}),
    (GROUP, 'members.value eq "U"', {"memberships_of_member", PKEY}),
    (GROUP, 'members eq "U" and displayName co "s"', {"memberships_of_member", PKEY}),
    (GROUP, 'id eq "G" and members eq "U"', {"memberships_of_member", "memberships_pkey", PKEY}),
    (GROUP, 'displayName eq "Staff" and members.value eq "U"',
     {"resources_display_name", "memberships_of_member", "memberships_pkey", PKEY}),
]  # fmt: skip


@pytest.mark.parametrize("sort", ["", "userName", "-displayName", "-meta.lastModified", "title"])
@pytest.mark.parametrize(("kind", "text", "wanted"), NEEDLES, ids=[text for _, text, _ in NEEDLES])
async def test_needles_use_the_index_of_their_value(
    fresh: World, kind: ResourceType, text: str, wanted: set[str], sort: str
) -> None:
    member, staff = await content_of(fresh)
    node = parse_filter(text.replace('"U"', f'"{member}"').replace('"G"', f'"{staff}"'))
    if kind is GROUP and sort in ("userName", "title"):
        sort = "externalId"
    query = Query((kind,), node, sorted_by(sort), base=BASE, by_cursor=True, count=1)
    for plan in await plans(fresh, query):
        assert indexes(plan, await leading(fresh)) <= wanted


async def test_a_needle_in_all_types_is_looked_up_in_those_that_know_it(fresh: World) -> None:
    for text in ('userName eq "u7"', 'displayName eq "Staff" and title eq null'):
        found = await plans(fresh, Query(KINDS, parse_filter(text)))
        for plan in found:
            assert indexes(plan, await leading(fresh)) <= {"resources_user_name", "resources_display_name", PKEY}
        assert len(found) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('userName sw "u1"', "resources_by_user_name"),
        ('userName sw "U1" and title pr', "resources_by_user_name"),
        ('displayName sw "D1"', "resources_by_display_name"),
        ('meta.lastModified gt "2026-01-01T00:00:00Z"', "resources_by_update"),
        ('meta.lastModified ge "2026-01-01T00:00:00Z" and userName co "7"', "resources_by_update"),
        ('userName co "7"', "resources_listing"),
        ('emails.value ew "@x"', "resources_listing"),
        ("title pr or active eq true", "resources_listing"),
        ('not (userName eq "u7")', "resources_listing"),
    ],
)
@pytest.mark.parametrize("by_cursor", [False, True])
async def test_walks_stay_in_their_own_index(fresh: World, text: str, wanted: str, by_cursor: bool) -> None:
    member, _ = await content_of(fresh)
    after = Position(None, member) if by_cursor else None
    query = Query((USER,), parse_filter(text), count=1, by_cursor=by_cursor, after=after)
    for plan in await plans(fresh, query):
        used = indexes(plan, await leading(fresh))
        assert wanted in used
        assert used <= {wanted, PKEY}


SORTED = [
    ("", "", "resources_listing"),
    ("userName", "", "resources_by_user_name"),
    ("userName", 'userName sw "u1"', "resources_by_user_name"),
    ("displayName", "", "resources_by_display_name"),
    ("displayName", "title pr", "resources_by_display_name"),
    ("displayName", 'displayName sw "d"', "resources_by_display_name"),
    ("meta.lastModified", "", "resources_by_update"),
    ("meta.lastModified", 'meta.lastModified gt "2026-01-01T00:00:00Z"', "resources_by_update"),
]


@pytest.mark.parametrize("after", ["first page", "after a value", "after none"])
@pytest.mark.parametrize("down", ["", "-"])
@pytest.mark.parametrize(("sort", "text", "wanted"), SORTED)
async def test_sorted_pages_are_read_in_the_order_of_their_index(
    fresh: World, sort: str, text: str, wanted: str, down: str, after: str
) -> None:
    member, _ = await content_of(fresh)
    value = {"userName": "u5", "displayName": "d5"}.get(sort, "2026-05-01T12:00:00Z") if "value" in after else None
    # Everybody has the other two, so no position is without a value.
    after = after if value is not None or sort in ("", "displayName") else "first page"
    position = None if after == "first page" else Position(value if sort else None, member)
    query = Query(
        (USER,), parse_filter(text) if text else None, sorted_by(down + sort), count=3, by_cursor=True, after=position
    )
    # The last is the count of a filter, which has no order.
    page, *counted = await plans(fresh, query)
    for plan in (page, *counted):
        used = indexes(plan, await leading(fresh))
        assert wanted in used
        # No name is null and begins with "d": whatever finds that nobody has one will do.
        assert used <= {wanted, PKEY} | (
            {"resources_display_name"} if "sw" in text and after == "after none" else set()
        )
    assert not sorts_all(page)


def sorted_by(text: str) -> Sort | None:
    """Return a sort; a minus means descending."""
    return parse_sort_by(text.lstrip("-"), text.startswith("-")) if text.lstrip("-") else None


async def content_of(world: World) -> tuple[ResourceId, ResourceId]:
    """Return the ids of a user and of the group."""
    async with world.storage.begin(world.tenant) as tx:
        users = await tx.fetch("SELECT id FROM resources WHERE type = 1 ORDER BY id OFFSET 7 LIMIT 1")
        groups = await tx.fetch("SELECT id FROM resources WHERE type = 2")
    return users[0][0], groups[0][0]


async def leading(world: World) -> dict[str, str]:
    """Return the column that each index begins with."""
    async with world.storage.begin(world.tenant) as tx:
        return await first_columns(tx)
