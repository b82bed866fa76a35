"""PATCH of a group's members: split off in order, never loaded."""

from typing import Any

import pytest

from control_plane.scim.core_schemas import GROUP_URN
from control_plane.scim.errors import InvalidFilter, InvalidPath, InvalidValue, Mutability, ScimError
from control_plane.scim.filters import parse_filter
from control_plane.scim.members import Add, MemberOp, Remove, RemoveAll, RemoveSelected, Replace
from tests.unit.scim.samples import group, patch_group

A, B, C = {"value": "a"}, {"value": "b", "display": None, "$ref": None}, {"VALUE": "c", "type": "User", "id": "x"}


def _op(op: str, path: str | None, *value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"op": op} | ({"path": path} if path else {})
    return found | ({"value": value[0]} if value else {})


FORMS: list[tuple[str, dict[str, Any], list[MemberOp]]] = [
    ("add a list", _op("add", "members", [A, B, C]), [Add(("a", "b", "c"))]),
    ("Entra adds", _op("Add", "members", [{"$ref": None, "value": "a"}]), [Add(("a",))]),
    ("add a single object", _op("add", "members", A), [Add(("a",))]),
    ("add a bare string", _op("add", "members", "a"), [Add(("a",))]),
    ("add bare strings", _op("add", "members", ["a", "b"]), [Add(("a", "b"))]),
    ("add one twice", _op("add", "members", [A, B, A]), [Add(("a", "b"))]),
    ("add nobody", _op("add", "members", []), []),
    ("add null", _op("add", "members", None), []),
    ("add by selection", _op("add", 'members[value eq "a"]', {"value": "a"}), [Add(("a",))]),
    ("without a path", _op("add", None, {"members": [A]}), [Add(("a",))]),
    ("core URN", _op("add", f"{GROUP_URN}:members", [A]), [Add(("a",))]),
    ("any case", _op("add", "MEMBERS", [A]), [Add(("a",))]),
    ("replace", _op("replace", "members", [A, B]), [Replace(("a", "b"))]),
    ("replace by [] empties", _op("replace", "members", []), [Replace(())]),
    ("replace by null empties", _op("replace", "members", None), [Replace(())]),
    ("replace without a path", _op("replace", None, {"members": [A], "id": "g"}), [Replace(("a",))]),
    ("remove by selection", _op("remove", 'members[value eq "a"]'), [Remove(("a",))]),
    ("of several by or", _op("remove", 'Members[Value eq "a" or (value eq "b")]'), [Remove(("a", "b"))]),
    ("Entra removes by a list", _op("Remove", "members", [A, B]), [Remove(("a", "b"))]),
    ("remove a single object", _op("remove", "members", A), [Remove(("a",))]),
    ("remove a bare string", _op("remove", "members", "a"), [Remove(("a",))]),
    ("remove all", _op("remove", "members"), [RemoveAll()]),
    ("remove with null is remove all", _op("remove", "members", None), [RemoveAll()]),
    ("remove with [] removes nobody, never everybody", _op("remove", "members", []), []),
]


@pytest.mark.parametrize(("item", "members"), [case[1:] for case in FORMS], ids=[case[0] for case in FORMS])
def test_every_form(item: dict[str, Any], members: list[MemberOp]) -> None:
    result = patch_group(item)
    assert result.members == members
    assert result.document == group()
    assert not result.changed


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (_op("remove", "members[value eq 5]"), InvalidFilter),
        (_op("remove", "members[value eq true or value pr]"), InvalidFilter),
        (_op("remove", 'members[shoe eq "44"]'), InvalidFilter),
        (_op("remove", "members[value eq a]"), InvalidFilter),
        (_op("remove", 'members[value.x eq "a"]'), InvalidFilter),
        (_op("remove", 'members[value eq "a"'), InvalidPath),
        (_op("remove", 'members[value eq "a"].shoe'), InvalidPath),
        (_op("add", 'members[value sw "a"]', A), InvalidFilter),
        (_op("add", 'members[shoe eq "a"]', A), InvalidFilter),
        (_op("replace", 'members[value sw "a"]', B), Mutability),
        (_op("replace", 'members[value eq "a"]', B), Mutability),
        (_op("replace", 'members[value eq "a"].value', "b"), Mutability),
        (_op("replace", 'members[value eq "a"].display', "Babs"), Mutability),
        (_op("add", "members.value", "b"), Mutability),
        (_op("add", "members.shoe", "b"), InvalidPath),
        (_op("add", "members", [{"display": "Babs"}]), InvalidValue),
        (_op("add", "members", [5]), InvalidValue),
        (_op("remove", "members", [{}]), InvalidValue),
        (_op("remove", "members", ""), InvalidValue),
    ],
)
def test_refused(item: dict[str, Any], error: type[ScimError]) -> None:
    with pytest.raises(error) as caught:
        patch_group(item)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "selection",
    [
        'display eq "Babs"',
        'value sw "a"',
        'value eq "a" and type eq "User"',
        'not (value eq "a")',
        'type eq "Group" or value eq "a"',
        "value pr",
        '$ref co "/Users/"',
    ],
)
def test_any_other_selection_is_left_to_where_the_members_are(selection: str) -> None:
    found = RemoveSelected(parse_filter(selection))
    item = _op("remove", f"members[{selection}]")
    assert patch_group(item).members == [found]
    assert patch_group(item, item).members == [found]
    # Never joined with others: what is selected depends on what came before.
    between = _op("add", "members", [A])
    assert patch_group(item, between, item).members == [found, Add(("a",)), found]
    assert patch_group(item, _op("replace", "members", [])).members == [Replace(())]


def test_order_is_kept() -> None:
    result = patch_group(
        _op("add", "members", [A]),
        _op("remove", "members", [A]),
        _op("add", "members", [B]),
        _op("add", "members", [A]),
    )
    assert result.members == [Add(("a",)), Remove(("a",)), Add(("b", "a"))]


@pytest.mark.parametrize(
    ("items", "members"),
    [
        ([_op("add", "members", ["a"]), _op("add", "members", ["b", "a"])], [Add(("a", "b"))]),
        ([_op("remove", 'members[value eq "a"]'), _op("remove", "members", "b")], [Remove(("a", "b"))]),
        (
            [_op("add", "members", "a"), _op("remove", "members"), _op("add", "members", "b")],
            [RemoveAll(), Add(("b",))],
        ),
        ([_op("add", "members", "a"), _op("replace", "members", ["b"])], [Replace(("b",))]),
    ],
)
def test_neighbours_are_joined_to_the_same_effect(items: list[dict[str, Any]], members: list[MemberOp]) -> None:
    assert patch_group(*items).members == members


def test_okta_renames_and_replaces_in_one_request() -> None:
    result = patch_group(_op("replace", None, {"id": "g", "displayName": "New"}), _op("replace", "members", [A]))
    assert result.document == group(displayName="New")
    assert result.changed
    assert result.members == [Replace(("a",))]


def test_a_group_needs_its_name() -> None:
    with pytest.raises(InvalidValue, match="displayName is required"):
        patch_group(_op("remove", "displayName"))


def test_many_operations_on_members_stay_linear() -> None:
    # Entra sends one operation per member; a thousand of them must not cost a million steps.
    result = patch_group(*[_op("add", "members", [{"value": str(number)}]) for number in range(1000)])
    assert result.members == [Add(tuple(str(number) for number in range(1000)))]
