"""Does this resource, or this element of a multi-valued attribute, match this filter? In memory.

The oracle for the SQL compiler, and the selection of PATCH value paths. What the RFC leaves open is decided so:
``ne`` is "not eq" for each value, and an attribute without values is ``ne`` to everything; ``eq null`` means "not
present" (RFC 7643 section 2.5: null and unassigned are the same).
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.compare import holds
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.filters import And, Compare, Filter, Literal, Not, Operator, Or, Present, ValuePath
from control_plane.scim.registry import SchemaRegistry, Target
from control_plane.scim.schema import Attribute, Document, Returned

VALUE = "value"


def matches(
    node: Filter, resource: Document, resource_type_name: str, registry: SchemaRegistry, among: Sequence[str] = ()
) -> bool:
    """Whether ``resource``, as clients see it, matches; InvalidFilter for comparisons that cannot be made.

    ``among`` are the resource types of a root query: what one of them knows is unassigned in the others.
    """
    return _evaluate(node, _ResourceScope(resource, resource_type_name, registry, among))


def element_matches(node: Filter, attribute: Attribute, element: object) -> bool:
    """Whether one element of the multi-valued ``attribute`` matches; paths in ``node`` name its sub-attributes."""
    return _evaluate(node, _ElementScope(attribute, element))


def check_element_filter(node: Filter, attribute: Attribute) -> None:
    """Raise InvalidFilter if ``node`` could be asked of no element of ``attribute``, whatever is stored."""
    element_matches(node, attribute, None)


def filter_target(
    path: AttributePath, resource_type_name: str, registry: SchemaRegistry, among: Sequence[str] = ()
) -> Target | None:
    """Return what ``path`` leads to in a filter; InvalidFilter if nobody has it, or nobody may see it.

    None if only another of the resource types ``among`` has it.
    """
    target = registry.resolve(resource_type_name, path)
    if target is None:
        if any(registry.resolve(name, path) for name in among):
            return None
        raise InvalidFilter(f"a {' or '.join(among) or resource_type_name} has no attribute {path}")
    ends = target.sub or target.attribute
    if Returned.NEVER in (target.attribute.returned, ends.returned):
        # RFC 7643 section 7 leaves filters on such attributes open. They would tell the value, letter by letter.
        raise InvalidFilter(f"{path} is never returned, so it cannot be filtered by")
    return target


def comparable(attribute: Attribute) -> Attribute | None:
    """Return the sub-attribute that a complex attribute is compared by, None if it is compared itself.

    RFC 7644 section 3.4.2.2 compares complex attributes by their sub-attributes only; Ping sends ``emails eq`` and
    Entra ``manager eq`` and ``members eq``, which can only mean the "value".
    """
    return attribute.sub(VALUE) if attribute.is_complex else None


def check_comparison(attribute: Attribute, operator: Operator, wanted: Literal) -> None:
    """Raise InvalidFilter if values of ``attribute`` cannot be compared so, whatever they are."""
    if wanted is not None:
        holds(attribute, None, operator, wanted)
    elif operator not in (Operator.EQ, Operator.NE):
        raise InvalidFilter(f"{attribute.name} can only be compared by eq or ne with null")


class _ResourceScope:
    """Finds attributes by path in a whole resource."""

    def __init__(self, resource: Document, name: str, registry: SchemaRegistry, among: Sequence[str]) -> None:
        self._resource, self._name, self._registry, self._among = resource, name, registry, among

    def find(self, path: AttributePath) -> tuple[Attribute | None, list[Any]]:
        """Return the attribute that ``path`` ends at, and its values; None if another resource type has it."""
        target = filter_target(path, self._name, self._registry, self._among)
        if target is None:
            return None, []
        holder = self._resource if target.extension is None else self._resource.get(target.extension)
        values = _values(target.attribute, holder)
        if target.sub is None:
            return target.attribute, values
        return target.sub, _sub_values(target.sub, values)


class _ElementScope:
    """Finds sub-attributes in one element. A simple element is its own ``value``."""

    def __init__(self, attribute: Attribute, element: object) -> None:
        self._attribute, self._element = attribute, element

    def find(self, path: AttributePath) -> tuple[Attribute, list[Any]]:
        """Return the sub-attribute that ``path`` names, and its values."""
        sub = element_attribute(self._attribute, path)
        if sub is self._attribute:
            return sub, [] if self._element is None else [self._element]
        return sub, _sub_values(sub, [self._element])


def element_attribute(attribute: Attribute, path: AttributePath) -> Attribute:
    """Return what ``path`` names in an element of ``attribute``: a sub-attribute, or the simple element itself."""
    if not attribute.is_complex and path.urn is None and path.sub is None and path.name.lower() == VALUE:
        return attribute
    sub = attribute.sub(path.name) if path.urn is None and path.sub is None else None
    if sub is None:
        raise InvalidFilter(f"{attribute.name} has no sub-attribute {path}")
    return sub


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
            if attribute is None:
                return False
            check_element_filter(term, attribute)
            return any(element_matches(term, attribute, value) for value in values)
        case _:
            assert_never(node)


def _each(terms: tuple[Filter, ...], scope: _ResourceScope | _ElementScope) -> list[bool]:
    """Evaluate every term, so that an impossible comparison is an error whatever the other terms say."""
    return [_evaluate(term, scope) for term in terms]


def _compare(attribute: Attribute | None, values: list[Any], operator: Operator, wanted: Literal) -> bool:
    if attribute is None:
        return operator is (Operator.EQ if wanted is None else Operator.NE)
    sub = comparable(attribute)
    if sub is not None:
        attribute, values = sub, _sub_values(sub, values)
    check_comparison(attribute, operator, wanted)
    if wanted is None:
        return _present(values) is (operator is Operator.NE)
    if not values:
        return operator is Operator.NE
    return any(holds(attribute, value, operator, wanted) for value in values)


def _present(values: list[Any]) -> bool:
    """Whether there is a value that is neither null nor empty (RFC 7644 table 3, ``pr``)."""
    return any(value not in ("", [], {}) for value in values)


def _sub_values(sub: Attribute, values: list[Any]) -> list[Any]:
    return [found for value in values for found in _values(sub, value)]


def _values(attribute: Attribute, holder: object) -> list[Any]:
    """Return the values of ``attribute`` in an object; a null is none (RFC 7643 section 2.5)."""
    value = holder.get(attribute.name) if isinstance(holder, Mapping) else None
    values = value if attribute.multi_valued and isinstance(value, list) else [value]
    return [value for value in values if value is not None]
