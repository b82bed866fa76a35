"""Walks through an index that begins with the tenant, or a part of it: filters that bound a key which it has in order.

A walk says the condition that opens its index (storage/README.md). It is always true, and the rest of the filter is
still asked of every row of the walk.
"""

from dataclasses import dataclass

from sqlalchemy import Interval, SmallInteger, Text, func, literal, literal_column, select

from control_plane.domain.resources import ResourceType
from control_plane.scim.compare import fold
from control_plane.scim.filters import And, Compare, Filter, Operator
from control_plane.storage.filter_rows import LISTED, NEW
from control_plane.storage.filter_sql import Place
from control_plane.storage.json_sql import Expression, Moment, moment_literal
from control_plane.storage.predicates import Predicate, every

MILLISECOND = literal_column("interval '1 millisecond'", Interval)
_LAST = 0x10FFFF
_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, 0xE000


@dataclass(frozen=True, slots=True)
class Walk:
    """A part of an index: the conditions that bound it, and the column in whose order it is."""

    where: Predicate
    column: Expression


def of_type(place: Place) -> Predicate:
    """Return the condition on the type. Literal: the planner must see which partial indexes it opens."""
    found: Predicate = place.rows.c.type == _number(place)
    return found


def by_creation(place: Place) -> Predicate:
    """Return the walk in order of ids."""
    return every([of_type(place), place.rows.c.created_at > LISTED])


def by_user_name(place: Place) -> Predicate:
    """Return the walk in order of userNames; of users only."""
    return every([of_type(place), place.rows.c.updated_at > LISTED])


def by_display_name(place: Place) -> Predicate:
    """Return the walk in order of displayNames."""
    # A subquery, so that the planner does not see that these are users: it would open their index by userName as well.
    kind = select(_number(place)).scalar_subquery()
    return every([place.rows.c.type == kind, place.rows.c.updated_at > LISTED])


def by_update(place: Place) -> Predicate:
    """Return the walk in order of changes."""
    return every([of_type(place), place.rows.c.version > NEW])


def bounded_walk(node: Filter, place: Place) -> Walk | None:
    """Return the shortest walk that has all that matches ``node``; None if it has no bounds."""
    terms = node.terms if isinstance(node, And) else (node,)
    walks = [walk for find in (_user_names, _display_names, _updates) for term in terms if (walk := find(term, place))]
    return walks[0] if walks else None


def _user_names(node: Filter, place: Place) -> Walk | None:
    prefix = _prefix(node, "userName", place)
    if prefix is None or place.type is not ResourceType.USER:
        return None
    column = place.rows.c.user_name_key
    return Walk(every([by_user_name(place), *_starts_with(column, prefix)]), column)


def _display_names(node: Filter, place: Place) -> Walk | None:
    prefix = _prefix(node, "displayName", place)
    column = place.rows.c.display_name_key
    if prefix is None:
        return None
    return Walk(every([by_display_name(place), *_starts_with(column, prefix)]), column)


def _updates(node: Filter, place: Place) -> Walk | None:
    if not isinstance(node, Compare) or node.operator not in (Operator.GT, Operator.GE, Operator.EQ):
        return None
    target = place.target(node.path)
    if target is None or target.extension is not None or target.sub is None or not isinstance(node.value, str):
        return None
    if (target.attribute.name, target.sub.name) != ("meta", "lastModified"):
        return None
    column = place.rows.c.updated_at
    # Calculated, so that the planner cannot tell that it implies the condition of the indexes by name.
    start = func.date_trunc("milliseconds", moment_literal(node.value), type_=Moment)
    bounds = [column >= start] if node.operator is not Operator.EQ else [column >= start, column < start + MILLISECOND]
    return Walk(every([by_update(place), *bounds]), column)


def _prefix(node: Filter, name: str, place: Place) -> str | None:
    """Return what the attribute has to start with, in comparable form; None if ``node`` does not say that."""
    if not isinstance(node, Compare) or node.operator is not Operator.SW or not isinstance(node.value, str):
        return None
    target = place.target(node.path)
    if target is None or target.extension is not None or target.sub is not None or target.attribute.name != name:
        return None
    return fold(node.value) or None


def _number(place: Place) -> Expression:
    return literal_column(str(int(place.type)), SmallInteger)


def _starts_with(key: Expression, prefix: str) -> list[Predicate]:
    """Return a range by code points: LIKE could use no index here, since it is not leakproof."""
    end = _after(prefix)
    lower = key >= literal(prefix, Text)
    return [lower, key < literal(end, Text)] if end is not None else [lower]


def _after(prefix: str) -> str | None:
    """Return the first text behind all that start with ``prefix``; None if there is none."""
    kept = prefix.rstrip(chr(_LAST))
    if not kept:
        return None
    last = ord(kept[-1])
    return kept[:-1] + chr(_AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1)
