"""Does this resource, or this element of a multi-valued attribute, match this filter? In memory.

The oracle for the SQL compiler, and the selection of PATCH value paths. What the RFC leaves open is decided so:
``ne`` is "not eq" for each value, and an attribute without values is ``ne`` to everything; ``eq null`` means "not
present" (RFC 7643 section 2.5: null and unassigned are the same).
"""

from collections.abc import Mapping
from typing import Any, assert_never

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.compare import holds
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.filters import And, Compare, Filter, Literal, Not, Operator, Or, Present, ValuePath
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.schema import Attribute, Document


def matches(node: Filter, resource: Document, resource_type_name: str, registry: SchemaRegistry) -> bool:
    """Whether ``resource`` matches; InvalidFilter for unknown attributes and comparisons that cannot be made."""
    return _evaluate(node, _ResourceScope(resource, resource_type_name, registry))


def element_matches(node: Filter, attribute: Attribute, element: object) -> bool:
    """Whether one element of the multi-valued ``attribute`` matches; paths in ``node`` name its sub-attributes."""
    return _evaluate(node, _ElementScope(attribute, element))


class _ResourceScope:
    """Finds attributes by path in a whole resource."""

    def __init__(self, resource: Document, resource_type_name: str, registry: SchemaRegistry) -> None:
        self._resource, self._name, self._registry = resource, resource_type_name, registry

    def find(self, path: AttributePath) -> tuple[Attribute, list[Any]]:
        """Return the attribute that ``path`` ends at, and its values."""
        target = self._registry.resolve(self._name, path)
        if target is None:
            raise InvalidFilter(f"a {self._name} has no attribute {path}")
        holder = self._resource if target.extension is None else self._resource.get(target.extension, {})
        values = _as_list(holder.get(target.attribute.name))
        if target.sub is None:
            return target.attribute, values
        return target.sub, _sub_values(target.sub, values)


class _ElementScope:
    """Finds sub-attributes in one element. A simple element is its own ``value``."""

    def __init__(self, attribute: Attribute, element: object) -> None:
        self._attribute, self._element = attribute, element

    def find(self, path: AttributePath) -> tuple[Attribute, list[Any]]:
        """Return the sub-attribute that ``path`` names, and its values."""
        if not self._attribute.is_complex and path == AttributePath(None, "value"):
            return self._attribute, [self._element]
        sub = self._attribute.sub(path.name) if path.urn is None and path.sub is None else None
        if sub is None:
            raise InvalidFilter(f"{self._attribute.name} has no sub-attribute {path}")
        return sub, _sub_values(sub, [self._element])


def _evaluate(node: Filter, scope: _ResourceScope | _ElementScope) -> bool:
    match node:
        case Compare(path, operator, value):
            return _compare(*scope.find(path), operator, value)
        case Present(path):
            return _present(scope.find(path)[1])
        case Not(term):
            return not _evaluate(term, scope)
        case And(terms):
            return all(_each(terms, scope))
        case Or(terms):
            return any(_each(terms, scope))
        case ValuePath(path, term):
            attribute, values = scope.find(path)
            return True in [element_matches(term, attribute, value) for value in values]
        case _:
            assert_never(node)


def _each(terms: tuple[Filter, ...], scope: _ResourceScope | _ElementScope) -> list[bool]:
    """Evaluate every term, so that an impossible comparison is an error whatever the other terms say."""
    return [_evaluate(term, scope) for term in terms]


def _compare(attribute: Attribute, values: list[Any], operator: Operator, wanted: Literal) -> bool:
    if attribute.is_complex:
        # RFC 7644 section 3.4.2.2 compares complex attributes by their sub-attributes only; Ping sends ``emails eq``
        # and Entra ``manager eq`` and ``members eq``, which can only mean the "value".
        sub = attribute.sub("value")
        if sub is not None:
            attribute, values = sub, _sub_values(sub, values)
    if wanted is None:
        if operator not in (Operator.EQ, Operator.NE):
            raise InvalidFilter(f"{attribute.name} can only be compared by eq or ne with null")
        return _present(values) is (operator is Operator.NE)
    if not values:
        # Asked with a value that nothing equals, so that an impossible comparison is an error here too.
        holds(attribute, None, operator, wanted)
        return operator is Operator.NE
    return True in [holds(attribute, value, operator, wanted) for value in values]


def _present(values: list[Any]) -> bool:
    """Whether there is a value that is not null, empty, or an object of such (RFC 7644 table 3, ``pr``)."""
    return any(value is not None and value not in ("", [], {}) for value in values)


def _sub_values(sub: Attribute, values: list[Any]) -> list[Any]:
    found = [value.get(sub.name) for value in values if isinstance(value, Mapping)]
    return [value for value in found if value is not None]


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
