"""PATCH of multi-valued attributes: whole, by selection, and the one primary element."""

from typing import Any

import pytest

from control_plane.scim.errors import InvalidPath, InvalidValue, NoTarget, ScimError
from tests.unit.scim.samples import patch_user, user

WORK: dict[str, Any] = {"type": "work", "value": "w"}
HOME: dict[str, Any] = {"type": "home", "value": "h"}
OTHER: dict[str, Any] = {"type": "other", "value": "o"}

Elements = list[dict[str, Any]]


def _patched(before: Elements, op: str, path: str, *value: Any) -> Elements:
    item = {"op": op, "path": path} | ({"value": value[0]} if value else {})
    return patch_user(user(emails=before), item).document.get("emails", [])  # type: ignore[no-any-return]  # JSON


WHOLE: list[tuple[str, Elements, str, list[Any], Elements]] = [
    ("add appends", [WORK], "add", [[HOME]], [WORK, HOME]),
    ("add takes a single element", [WORK], "add", [HOME], [WORK, HOME]),
    ("add takes a bare value", [], "add", ["w"], [{"value": "w"}]),
    ("add of a present element is no change", [WORK, HOME], "add", [[HOME, WORK]], [WORK, HOME]),
    ("add of a part of an element is no change", [WORK], "add", [[{"value": "w"}]], [WORK]),
    ("add of the same type and value updates", [WORK], "add", [{**WORK, "display": "d"}], [{**WORK, "display": "d"}]),
    ("which are compared without case", [WORK], "add", [{"type": "Work", "value": "W"}],
     [{"type": "Work", "value": "W"}]),
    ("add of the same value with another type appends", [WORK], "add", [{**WORK, "type": "home"}],
     [WORK, {**WORK, "type": "home"}]),
    ("add of nothing", [WORK], "add", [[]], [WORK]),
    ("add twice in one request", [], "add", [[WORK, WORK]], [WORK]),
    ("replace replaces all", [WORK, HOME], "replace", [[OTHER]], [OTHER]),
    ("replace by [] empties", [WORK], "replace", [[]], []),
    ("replace by null empties", [WORK], "replace", [None], []),
    ("remove without value removes all", [WORK, HOME], "remove", [], []),
    ("remove with null removes all", [WORK, HOME], "remove", [None], []),
    ("remove with values removes the listed", [WORK, HOME], "remove", [[{"value": "w"}]], [HOME]),
    ("by all that is listed", [WORK, HOME], "remove", [[{"value": "w", "type": "home"}]], [WORK, HOME]),
    ("without case", [WORK, HOME], "remove", [{"value": "W"}], [HOME]),
    ("remove with an empty list removes nobody", [WORK, HOME], "remove", [[]], [WORK, HOME]),
    ("remove with an empty element removes nobody", [WORK, HOME], "remove", [[{}]], [WORK, HOME]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "op", "value", "after"), [c[1:] for c in WHOLE], ids=[c[0] for c in WHOLE])
def test_whole_attribute(before: Elements, op: str, value: list[Any], after: Elements) -> None:
    assert _patched(before, op, "emails", *value) == after


