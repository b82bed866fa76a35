"""Lists of resources: filter, sort, pages by index and by position, one resource type or all.

What IdPs ask all day (a page, one equality) goes to the prepared statements of ``resources.py``. Everything else is
compiled here: one ordered branch for each resource type, put together, and the documents of the page alone at the end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, LiteralString, cast

from psycopg.errors import QueryCanceled
from sqlalchemy import ColumnElement, FromClause, Select, Text, func, literal_column, select, true, union_all
from sqlalchemy import cast as cast_sql
from sqlalchemy.exc import DBAPIError

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import ResourceType, StoredResource
from control_plane.scim.errors import TooMany
from control_plane.scim.filters import Equality, Filter, equality
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.sorting import Sort, kind_of, sort_targets, sorted_attribute
from control_plane.storage import resources as prepared
from control_plane.storage.engine import Tx
from control_plane.storage.filter_needles import needle_condition
from control_plane.storage.filter_sql import Place, condition
from control_plane.storage.filter_walks import bounded_walk, of_type
from control_plane.storage.predicates import NEVER, Predicate, every
from control_plane.storage.schema import resources
from control_plane.storage.sort_sql import Key, Position, creation_key, missing_key, sort_key

__all__ = ["Found", "Position", "Query", "bounded", "is_prepared", "search"]

# Nobody has more resources; and the database adds to it without overflow.
MAX_START = 2**53
TOO_SLOW = (
    "this takes too long in a directory of this size. Fast are: eq on id, userName, externalId, displayName, "
    "emails.value, manager, members, groups and unique attributes of your own schemas, each also with further terms "
    "joined by and; sw on userName and displayName; gt and ge on meta.lastModified; sorting by userName, displayName "
    "and meta.lastModified; pages by cursor instead of a high startIndex"
)
# Each query is planned for its own values: a plan for all would sort a large tenant like one of average size.
PLAN_FOR_VALUES: LiteralString = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
TOTAL: LiteralString = """
    SELECT coalesce(sum(count), 0)::bigint FROM counters
    WHERE tenant_id = %(tenant)b::uuid AND type = any(%(types)b::smallint[])
