"""How PATCH changes the elements of a multi-valued attribute (RFC 7644 section 3.5.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control_plane.scim import quirks
from control_plane.scim.compare import fold
from control_plane.scim.errors import InvalidPath, InvalidValue, Mutability, NoTarget
from control_plane.scim.evaluate import check_element_filter, element_matches
from control_plane.scim.filters import And, Compare, Filter, Operator, write_filter
from control_plane.scim.messages import Op
from control_plane.scim.schema import Attribute
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.values import check_count, coerce, coerce_element, merge, put


@dataclass(frozen=True, slots=True)
class Change:
    """One operation on one multi-valued attribute, or on ``sub`` of its elements; ``selection`` chooses elements.

    ``replace_creates``: a replace that selects nothing is an add (the tenant's switch), instead of noTarget.
    """

    op: Op
    attribute: Attribute
    sub: Attribute | None
    selection: Filter | None
    value: object
    replace_creates: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether the value is "unassigned"."""
        return self.value is None or self.value == []

    @property
    def may_create(self) -> bool:
        """Whether an element is made if none is selected."""
        return self.op is Op.ADD or (self.op is Op.REPLACE and self.replace_creates)

    @property
    def within(self) -> str:
        """The path before a sub-attribute, for messages."""
        return f"{self.attribute.name}."


def change(holder: dict[str, Any], what: Change) -> None:
    """Apply ``what`` to the attribute in ``holder``; an attribute without elements is not kept.

    TooMany if there are more than MAX_ELEMENTS afterwards, unless there were more before: then any fewer are welcome.
    """
    elements: list[Any] = holder.get(what.attribute.name, [])
    before = len(elements)
    primaries = [element for element in elements if _is_primary(element)]
    if what.selection is not None:
        elements = _change_selected(elements, what, what.selection)
    elif what.sub is not None:
        elements = _change_everywhere(elements, what, what.sub)
    else:
        elements = _change_whole(elements, what)
    _settle_primary(what.attribute, elements, primaries)
    if len(elements) > before:
        check_count(what.attribute, len(elements))
    if elements:
        holder[what.attribute.name] = elements
    else:
        holder.pop(what.attribute.name, None)


def _change_whole(elements: list[Any], what: Change) -> list[Any]:
    if what.op is Op.REMOVE:
        if not quirks.lists_elements(what.value):
            return []
        return _without(elements, coerce(what.attribute, what.value) or [], what.attribute)
    given: list[Any] = coerce(what.attribute, what.value) or []
    if what.op is Op.REPLACE:
        return given
    return _added(elements, given, what.attribute)


def _change_everywhere(elements: list[Any], what: Change, sub: Attribute) -> list[Any]:
    """Change ``sub`` in every element; without any, add and replace make the first (RFC: replace is then an add)."""
    if not elements and what.op is not Op.REMOVE:
        elements = [{}]
    for element in elements:
        put(element, sub, what.op, what.value, what.within)
    return [element for element in elements if element]


def _change_selected(elements: list[Any], what: Change, selection: Filter) -> list[Any]:
    # So that a selection by unknown sub-attributes fails even if there is no element.
    check_element_filter(selection, what.attribute)
    chosen = [element for element in elements if element_matches(selection, what.attribute, element)]
    if not chosen:
        return _selected_nothing(elements, what, selection)
    if what.sub is None and what.op is not Op.ADD:
        return _swap(elements, chosen, what, selection)
    _require_parts(what)
    for element in chosen:
        _write(element, what)
    return [element for element in elements if element]


def _selected_nothing(elements: list[Any], what: Change, selection: Filter) -> list[Any]:
    """Create the element that the selection describes, where that is what the operation means.

    Entra creates the work address by adding to ``emails[type eq "work"].value``. To remove nothing is no change.
    """
    if what.op is Op.REMOVE:
        return elements
    if what.sub is None and what.op is Op.REPLACE and not what.attribute.is_complex and what.may_create:
        value = coerce_element(what.attribute, what.value)
        return [*elements, value] if value is not None else elements
    # RFC 7644 section 3.5.2.3: a value filter that selects no element is noTarget.
    if not what.may_create:
        raise _nothing_selected(what)
    _require_parts(what)
    element = _element_for(selection, what)
    if what.is_nothing:
        return elements
    _write(element, what)
    # It is what the selection selects, or the same request would create another one each time it is sent.
    if not element_matches(selection, what.attribute, element):
        raise _nothing_selected(what)
    return [*elements, element]


def _write(element: dict[str, Any], what: Change) -> None:
    if what.sub is None:
        merge(element, what.attribute, what.op, what.value)
    else:
        put(element, what.sub, what.op, what.value, what.within)


def _require_parts(what: Change) -> None:
    if not what.attribute.is_complex:
        raise InvalidPath(f"{what.attribute.name} has no sub-attributes to change")


def _swap(elements: list[Any], chosen: list[Any], what: Change, selection: Filter) -> list[Any]:
    """Remove the chosen elements, or put the value in the place of the first (the others would only be its doubles)."""
    value = coerce_element(what.attribute, what.value) if what.op is Op.REPLACE and not what.is_nothing else None
    if isinstance(value, dict) and what.replace_creates:
        # What the selection says stays true, else the same request would create another element when it is sent again.
        value = {**(_described(selection, what) or {}), **value}
    taken = {id(element) for element in chosen}
    kept = []
    for element in elements:
        if id(element) not in taken:
            kept.append(element)
        elif value is not None and element is chosen[0]:
            kept.append(value)
    return kept


def _element_for(selection: Filter, what: Change) -> dict[str, Any]:
    """Return the element that ``selection`` describes; NoTarget if it describes none."""
    element = _described(selection, what)
    if element is None:
        raise _nothing_selected(what)
    read_only = [sub.name for sub in map(what.attribute.sub, element) if sub and sub.mutability is Kind.READ_ONLY]
    if read_only:
        raise Mutability(f"{what.within}{read_only[0]} is readOnly")
    return element


def _described(selection: Filter, what: Change) -> dict[str, Any] | None:
    """Return what equalities joined by "and" say of an element; None for any other selection, or a contradiction."""
    element: dict[str, Any] = {}
    for term in _conjuncts(selection):
        if not isinstance(term, Compare) or term.operator is not Operator.EQ or term.value is None:
            return None
        # element_matches has been through the selection: each path names a sub-attribute.
        sub = what.attribute.subs.get(term.path.name) or what.attribute.subs[term.path.name.lower()]
        value = coerce(sub, term.value, what.within)
        if element.setdefault(sub.name, value) != value:
            return None
    return element


def _conjuncts(node: Filter) -> Iterator[Filter]:
    if isinstance(node, And):
        for term in node.terms:
            yield from _conjuncts(term)
    else:
        yield node


def _added(elements: list[Any], given: list[Any], attribute: Attribute) -> list[Any]:
    """Return ``elements`` with each of ``given`` that is not among them (RFC: else nothing SHOULD change).

    A part of an element is among them. An element with the same type and value is the same one (RFC 7643 section 2.4):
    it takes over what the given one says.
    """
    by_value: dict[Any, list[Any]] = {}
    for element in elements:
        by_value.setdefault(_value_key(element, attribute), []).append(element)
    for new in given:
        key = _value_key(new, attribute)
        # Only an element of the same value can be the same; one that is given without a value, any that has its parts.
        alike = by_value.setdefault(key, []) if key is not None else elements
        if any(_is_part(new, element) for element in alike):
            continue
        twin = next((e for e in alike if key is not None and _same_type(new, e, attribute)), None)
        if isinstance(twin, dict):
            twin.update(new)
        elif twin is None:
            elements.append(new)
            by_value.setdefault(key, []).append(new)
    return elements


def _value_key(element: Any, attribute: Attribute) -> Any:
    """Return what a value is compared by; None without one. A simple element is its own value."""
    if not isinstance(element, dict):
        return _key(attribute, element)
    value = element.get("value")
    return _key(attribute.subs["value"], value) if value is not None else None


def _same_type(new: Any, element: Any, attribute: Attribute) -> bool:
    if not isinstance(new, dict):
        return True
    kind = attribute.subs.get("type")
    return kind is None or _key(kind, new.get("type")) == _key(kind, element.get("type"))


def _is_part(new: Any, element: Any) -> bool:
    return bool(new.items() <= element.items() if isinstance(new, dict) else new == element)


def _without(elements: list[Any], wanted: list[Any], attribute: Attribute) -> list[Any]:
    """Return ``elements`` without those that a remove by value names: equal in each sub-attribute that is given."""
    by_value: dict[Any, list[list[tuple[str, Any]]]] = {}
    for one in wanted:
        by_value.setdefault(_value_key(one, attribute), []).append(_keyed(one, attribute))
    kept = []
    for element in elements:
        has = dict(_keyed(element, attribute))
        # What is given without a value can mean any element.
        alike = [*by_value.get(_value_key(element, attribute), ()), *by_value.get(None, ())]
        if not any(all(has.get(name) == key for name, key in one) for one in alike):
            kept.append(element)
    return kept


def _keyed(element: Any, attribute: Attribute) -> list[tuple[str, Any]]:
    """Return what is compared of each sub-attribute; a simple element is its own value."""
    if not isinstance(element, dict):
        return [("value", _key(attribute, element))]
    return [(name, _key(attribute.subs[name], value)) for name, value in element.items()]


def _key(attribute: Attribute, value: Any) -> Any:
    return fold(value) if isinstance(value, str) and not attribute.case_exact else value


def _settle_primary(attribute: Attribute, elements: list[Any], before: list[Any]) -> None:
    """Let a newly primary element take over: RFC 7644 section 3.5.2 sets the others to false."""
    primaries = [element for element in elements if _is_primary(element)]
    if len(primaries) < 2:
        return
    # By identity, since equal elements are still two. ``before`` keeps its elements alive, so no id is used again.
    known = {id(element) for element in before}
    fresh = [element for element in primaries if id(element) not in known]
    if len(fresh) != 1:
        raise InvalidValue(f"{attribute.name} has more than one element with primary true")
    for element in primaries:
        if element is not fresh[0]:
            element["primary"] = False


def _is_primary(element: Any) -> bool:
    return isinstance(element, dict) and element.get("primary") is True


def _nothing_selected(what: Change) -> NoTarget:
    selection = write_filter(what.selection) if what.selection is not None else ""
    return NoTarget(f"no element of {what.attribute.name} matches {selection}")
