"""Filters to SQL: a condition on a row of ``resources`` that holds where ``evaluate.matches`` does on the resource.

Nothing of a filter ever becomes SQL text: values are bound parameters, names are looked up in the schemas first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from sqlalchemy import FromClause, Text, cast, literal

from control_plane.domain.ids import TenantId
from control_plane.domain.resources import ResourceType
from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.evaluate import check_comparison, check_element_filter, comparable, element_attribute
from control_plane.scim.evaluate import filter_target as target_of
from control_plane.scim.filters import And, Compare, Filter, Literal, Not, Operator, Or, Present, ValuePath
from control_plane.scim.registry import GROUPS, MEMBERS, SchemaRegistry, Target
from control_plane.scim.schema import Attribute
from control_plane.storage.filter_rows import Neighbours
from control_plane.storage.filter_values import (
    Value,
    Values,
    fixed_value,
    id_value,
    in_json,
    moment_value,
    none,
    one,
    row_value,
    text_value,
)
from control_plane.storage.json_sql import member_of
from control_plane.storage.predicates import NEVER, Predicate, constant, either, every, negated
from control_plane.storage.schema import resources

Find = Callable[[AttributePath], Values]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a filter is asked: of ``rows``, an alias of ``resources``, that are of one type and tenant.

    ``among`` are the SCIM names of all types of a root query. ``base`` is the URL before "/Users".
    """

    tenant: TenantId
    type: ResourceType
    registry: SchemaRegistry
    base: str = ""
    among: tuple[str, ...] = ()
    rows: FromClause = field(default_factory=lambda: resources.alias("r"))

    @property
    def neighbours(self) -> Neighbours:
        """The members or groups of the rows."""
        return Neighbours(self.tenant, self.base, self.rows)

    def target(self, path: AttributePath) -> Target | None:
        """Return what ``path`` leads to; see ``evaluate.filter_target``."""
        return target_of(path, self.type.scim_name, self.registry, self.among)


def condition(node: Filter, place: Place) -> Predicate:
    """Return the condition for ``node``; InvalidFilter exactly when ``evaluate.matches`` raises it."""
    return _condition(node, lambda path: _find(place, path))


def element_condition(node: Filter, attribute: Attribute, element: Value) -> Predicate:
    """Return the condition for one element of a multi-valued attribute; see ``evaluate.element_matches``."""

    def find(path: AttributePath) -> Values:
        found = element_attribute(attribute, path)
        return one(attribute, element) if found is attribute else element.sub(found)

    return _condition(node, find)


def attribute_values_of(place: Place, target: Target) -> Values:
    """Return the values that ``target`` leads to, in the rows of ``place``."""
    values = _top_level(place, target)
    return values.sub(target.sub) if target.sub is not None else values


def _condition(node: Filter, find: Find) -> Predicate:
    match node:
        case Compare(path, operator, value):
            return _compare(find(path), operator, value)
        case Present(path):
            return find(path).any(lambda value: value.present)
        case Not(term):
            return negated(_condition(term, find))
        case And(terms):
            return every([_condition(term, find) for term in terms])
        case Or(terms):
            return either([_condition(term, find) for term in terms])
        case ValuePath(path, term):
            return _value_path(find(path), term)
        case _:
            assert_never(node)


def _compare(values: Values, operator: Operator, wanted: Literal) -> Predicate:
    if values.attribute is None:
        return constant(operator is (Operator.EQ if wanted is None else Operator.NE))
    sub = comparable(values.attribute)
    if sub is not None:
        values = values.sub(sub)
    attribute = sub or values.attribute
    assert attribute is not None
    check_comparison(attribute, operator, wanted)
    if wanted is None:
        present = values.any(lambda value: value.present)
        return present if operator is Operator.NE else negated(present)
    found = values.any(lambda value: value.holds(attribute, operator, wanted))
    if operator is not Operator.NE:
        return found
    return either([found, negated(values.any(lambda value: value.assigned))])


def _value_path(values: Values, term: Filter) -> Predicate:
    attribute = values.attribute
    if attribute is None:
        return NEVER
    check_element_filter(term, attribute)
    return values.any(lambda value: every([value.assigned, element_condition(term, attribute, value)]))


def _find(place: Place, path: AttributePath) -> Values:
    target = place.target(path)
    return attribute_values_of(place, target) if target is not None else none(None)


def _top_level(place: Place, target: Target) -> Values:
    attribute, document = target.attribute, place.rows.c.document
    if target.extension is not None:
        return in_json(attribute, member_of(document, target.extension))
    if attribute.name == MEMBERS:
        return Values(attribute, place.neighbours.any_member)
    if attribute.name == GROUPS:
        return Values(attribute, place.neighbours.any_group)
    column = _column(place, attribute.name)
    return one(attribute, column) if column is not None else in_json(attribute, document)


def _column(place: Place, name: str) -> Value | None:
    """Return the attributes that are columns, or made of them; None for what is only in the document.

    ``active`` is both, and the column says true where the document says nothing: the document is what clients see.
    """
    columns = place.rows.c
    match name:
        case "id":
            return id_value(columns.id)
        case "externalId":
            return text_value(columns.external_id)
        case "userName":
            return text_value(columns.user_name, columns.user_name_key)
        case "displayName":
            return text_value(columns.display_name, columns.display_name_key)
        case "meta":
            return _meta(place)
        case _:
            return None


def _meta(place: Place) -> Value:
    columns = place.rows.c
    ids, version = cast(columns.id, Text), cast(columns.version, Text)
    return row_value(
        {
            "resourceType": fixed_value(place.type.scim_name),
            "created": moment_value(columns.created_at),
            "lastModified": moment_value(columns.updated_at),
            "location": text_value(literal(f"{place.base}{place.type.endpoint}/", Text) + ids),
            "version": text_value(literal('W/"', Text) + version + literal('"', Text)),
        }
    )