SELECTED: list[tuple[str, Elements, str, str, list[Any], Elements]] = [
    ("set a sub-attribute", [WORK, HOME], "replace", 'emails[type eq "work"].value', ["n"],
     [{**WORK, "value": "n"}, HOME]),
    ("of each selected", [WORK, HOME], "add", "emails[value pr].display", ["d"],
     [{**WORK, "display": "d"}, {**HOME, "display": "d"}]),
    ("type is compared without case", [WORK], "replace", 'emails[TYPE eq "WORK"].Value', ["n"],
     [{**WORK, "value": "n"}]),
    ("string booleans in the selection", [{**WORK, "primary": True}], "replace", 'emails[primary eq "True"].value',
     ["n"], [{"type": "work", "value": "n", "primary": True}]),
    ("add creates what it does not find", [HOME], "add", 'emails[type eq "work"].value', ["w"],
     [HOME, {"type": "work", "value": "w"}]),
    ("with all the selection says", [], "add", 'emails[type eq "work" and primary eq "True"].value', ["w"],
     [{"type": "work", "primary": True, "value": "w"}]),
    ("add creates a whole element", [], "add", 'emails[type eq "work"]', [{"value": "w", "display": "d"}],
     [{"type": "work", "value": "w", "display": "d"}]),
    ("add merges into the selected", [WORK], "add", 'emails[type eq "work"]', [{"display": "d"}],
     [{**WORK, "display": "d"}]),
    ("replace replaces the selected", [WORK, HOME], "replace", 'emails[type eq "work"]', [OTHER], [OTHER, HOME]),
    ("all selected become one", [WORK, HOME, OTHER], "replace", 'emails[type ne "home"]', [{"value": "n"}],
     [{"value": "n"}, HOME]),
    ("replace by null removes", [WORK, HOME], "replace", 'emails[type eq "work"]', [None], [HOME]),
    ("sub-attribute by null", [{**WORK, "display": "d"}], "replace", 'emails[type eq "work"].display', [None], [WORK]),
    ("remove the selected", [WORK, HOME], "remove", 'emails[type eq "work"]', [], [HOME]),
    ("remove by or", [WORK, HOME, OTHER], "remove", 'emails[type eq "work" or type eq "home"]', [], [OTHER]),
    ("remove by not", [WORK, HOME], "remove", 'emails[not (type eq "work")]', [], [WORK]),
    ("remove the last", [WORK], "remove", 'emails[type eq "work"]', [], []),
    ("remove nothing", [WORK], "remove", 'emails[type eq "home"]', [], [WORK]),
    ("remove a sub-attribute", [WORK, HOME], "remove", 'emails[type eq "work"].value', [], [{"type": "work"}, HOME]),
    ("remove of the last sub-attribute", [{"value": "w"}, HOME], "remove", 'emails[value eq "w"].value', [], [HOME]),
    ("remove a sub-attribute of nothing", [WORK], "remove", 'emails[type eq "home"].value', [], [WORK]),
    ("a sub-attribute of all", [WORK, HOME], "replace", "emails.display", ["d"],
     [{**WORK, "display": "d"}, {**HOME, "display": "d"}]),
    ("of none makes one", [], "add", "emails.value", ["w"], [{"value": "w"}]),
    ("remove it of all", [WORK, {"value": "x"}], "remove", "emails.value", [], [{"type": "work"}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "op", "path", "value", "after"), [c[1:] for c in SELECTED], ids=[c[0] for c in SELECTED]
)
def test_selected_elements(before: Elements, op: str, path: str, value: list[Any], after: Elements) -> None:
    assert _patched(before, op, path, *value) == after


@pytest.mark.parametrize(
    ("op", "path"),
    [
        ("replace", 'emails[type eq "work"].value'),
        ("replace", 'emails[type eq "work"]'),
        ("add", 'emails[type co "wor"].value'),
        ("add", 'emails[type eq "work" or type eq "home"].value'),
        ("add", 'emails[not (type eq "home")].value'),
        ("add", 'emails[type eq "work" and type eq "home"].value'),
        ("add", "emails[type eq null].value"),
    ],
)
def test_nothing_to_operate_on_is_no_target(op: str, path: str) -> None:
    with pytest.raises(NoTarget, match="no element of emails matches"):
        _patched([], op, path, "x")


@pytest.mark.parametrize(
    ("path", "value"),
    [('emails[type eq "work"].type', "home"), ('emails[type eq "work"]', {"type": "home", "value": "h"})],
)
def test_what_is_created_is_what_the_selection_selects(path: str, value: object) -> None:
    # Else the same request would create another element each time.
    with pytest.raises(NoTarget):
        _patched([HOME], "add", path, value)


def test_an_element_may_come_as_a_list_of_one() -> None:
    assert _patched([HOME], "add", 'emails[type eq "work"]', [{"value": "w"}]) == [HOME, WORK]
    assert _patched([WORK, HOME], "replace", 'emails[type eq "work"]', [OTHER]) == [OTHER, HOME]


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("path", ['emails[type eq "work"].value', 'emails[type eq "work"]'])
def test_add_of_nothing_creates_nothing(path: str, nothing: object) -> None:
    assert _patched([HOME], "add", path, nothing) == [HOME]


def test_nested_and_describes_an_element_too() -> None:
    path = 'emails[type eq "work" and (display eq "d" and primary eq false)].value'
    assert _patched([], "add", path, "w") == [{"type": "work", "display": "d", "primary": False, "value": "w"}]


def test_later_operations_hit_the_created_element() -> None:
    found = patch_user(
        user(),
        {"op": "Add", "path": 'addresses[type eq "work"].locality', "value": "Berlin"},
        {"op": "Add", "path": 'addresses[type eq "work"].country', "value": "DE"},
        {"op": "Replace", "path": 'addresses[type eq "work"].region', "value": "BE"},
    ).document
    assert found["addresses"] == [{"type": "work", "locality": "Berlin", "country": "DE", "region": "BE"}]


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("add", "emails", [{**HOME, "primary": True}]),
        ("add", "emails", [{**OTHER, "primary": True}]),
        ("add", 'emails[type eq "home"].primary', True),
        ("replace", 'emails[type eq "home"].primary', "True"),
        ("replace", 'emails[type eq "home"]', {**OTHER, "primary": True}),
        ("add", 'emails[type eq "new"]', {"value": "n", "primary": True}),
    ],
)
def test_a_new_primary_clears_the_old_one(op: str, path: str, value: object) -> None:
    found = _patched([{**WORK, "primary": True}, HOME], op, path, value)
    assert [element["type"] for element in found if element.get("primary")] != ["work"]
    assert sum(1 for element in found if element.get("primary")) == 1
    assert found[0] == {**WORK, "primary": False}


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("replace", "emails", [{**WORK, "primary": True}, {**HOME, "primary": True}]),
        ("add", "emails", [{**WORK, "primary": True}, {**OTHER, "primary": True}]),
        ("replace", "emails.primary", True),
        ("replace", "emails[value pr].primary", True),
    ],
)
def test_two_new_primaries_are_refused(op: str, path: str, value: object) -> None:
    with pytest.raises(InvalidValue, match="primary"):
        _patched([WORK, HOME], op, path, value)


def test_the_primary_element_stays_primary_when_set_again() -> None:
    before = [{**WORK, "primary": True}, HOME]
    assert _patched(before, "replace", 'emails[type eq "work"].primary', True) == before


@pytest.mark.parametrize(
    ("op", "path", "value", "error"),
    [
        ("add", "emails", [5], InvalidValue),
        ("add", 'emails[type eq "work"]', 5, InvalidValue),
        ("add", 'emails[type eq "work"].value', 5, InvalidValue),
        ("add", 'emails[type eq "work"].primary', "x", InvalidValue),
        ("add", 'emails[type eq "work"].shoe', "x", InvalidPath),
        ("replace", "emails.shoe", "x", InvalidPath),
    ],
)
def test_refused(op: str, path: str, value: object, error: type[ScimError]) -> None:
    with pytest.raises(error):
        _patched([WORK], op, path, value)
