"""Sorting in SQL: the expression that rows are ordered by, and where a page starts after a position.

The value of a position is text whatever the type: exact, and it fits into JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Boolean, Numeric, Text, and_, case, cast, column, func, literal, null, or_, select
from sqlalchemy import tuple_ as row_of
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.types import TypeEngine

from control_plane.domain.ids import ResourceId
from control_plane.scim.registry import Target
from control_plane.scim.schema import Attribute
from control_plane.scim.sorting import MAX_SORTED, PRIMARY, kind_of, sorted_attribute
from control_plane.storage.filter_sql import Place
from control_plane.storage.filter_walks import by_creation, by_display_name, by_update, by_user_name
from control_plane.storage.json_sql import (
    BYTES,
    Expression,
    Moment,
    comparable_text,
    constant_json,
    elements_of,
    json_moment,
    json_number,
    json_text,
    member_of,
)
from control_plane.storage.predicates import Predicate, known

_NULL, _TRUE, _FALSE = (constant_json(word) for word in ("null", "true", "false"))
_TYPES: Mapping[type[Any], TypeEngine[Any]] = {str: Text(), bool: Boolean(), Decimal: Numeric(), datetime: Moment}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page starts after: the sort value of the last resource before it, as text or None, and its id."""

    value: str | None
    id: ResourceId


@dataclass(frozen=True, slots=True)
class Key:
    """What rows are ordered by, before their id. ``walk`` is always true and opens the index to walk in.

    ``is_indexed``: that index has this very order. ``is_constant``: all rows have the same value, null.
    """

    value: Expression
    walk: Predicate
    descending: bool = False
    has_nulls: bool = True
    is_indexed: bool = False
    is_constant: bool = False

    def ordered(self, value: Expression, ids: Expression) -> tuple[Expression, ...]:
        """Return what stands in ORDER BY, for this key's ``value`` and ids, perhaps as a subquery calls them.

        Nulls come last, and first in descending order: PostgreSQL's habit, and ours (scim/sorting.py).
        """
        if self.is_constant:
            return (ids.asc(),)
        value = value.collate(BYTES) if isinstance(self.value.type, Text) else value
        return (value.desc() if self.descending else value.asc(), ids.asc())

    def after(self, ids: Expression, position: Position) -> list[Predicate]:
        """Return conditions that exclude each other: one holds for each row after ``position``."""
        later = ids > literal(position.id, UUID)
        nulls, values = self.value.is_(None), self.value.is_not(None)
        if position.value is None:
            among = and_(nulls, later)
            return self._runs(among, values) if self.descending else [among]
        last = cast(literal(position.value, Text), self.value.type)
        if self.descending:
            # The first condition follows from the second, and is one that an index can use.
            return [and_(self.value <= last, or_(self.value < last, later))]
        among = row_of(self.value, ids) > row_of(last, literal(position.id, UUID))
        return self._runs(among, nulls) if self.has_nulls else [among]

    def _runs(self, first: Predicate, second: Predicate) -> list[Predicate]:
        """An index serves each run by itself; without one, both in one go is half the work."""
        return [first, second] if self.is_indexed else [or_(first, second)]


def creation_key(place: Place) -> Key:
    """Return the key of the default order: creation, which is the order of ids."""
    return Key(cast(null(), Text), by_creation(place), is_constant=True)


def missing_key(kind: type[Any], place: Place, descending: bool) -> Key:
    """Return the key of a resource type that lacks the attribute, whose values elsewhere are of ``kind``."""
    return Key(cast(null(), _TYPES[kind]), by_creation(place), descending, is_constant=True)


def sort_key(target: Target, place: Place, descending: bool) -> Key:
    """Return the key of what ``target`` leads to."""
    columns = place.rows.c
    match target.attribute.name if target.extension is None else None:
        case "userName":
            return Key(columns.user_name_key, by_user_name(place), descending, False, True)
        case "displayName":
            return Key(columns.display_name_key, by_display_name(place), descending, True, True)
        case "meta" if target.sub is not None and target.sub.name == "lastModified":
            return Key(columns.updated_at, by_update(place), descending, False, True)
        case _:
            return Key(_value(target, place), by_creation(place), descending)


def _value(target: Target, place: Place) -> Expression:
    columns, attribute = place.rows.c, sorted_attribute(target)
    path = (target.attribute.name, target.sub.name if target.sub else None) if target.extension is None else None
    ids, version = cast(columns.id, Text), cast(columns.version, Text)
    match path:
        case ("id", None):
            return _cut(attribute, ids)
        case ("externalId", None):
            return _cut(attribute, columns.external_id)
        case ("meta", "created"):
            return columns.created_at
        case ("meta", "resourceType"):
            return _cut(attribute, literal(place.type.scim_name, Text))
        case ("meta", "location"):
            return _cut(attribute, literal(f"{place.base}{place.type.endpoint}/", Text) + ids)
        case ("meta", "version"):
            return _cut(attribute, literal('W/"', Text) + version + literal('"', Text))
        case _:
            return _json_value(target, columns.document)


def _json_value(target: Target, document: Expression) -> Expression:
    json = document if target.extension is None else member_of(document, target.extension)
    attribute = sorted_attribute(target)
    for step in dict.fromkeys((target.attribute, target.sub or target.attribute, attribute)):
        json = _chosen(step, json)
    kind = kind_of(attribute)
    if kind is bool:
        return case((json == _TRUE, True), (json == _FALSE, False))
    if kind is Decimal:
        return json_number(json)
    return json_moment(json) if kind is datetime else _cut(attribute, json_text(json))


def _chosen(attribute: Attribute, holder: Expression) -> Expression:
    """Return the JSON of the attribute; of a multi-valued one, the primary element or else the first."""
    json = member_of(holder, attribute.name)
    if not attribute.multi_valued:
        return json
    listed = func.jsonb_array_elements(elements_of(json), type_=JSONB)
    elements = listed.table_valued(column("value", JSONB), with_ordinality="place").render_derived()
    is_primary = known(member_of(elements.c.value, PRIMARY) == _TRUE)
    query = select(elements.c.value).where(elements.c.value != _NULL).order_by(is_primary.desc(), elements.c.place)
    return query.limit(1).correlate_except(elements).scalar_subquery()


def _cut(attribute: Attribute, text: Expression) -> Expression:
    return func.left(comparable_text(attribute, text), MAX_SORTED, type_=Text)
