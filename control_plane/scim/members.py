"""The members of a group as ids. They are stored apart and never loaded: a request only says what to do with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import assert_never

from control_plane.scim import quirks
from control_plane.scim.errors import InvalidFilter, InvalidValue, Mutability
from control_plane.scim.evaluate import check_element_filter
from control_plane.scim.filters import Compare, Filter, Operator, Or
from control_plane.scim.messages import Op
from control_plane.scim.schema import Attribute


@dataclass(frozen=True, slots=True)
class Add:
    """These become members; who is one already stays one."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """These are no longer members; who is none is ignored."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveAll:
    """Nobody is a member any more."""


@dataclass(frozen=True, slots=True)
class Replace:
    """These and nobody else are members; none at all empties the group."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveSelected:
    """The members that ``selection`` matches are no longer members; only where they are stored can it be asked."""

    selection: Filter


MemberOp = Add | Remove | RemoveAll | Replace | RemoveSelected


def member_ids(value: object) -> tuple[str, ...]:
    """Return the ids that ``value`` names, once each, in order; InvalidValue if an element names none.

    Takes a list or a single element; an element is ``{"value": id, ...}`` or the bare id. Only the id counts: display,
    type and $ref are looked up here, never believed. null is nobody.
    """
    elements = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys([_member_id(element) for element in elements if element is not None]))


def selected_ids(selection: Filter) -> tuple[str, ...] | None:
    """Return the ids of ``members[value eq "a" or value eq "b"]``; None for any other selection."""
    terms = selection.terms if isinstance(selection, Or) else (selection,)
    ids = []
    for term in terms:
        match term:
            case Compare(path, Operator.EQ, str(wanted)) if path.urn is None and path.sub is None:
                if path.name.lower() == "value":
                    ids.append(wanted)
                    continue
        return None
    return tuple(dict.fromkeys(ids))


def member_operations(
    op: Op, attribute: Attribute, sub: Attribute | None, selection: Filter | None, value: object
) -> list[MemberOp]:
    """Return what a PATCH operation on ``members`` (``attribute``) does; nothing for an add or remove of nobody.

    Mutability if it would change a member in place (RFC 7643 section 4.2: the sub-attributes are immutable).
    InvalidFilter for a selection by what members do not have, or by what is no id in an add.
    """
    if sub is not None:
        raise Mutability(f"members.{sub.name} cannot be changed: remove the member and add the other")
    if selection is not None:
        return _selected_operations(op, attribute, selection)
    if op is Op.REMOVE and not quirks.lists_elements(value):
        return [RemoveAll()]
    ids = member_ids(value)
    match op:
        case Op.REPLACE:
            return [Replace(ids)]
        case Op.ADD:
            return [Add(ids)] if ids else []
        case Op.REMOVE:
            return [Remove(ids)] if ids else []
        case _:
            assert_never(op)


def _selected_operations(op: Op, attribute: Attribute, selection: Filter) -> list[MemberOp]:
    # Before anything is read: what cannot be compared is an error whoever the members are.
    check_element_filter(selection, attribute)
    if op is Op.REPLACE:
        raise Mutability("a member cannot be changed in place: remove the member and add the other")
    ids = selected_ids(selection)
    if op is Op.REMOVE:
        return [RemoveSelected(selection)] if ids is None else [Remove(ids)]
    if ids is None:
        raise InvalidFilter('a member can only be added by its id, as in members[value eq "..."]')
    return [Add(ids)]


def joined(operations: Iterable[MemberOp]) -> list[MemberOp]:
    """Return the same effect in fewer operations: neighbours of one kind become one, for one statement each.

    Selections stay apart: each is a statement of its own, but the same one twice does nothing more.
    """
    found: list[MemberOp] = []
    for kind, neighbours in groupby(operations, type):
        run = list(neighbours)
        if kind in (RemoveAll, Replace):
            # Whatever came before makes no difference.
            found = [run[-1]]
        elif kind is RemoveSelected:
            found += dict.fromkeys(run)
        else:
            ids = tuple(dict.fromkeys(one for operation in run for one in _ids(operation)))
            found.append(Add(ids) if kind is Add else Remove(ids))
    return found


def _ids(operation: MemberOp) -> tuple[str, ...]:
    return () if isinstance(operation, RemoveAll | RemoveSelected) else operation.ids


def _member_id(element: object) -> str:
    value = element
    if isinstance(element, dict):
        # Nearly everybody writes it so, and a push of 20,000 members asks 20,000 times.
        value = element.get("value")
        if value is None:
            value = next((item for name, item in element.items() if name.lower() == "value"), None)
    if not isinstance(value, str) or not value:
        raise InvalidValue('each element of members must have a "value", the id of the member, as a string')
    return value