"""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. ``start`` is 1 for the first; by cursor it is ignored, and ``after`` says where to go on.

    ``base`` is the URL before "/Users", which filters on ``$ref`` and ``meta.location`` compare with.
    """

    types: tuple[ResourceType, ...]
    filter: Filter | None = None
    sort: Sort | None = None
    start: int = 1
    count: int = 100
    by_cursor: bool = False
    after: Position | None = None
    base: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A page out of ``total`` matches, without members and groups. ``next``: by cursor, if more follow."""

    total: int
    resources: tuple[StoredResource, ...]
    next: Position | None = None


@dataclass(frozen=True, slots=True)
class _Branch:
    """The matching rows of one resource type, and their order. ``is_few``: to be found first and sorted then."""

    rows: FromClause
    where: Predicate
    key: Key
    is_few: bool = False

    def ids(self, after: Position | None) -> list[Select[Any]]:
        """Return the queries that have the rows after a position, each in order."""
        columns = self.rows.c
        query = select(columns.id.label("id"), self.key.value.label("value")).where(self.where)
        if not self.is_few:
            return self._in_order(query, self.key, columns.id, after)
        # OFFSET 0 keeps the planner from walking another index only because it has the order of the list.
        few = query.offset(literal_column("0")).subquery()
        return self._in_order(select(few.c.id, few.c.value), replace(self.key, value=few.c.value), few.c.id, after)

    def _in_order(
        self, query: Select[Any], key: Key, ids: ColumnElement[Any], after: Position | None
    ) -> list[Select[Any]]:
        queries = [query.where(run) for run in key.after(ids, after)] if after else [query]
        return [one.order_by(*key.ordered(key.value, ids)) for one in queries]

    def count(self) -> ColumnElement[int]:
        """Return how many rows there are."""
        return select(func.count()).select_from(self.rows).where(self.where).scalar_subquery()


async def search(tx: Tx, query: Query, registry: SchemaRegistry) -> Found:
    """Return a page of what matches.

    InvalidFilter and InvalidValue (the sort) for what cannot be asked; TooMany when the statement timeout of ``tx``
    ends it, which is then of no further use.
    """
    with bounded():
        found = await _prepared(tx, query, registry)
        return found if found is not None else await _compiled(tx, query, registry)


def is_prepared(query: Query, registry: SchemaRegistry) -> bool:
    """Whether a prepared statement answers ``query``: a page of one type, or one equality, in order of creation."""
    if query.sort is not None or query.by_cursor or len(query.types) != 1:
        return False
    return query.filter is None or _equality(query, registry) is not None


async def _prepared(tx: Tx, query: Query, registry: SchemaRegistry) -> Found | None:
    """Return what a prepared statement finds; None if there is none for this query."""
    if not is_prepared(query, registry):
        return None
    resource_type, start = query.types[0], _start(query)
    match = _equality(query, registry)
    if match is None:
        page = await prepared.page(tx, resource_type, start, query.count)
    else:
        attribute = cast("Literal['id', 'userName', 'externalId', 'displayName']", match.attribute)
        page = await prepared.find(tx, resource_type, attribute, match.value, start, query.count)
    return Found(page.total, page.resources)


def _equality(query: Query, registry: SchemaRegistry) -> Equality | None:
    return equality(query.filter, query.types[0].scim_name, registry) if query.filter is not None else None


async def _compiled(tx: Tx, query: Query, registry: SchemaRegistry) -> Found:
    branches = _branches(tx, query, registry)
    await tx.fetch(PLAN_FOR_VALUES)
    rows = await _page(tx, query, branches) if query.count > 0 and branches else []
    total = await _total(tx, query, branches, len(rows))
    shown = rows[: query.count]
    has_more = query.by_cursor and len(rows) > query.count
    next_ = Position(shown[-1][-1], ResourceId(shown[-1][0])) if has_more else None
    return Found(total, tuple(prepared.stored(row[:-1]) for row in shown), next_)


def _branches(tx: Tx, query: Query, registry: SchemaRegistry) -> list[_Branch]:
    """Return the branches that can have rows; every one is compiled, so that each finds what is wrong."""
    names = tuple(resource_type.scim_name for resource_type in query.types)
    places = [Place(tx.tenant, kind, registry, query.base, names) for kind in query.types]
    keys = _keys(query, places, names, registry)
    found = [_branch(query, place, key) for place, key in zip(places, keys, strict=True)]
    return [branch for branch in found if branch is not None]


def _branch(query: Query, place: Place, key: Key) -> _Branch | None:
    mine = place.rows.c.tenant_id == place.tenant
    if query.filter is None:
        return _Branch(place.rows, every([mine, key.walk]), key)
    needle = needle_condition(query.filter, place)
    if needle is NEVER:
        return None
    if needle is not None:
        return _Branch(place.rows, every([mine, of_type(place), needle]), key, is_few=True)
    wanted = condition(query.filter, place)
    if wanted is NEVER:
        return None
    walk = bounded_walk(query.filter, place)
    if walk is None:
        return _Branch(place.rows, every([mine, key.walk, wanted]), key)
    return _Branch(place.rows, every([mine, walk.where, wanted]), key, is_few=walk.column is not key.value)


def _keys(query: Query, places: Sequence[Place], names: Sequence[str], registry: SchemaRegistry) -> list[Key]:
    if query.sort is None:
        return [creation_key(place) for place in places]
    targets = sort_targets(query.sort, names, registry)
    kind = next(kind_of(sorted_attribute(target)) for target in targets if target is not None)
    down = query.sort.descending
    return [
        sort_key(target, place, down) if target else missing_key(kind, place, down)
        for target, place in zip(targets, places, strict=True)
    ]


async def _page(tx: Tx, query: Query, branches: Sequence[_Branch]) -> list[tuple[Any, ...]]:
    """Return the rows of the page, one more by cursor: the columns of a resource, and the sort value as text."""
    skip = 0 if query.by_cursor else _start(query) - 1
    limit = query.count + 1 if query.by_cursor else query.count
    key = next((branch.key for branch in branches if not branch.key.is_constant), branches[0].key)
    queries = [one for branch in branches for one in branch.ids(query.after if query.by_cursor else None)]
    if len(queries) == 1:
        hits = queries[0].offset(skip).limit(limit).subquery("hits")
    else:
        united = union_all(*(one.limit(skip + limit) for one in queries)).subquery("united")
        order = key.ordered(united.c.value, united.c.id)
        hits = select(united.c.id, united.c.value).order_by(*order).offset(skip).limit(limit).subquery("hits")
    resource = resources.alias()
    same = (resource.c.id == hits.c.id) & (resource.c.tenant_id == tx.tenant)
    # Each by itself: a join may read everybody's.
    found = select(resource).where(same).offset(literal_column("0")).correlate_except(resource).lateral("found")
    columns = found.c
    statement = (
        select(
            columns.id,
            columns.type,
            columns.version,
            columns.user_name,
            columns.external_id,
            columns.display_name,
            columns.active,
            columns.created_at,
            columns.updated_at,
            cast_sql(columns.document, Text),
            cast_sql(hits.c.value, Text),
        )
        .select_from(hits.join(found, true()))
        .order_by(*key.ordered(hits.c.value, hits.c.id))
    )
    return [tuple(row) for row in await tx.execute(statement)]


async def _total(tx: Tx, query: Query, branches: Sequence[_Branch], fetched: int) -> int:
    """Return how many match. A page that is not full tells it; else a filter costs a count of its own."""
    if query.filter is None:
        types = [int(resource_type) for resource_type in query.types]
        rows = await tx.fetch(TOTAL, {"tenant": tx.tenant, "types": types})
        return int(rows[0][0])
    if not branches:
        return 0
    skip = 0 if query.by_cursor else _start(query) - 1
    is_whole = query.after is None or not query.by_cursor
    is_last = query.count > 0 and fetched < query.count + query.by_cursor
    if is_whole and is_last and (fetched or not skip):
        return skip + fetched
    counts = [branch.count() for branch in branches]
    result = await tx.execute(select(sum(counts[1:], start=counts[0])))
    return int(result.scalar_one())


def _start(query: Query) -> int:
    return min(max(query.start, 1), MAX_START)


@contextmanager
def bounded(advice: str = TOO_SLOW) -> Iterator[None]:
    """Raise TooMany with ``advice`` where the server gave up: the same query would take as long the next time."""
    try:
        yield
    except QueryCanceled:
        raise TooMany(advice) from None
    except DBAPIError as err:
        if isinstance(err.orig, QueryCanceled):
            raise TooMany(advice) from None
        raise
