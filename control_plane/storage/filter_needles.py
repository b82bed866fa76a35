"""Needles: filters that name a value which an index leads to, so that nobody walks through the tenant to find it.

A needle is a query of ids that has all matching resources, and perhaps more: the rest of the filter is asked of these.
All value indexes begin with the value, and none of these queries says a condition that opens the indexes which begin
with the tenant (storage/README.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import Select, cast, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from control_plane.domain.ids import ResourceId, parse_resource_id
from control_plane.domain.resources import ResourceType
from control_plane.scim.compare import fold
from control_plane.scim.evaluate import VALUE, check_comparison, comparable
from control_plane.scim.filters import And, Compare, Filter, Literal, Operator, Or, ValuePath
from control_plane.scim.keys import keyed_attribute, value_key
from control_plane.scim.registry import GROUPS, MEMBERS, Target
from control_plane.storage.filter_rows import DISPLAY, GROUP, USER
from control_plane.storage.filter_sql import Place, condition
from control_plane.storage.predicates import NEVER, Predicate, every
from control_plane.storage.schema import attribute_values, memberships, resources

Ids = Select[tuple[ResourceId]]


class Width(IntEnum):
    """How many resources a needle may lead to; of several, the narrowest is taken."""

    ONE = 1
    FEW = 2
    SOME = 3
    MANY = 4


@dataclass(frozen=True, slots=True)
class Needle:
    """Queries of the ids of candidates; ``exact``: all of them match."""

    width: Width
    sources: tuple[Ids, ...]
    exact: bool = True


def needle_condition(node: Filter, place: Place) -> Predicate | None:
    """Return the condition for ``node`` that begins with a needle, or None if it has none."""
    terms = node.terms if isinstance(node, And) else (node,)
    found = [(needle, index) for index, term in enumerate(terms) if (needle := _needle(term, place)) is not None]
    if not found:
        return None
    needle, index = min(found, key=lambda pair: (pair[0].width, pair[1]))
    # The others are compiled even if nothing is found: what cannot be compared is an error all the same.
    others = [condition(term, place) for at, term in enumerate(terms) if at != index or not needle.exact]
    if not needle.sources:
        return NEVER
    return every([_is_one_of(place, needle.sources), *others])


def _is_one_of(place: Place, sources: Sequence[Ids]) -> Predicate:
    query = sources[0] if len(sources) == 1 else union_all(*sources)
    found: Predicate = place.rows.c.id == func.any(func.array(query.scalar_subquery(), type_=ARRAY(UUID)))
    return found


def _needle(node: Filter, place: Place) -> Needle | None:
    match node:
        case Compare(path, Operator.EQ, value) if value is not None:
            target = place.target(path)
            return _of_target(target, value, place) if target is not None else None
        case ValuePath(path, term):
            target = place.target(path)
            return _of_element(target, term, place) if target is not None and target.sub is None else None
        case Or(terms):
            return _of_all([_needle(term, place) for term in terms])
        case _:
            return None


def _of_element(target: Target, term: Filter, place: Place) -> Needle | None:
    """Return the needle in ``emails[value eq "x" and type eq "work"]``: its type is asked afterwards."""
    for part in term.terms if isinstance(term, And) else (term,):
        if isinstance(part, Compare) and part.operator is Operator.EQ and part.path.sub is None and not part.path.urn:
            sub = target.attribute.sub(part.path.name)
            if sub is not None and part.value is not None:
                needle = _of_target(Target(target.extension, target.attribute, sub), part.value, place)
                if needle is not None:
                    return Needle(needle.width, needle.sources, exact=False)
    return None


def _of_all(needles: Sequence[Needle | None]) -> Needle | None:
    found = [needle for needle in needles if needle is not None]
    if len(found) < len(needles):
        return None
    sources = tuple(source for needle in found for source in needle.sources)
    return Needle(max(needle.width for needle in found), sources, exact=False)


def _of_target(target: Target, value: Literal, place: Place) -> Needle | None:
    ends = target.sub or target.attribute
    compared = comparable(ends) or ends
    check_comparison(compared, Operator.EQ, value)
    name = keyed_attribute(target)
    key = value_key(compared, value) if name is not None else None
    if name is not None and key:
        return Needle(Width.FEW, (_by_key(place, name, key),))
    if target.extension is not None or not isinstance(value, str):
        return None
    if target.attribute.name in (MEMBERS, GROUPS):
        return _of_neighbour(target, compared.name, value, place)
    return _of_column(target.attribute.name, value, place) if target.sub is None else None


def _of_column(name: str, value: str, place: Place) -> Needle | None:
    match name:
        case "id":
            wanted = parse_resource_id(value)
            return Needle(Width.ONE, (select(cast(literal(wanted, UUID), UUID)),) if wanted else ())
        case "userName" if place.type is ResourceType.USER:
            query = _by_column(place, "user_name_key", fold(value)).where(resources.c.type == USER)
            return Needle(Width.ONE, (query,))
        case "externalId":
            return Needle(Width.FEW, (_by_column(place, "external_id", value),))
        case "displayName":
            return Needle(Width.SOME, (_by_column(place, "display_name_key", fold(value)),))
        case _:
            return None


def _of_neighbour(target: Target, sub: str, value: str, place: Place) -> Needle | None:
    if target.attribute.name == GROUPS and sub == DISPLAY:
        named = _by_column(place, "display_name_key", fold(value)).where(resources.c.type == GROUP)
        return Needle(Width.MANY, (place.neighbours.everybody_in(named),))
    if sub != VALUE:
        return None
    wanted = parse_resource_id(value)
    if wanted is None:
        return Needle(Width.ONE, ())
    if target.attribute.name == GROUPS:
        start = select(cast(literal(wanted, UUID), UUID).label("id"))
        return Needle(Width.MANY, (place.neighbours.everybody_in(start),))
    mine = memberships.c.tenant_id == place.tenant
    return Needle(Width.SOME, (select(memberships.c.group_id).where(memberships.c.member_id == wanted, mine),))


def _by_column(place: Place, column: str, value: str) -> Ids:
    return select(resources.c.id).where(resources.c[column] == value, resources.c.tenant_id == place.tenant)


def _by_key(place: Place, attribute: str, key: str) -> Ids:
    columns = attribute_values.c
    return select(columns.resource_id).where(
        columns.value_key == key, columns.attribute == attribute, columns.tenant_id == place.tenant
    )
