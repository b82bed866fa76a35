"""``sortBy`` and ``sortOrder`` (RFC 7644 section 3.4.2.3), and the value that a resource is sorted by.

Strings are ordered by code point, folded unless caseExact, by their first 256 characters (a userName or displayName as
a whole: they are never long). Of a multi-valued attribute the primary element counts, or else the first; of a complex
one its "value". Resources without a value come last in ascending order and first in descending order; equal ones are
always in ascending order of their id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from control_plane.scim.attribute_path import AttributePath, parse_attribute_path
from control_plane.scim.compare import fold, number, parse_date_time
from control_plane.scim.errors import InvalidValue
from control_plane.scim.evaluate import comparable
from control_plane.scim.registry import GROUPS, MEMBERS, SchemaRegistry, Target
from control_plane.scim.schema import Attribute, AttributeType, Document, Returned

MAX_SORTED = 256
# Limited by what an index can hold, hence never cut: an index of them is in the right order as it is.
WHOLE = ("userName", "displayName")
PRIMARY = "primary"

SortValue = str | bool | Decimal | datetime | None


@dataclass(frozen=True, slots=True)
class Sort:
    """What a list is sorted by."""

    path: AttributePath
    descending: bool = False


def parse_sort_by(text: str, descending: bool) -> Sort:
    """Return the sort that ``sortBy`` spells; InvalidValue if it is no attribute path."""
    path = parse_attribute_path(text.strip())
    if path is None:
        raise InvalidValue(f"sortBy: {text[:200]!r} is not an attribute")
    return Sort(path, descending)


def sort_targets(sort: Sort, type_names: Sequence[str], registry: SchemaRegistry) -> tuple[Target | None, ...]:
    """Return what each resource type is sorted by; None for one that lacks the attribute.

    InvalidValue if all lack it, if it has no order, or if the types store different kinds of values under it.
    """
    targets = tuple(_target(sort, name, registry) for name in type_names)
    known = [target for target in targets if target is not None]
    if not known:
        raise InvalidValue(f"sortBy: a {' or '.join(type_names)} has no attribute {sort.path}")
    if len({kind_of(sorted_attribute(target)) for target in known}) > 1:
        raise InvalidValue(f"sortBy: {sort.path} has another type in each resource type: sort one of them")
    return targets


def sorted_attribute(target: Target) -> Attribute:
    """Return the simple attribute that ends up being compared."""
    ends = target.sub or target.attribute
    return comparable(ends) or ends


def is_whole(target: Target) -> bool:
    """Whether the strings are compared in full length."""
    return target.extension is None and target.sub is None and target.attribute.name in WHOLE


def kind_of(attribute: Attribute) -> type[Any]:
    """Return the type of the sort values of a simple attribute."""
    match attribute.type:
        case AttributeType.INTEGER | AttributeType.DECIMAL:
            return Decimal
        case AttributeType.BOOLEAN:
            return bool
        case AttributeType.DATE_TIME:
            return datetime
        case _:
            return str


def sort_value(sort: Sort, resource: Document, resource_type_name: str, registry: SchemaRegistry) -> SortValue:
    """Return what ``resource``, as clients see it, is sorted by; None if that is unassigned."""
    target = _target(sort, resource_type_name, registry)
    if target is None:
        return None
    holder: object = resource if target.extension is None else resource.get(target.extension)
    value = _chosen(target.attribute, holder)
    if target.sub is not None:
        value = _chosen(target.sub, value)
    ends = target.sub or target.attribute
    sub = comparable(ends)
    if sub is not None:
        value = _chosen(sub, value)
    return _typed(sub or ends, value, None if is_whole(target) else MAX_SORTED)


def _target(sort: Sort, resource_type_name: str, registry: SchemaRegistry) -> Target | None:
    target = registry.resolve(resource_type_name, sort.path)
    if target is None:
        return None
    ends = target.sub or target.attribute
    if Returned.NEVER in (target.attribute.returned, ends.returned):
        raise InvalidValue(f"sortBy: {sort.path} is never returned, so it cannot be sorted by")
    if target.extension is None and target.attribute.name in (MEMBERS, GROUPS):
        raise InvalidValue(f"sortBy: {target.attribute.name} have no order to sort by")
    if ends.is_complex and comparable(ends) is None:
        raise InvalidValue(f'sortBy: {sort.path} is complex and has no "value": sort by one of its sub-attributes')
    return target


def _chosen(attribute: Attribute, holder: object) -> object:
    value = holder.get(attribute.name) if isinstance(holder, Mapping) else None
    if not attribute.multi_valued or not isinstance(value, list):
        return value
    values = [item for item in value if item is not None]
    primary = [item for item in values if isinstance(item, Mapping) and item.get(PRIMARY) is True]
    return next(iter(primary or values), None)


def _typed(attribute: Attribute, value: object, length: int | None) -> SortValue:
    kind = kind_of(attribute)
    if kind is bool:
        return value if isinstance(value, bool) else None
    if kind is Decimal:
        return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    if kind is datetime:
        return parse_date_time(value)
    return (value if attribute.case_exact else fold(value))[:length]
