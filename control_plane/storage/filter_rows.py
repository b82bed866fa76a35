"""Members and groups in filters: values that are rows of ``memberships``, not part of a document.

OFFSET 0 keeps the planner from joining, which may read the memberships of everybody: each is looked up by itself. So
what is read does not depend on the statistics, which know nothing of what was loaded since (storage/README.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Select,
    SmallInteger,
    Subquery,
    Text,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.resources import ResourceType
from control_plane.storage.filter_values import Condition, Value, fixed_value, id_value, row_value, text_value
from control_plane.storage.json_sql import Expression, Moment
from control_plane.storage.predicates import ALWAYS, NEVER, Predicate, either, known, negated
from control_plane.storage.schema import memberships, resources

REF, TYPE, VALUE, DISPLAY = "$ref", "type", "value", "display"
DIRECT, INDIRECT = "direct", "indirect"
USER, GROUP = (literal_column(str(int(kind)), SmallInteger) for kind in (ResourceType.USER, ResourceType.GROUP))
# True of every row, and the key to the listing index (see storage/README.md).
LISTED = literal_column("'-infinity'::timestamptz", Moment)
# True of every row as well: the key to the index by update.
NEW = literal_column("0", SmallInteger)
_ZERO, _ONE = literal_column("0", SmallInteger), literal_column("1", SmallInteger)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The members or groups of ``rows``, of one tenant; ``base`` is the URL before "/Users"."""

    tenant: TenantId
    base: str
    rows: FromClause

    def any_member(self, condition: Condition) -> Predicate:
        """Whether the group has a member that fulfils ``condition``."""
        held = memberships.alias()
        found = self.resource_of(held.c.member_id)
        asked = set[str]()
        wanted = condition(member_row(self.base, held.c.member_id, found, asked))
        if wanted is NEVER:
            return NEVER
        tables: FromClause = held if asked <= {VALUE} else held.join(found, true())
        query = select(_ONE).select_from(tables).where(held.c.group_id == self.rows.c.id, self._mine(held), wanted)
        return exists(query.offset(_ZERO).correlate_except(held, found))

    def any_group(self, condition: Condition) -> Predicate:
        """Whether the user is in a group, directly or through other groups, that fulfils ``condition``.

        Downwards from the groups that do: they are few, and each is only walked once for all users.
        """
        found = resources.alias()
        asked = set[str]()
        direct = condition(self._group(found, DIRECT, asked))
        if TYPE in asked:
            indirect = condition(self._group(found, INDIRECT, asked))
            return either([self._in_directly(found, direct), self._in_indirectly(found, indirect)])
        if direct is NEVER or direct is ALWAYS:
            return self._in_directly(found, direct)
        return self._is_among(self.everybody_in(self._groups(found, direct)))

    def everybody_in(self, groups: Select[tuple[ResourceId]]) -> Select[tuple[ResourceId]]:
        """Return who is in ``groups`` (a query of their ids), directly or through other groups."""
        first = self._members_of(groups.subquery())
        inside = first.cte(recursive=True)
        # UNION ends the walk where groups hold each other in a circle.
        inside = inside.union(self._members_of(inside))
        return select(inside.c.id)

    def _in_directly(self, found: FromClause, wanted: Predicate) -> Predicate:
        if wanted is NEVER:
            return NEVER
        if wanted is ALWAYS:
            held = memberships.alias()
            query = select(_ONE).where(held.c.member_id == self.rows.c.id, self._mine(held))
            return exists(query.offset(_ZERO).correlate_except(held))
        return self._is_among(self._members_of(self._groups(found, wanted).subquery()))

    def _in_indirectly(self, found: FromClause, wanted: Predicate) -> Predicate:
        if wanted is NEVER:
            return NEVER
        inside = self._nested(found, wanted).cte(recursive=True)
        inside = inside.union(self._pairs(inside))
        held = memberships.alias()
        is_direct = exists(
            select(_ONE)
            .where(held.c.group_id == inside.c.top, held.c.member_id == inside.c.id, self._mine(held))
            .offset(_ZERO)
            .correlate_except(held)
        )
        return self._is_among(select(inside.c.id).where(negated(is_direct)))

    def _is_among(self, ids: Select[tuple[ResourceId]]) -> Predicate:
        """Return whether the row is one of ``ids``, which are found once and then looked up in a hash table.

        A bare IN is a join to the planner: a nested loop, when it expects few. COALESCE keeps it from joining, and an
        array is always taken for a short one, which may be hashed.
        """
        found = func.unnest(func.array(ids.scalar_subquery(), type_=ARRAY(UUID)), type_=UUID)
        return known(self.rows.c.id.in_(select(found)))

    def _groups(self, found: FromClause, wanted: Predicate) -> Select[tuple[ResourceId]]:
        listed = found.c.created_at > LISTED
        return select(found.c.id).where(found.c.tenant_id == self.tenant, found.c.type == GROUP, listed, wanted)

    def _members_of(self, groups: Subquery | CTE) -> Select[tuple[ResourceId]]:
        members = self._memberships_of(groups)
        return select(members.c.member_id.label("id")).select_from(groups.join(members, true()))

    def _nested(self, found: FromClause, wanted: Predicate) -> Select[tuple[ResourceId, ResourceId]]:
        """Return the groups inside groups that fulfil ``wanted``, with those.

        Upwards from the inner ones: the outer ones hold many more users than groups.
        """
        inner, held = self._groups(resources.alias(), ALWAYS).subquery(), memberships.alias()
        ways = select(held.c.group_id).where(held.c.member_id == inner.c.id, self._mine(held))
        way = ways.offset(_ZERO).correlate_except(held).lateral()
        tops = select(found.c.id).where(found.c.id == way.c.group_id, found.c.tenant_id == self.tenant, wanted)
        top = tops.offset(_ZERO).correlate_except(found).lateral()
        tables = inner.join(way, true()).join(top, true())
        return select(top.c.id.label("top"), inner.c.id.label("id")).select_from(tables)

    def _pairs(self, inside: CTE) -> Select[tuple[ResourceId, ResourceId]]:
        """Return the members of the groups ``inside``, with the group at the top of the way to them."""
        members = self._memberships_of(inside)
        return select(inside.c.top, members.c.member_id.label("id")).select_from(inside.join(members, true()))

    def _memberships_of(self, groups: Subquery | CTE) -> FromClause:
        held = memberships.alias()
        query = select(held.c.member_id).where(held.c.group_id == groups.c.id, self._mine(held))
        return query.offset(_ZERO).correlate_except(held).lateral()

    def resource_of(self, wanted: Expression) -> FromClause:
        """Return the resource with the id ``wanted``, to be joined to where that id comes from."""
        row = resources.alias()
        columns = (row.c.type, row.c.display_name, row.c.display_name_key)
        query = select(*columns).where(row.c.id == wanted, row.c.tenant_id == self.tenant)
        return query.offset(_ZERO).correlate_except(row).lateral()

    def _group(self, row: FromClause, kind: str, asked: set[str]) -> Value:
        subs: dict[str, Value] = {
            VALUE: id_value(row.c.id),
            DISPLAY: text_value(row.c.display_name, row.c.display_name_key),
            TYPE: fixed_value(kind),
        }
        return row_value(_with_reference(subs, self.base, literal("/Groups/", Text), row.c.id), asked)

    def _mine(self, held: FromClause) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = held.c.tenant_id == self.tenant
        return mine


def member_row(base: str, ids: Expression, row: FromClause, asked: set[str] | None = None) -> Value:
    """Return a member of a group as a value: ``ids`` is its id, ``row`` the resource that has it.

    ``asked`` collects the sub-attributes that conditions use.
    """
    is_user = row.c.type == USER
    subs: dict[str, Value] = {
        VALUE: id_value(ids),
        TYPE: text_value(case((is_user, "User"), else_="Group")),
        DISPLAY: text_value(row.c.display_name, row.c.display_name_key),
    }
    return row_value(_with_reference(subs, base, case((is_user, "/Users/"), else_="/Groups/"), ids), asked)


def _with_reference(subs: Mapping[str, Value], base: str, folder: Expression, ids: Expression) -> dict[str, Value]:
    """Add ``$ref``, which is left out where nobody said what URL the client uses."""
    return {**subs, REF: text_value(literal(base, Text) + folder + cast(ids, Text))} if base else dict(subs)
