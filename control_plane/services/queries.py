"""Lists resources: filter, sort, pages by index or by cursor (RFC 7644 section 3.4.2, RFC 9865)."""

from dataclasses import dataclass
from datetime import timedelta

import orjson

from control_plane.domain.cursors import NONCE_BYTES, Bookmark, Cursors
from control_plane.domain.ids import ResourceId, TenantId, parse_resource_id
from control_plane.domain.resources import ResourceType, StoredResource
from control_plane.runtime.clock import Clock
from control_plane.scim.errors import InvalidCursor
from control_plane.scim.filters import parse_filter
from control_plane.scim.limits import CURSOR_TIMEOUT_S, DEFAULT_COUNT, MAX_RESULTS
from control_plane.scim.sorting import parse_sort_by
from control_plane.services.rendering import NO_SELECTION, Selection, View, represent
from control_plane.services.shares import Shares
from control_plane.services.tenant_rules import TenantRules
from control_plane.storage.engine import Storage
from control_plane.storage.query import Found, Position, Query, bounded, is_prepared, search

# Lists of one process that wait for their turn; one more is told to come back.
MAX_WAITING = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks for, as it came. ``type`` None: users and groups (RFC 7644 section 3.4.2.1)."""

    tenant: TenantId
    type: ResourceType | None
    filter: str = ""
    sort_by: str = ""
    descending: bool = False
    start_index: int = 1
    count: int | None = None
    # None: page by index. "": the first page by cursor.
    cursor: str | None = None
    selection: Selection = NO_SELECTION
    reference_base: str = ""
    with_members: bool = True

    def identity(self) -> str:
        """Return what must be the same for a cursor to go on. The count may change from page to page (RFC 9865 2.1)."""
        kind = self.type.scim_name if self.type else ""
        return orjson.dumps([kind, self.filter, self.sort_by, self.descending]).decode()


@dataclass(frozen=True, slots=True)
class Listing:
    """A page. ``next_cursor`` is "" on the last page and when paging by index."""

    total: int
    start_index: int
    resources: tuple[StoredResource, ...]
    next_cursor: str = ""


class QueryService:
    """The use case behind GET and ``.search`` on ``/Users``, ``/Groups`` and the root."""

    def __init__(
        self, storage: Storage, clock: Clock, rules: TenantRules, cursors: Cursors, *, timeout_s: float, walks: int
    ) -> None:
        """``timeout_s`` limits each statement of a list: what takes longer is TooMany.

        ``walks`` is how many of a process' connections lists that no prepared statement answers may hold at once; one
        tenant gets half of them. The others wait, so that slow filters hold up neither writes nor other tenants.
        """
        self._storage, self._clock, self._rules = storage, clock, rules
        self._cursors, self._timeout_s = cursors, timeout_s
        self._walks = Shares(walks, max(1, walks // 2), waiting=MAX_WAITING)

    async def search(self, question: Question) -> Listing:
        """Return a page and how many match in all; the start index is as clamped (RFC 7644 section 3.4.2.4)."""
        rules = await self._rules.get(question.tenant)
        view = View(rules.registry, question.selection, question.reference_base, question.with_members)
        kinds = (question.type,) if question.type else tuple(ResourceType)
        for kind in kinds:
            view.projection(kind)
        query = self._query(question, kinds)
        if is_prepared(query, rules.registry):
            found, shown = await self._found(question.tenant, query, view)
        else:
            async with self._walks.share(question.tenant):
                found, shown = await self._found(question.tenant, query, view)
        next_cursor = self._seal(question, found.next) if found.next else ""
        return Listing(found.total, query.start, tuple(shown), next_cursor)

    async def _found(self, tenant: TenantId, query: Query, view: View) -> tuple[Found, list[StoredResource]]:
        async with self._storage.begin(tenant, read_only=True, timeout_s=self._timeout_s) as tx:
            with bounded():
                found = await search(tx, query, view.registry)
                return found, await represent(tx, view, found.resources)

    def _query(self, question: Question, kinds: tuple[ResourceType, ...]) -> Query:
        count = DEFAULT_COUNT if question.count is None else question.count
        return Query(
            types=kinds,
            filter=parse_filter(question.filter) if question.filter else None,
            sort=parse_sort_by(question.sort_by, question.descending) if question.sort_by else None,
            start=1 if question.cursor is not None else max(question.start_index, 1),
            count=min(max(count, 0), MAX_RESULTS),
            by_cursor=question.cursor is not None,
            after=self._open(question) if question.cursor else None,
            base=question.reference_base,
        )

    def _seal(self, question: Question, position: Position) -> str:
        expires_at = self._clock.now() + timedelta(seconds=CURSOR_TIMEOUT_S)
        bookmark = Bookmark([position.value, str(position.id)], expires_at)
        nonce = self._clock.random_bytes(NONCE_BYTES)
        return self._cursors.seal(question.tenant, question.identity(), bookmark, nonce)

    def _open(self, question: Question) -> Position:
        cursor = question.cursor or ""
        value, text = self._cursors.open(question.tenant, question.identity(), cursor, self._clock.now())
        last = parse_resource_id(text)
        if last is None:
            raise InvalidCursor("the cursor was not made for this query: start again without it")
        return Position(value, ResourceId(last))
