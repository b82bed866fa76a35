"""The switches of a tenant, as far as the language decides them."""

from dataclasses import replace as changed
from typing import Any

import pytest

from control_plane.scim.compatibility import GENERIC, PRESETS, effective
from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidFilter, InvalidPath, InvalidSyntax, NoTarget
from control_plane.scim.members import Add
from control_plane.scim.patch import apply
from control_plane.scim.replace import replace
from control_plane.scim.rules import ScimRules
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import (
    BADGE_RULES,
    BADGE_URN,
    ENTERPRISE,
    REGISTRY,
    barbara,
    group,
    operations,
    patch_user,
    user,
)

CREATES = ScimRules(REGISTRY, changed(GENERIC, replace_creates=True))
STRICT = ScimRules(BADGE_RULES.registry, changed(GENERIC, strict_attributes=True))
CLEARS_ACTIVE = ScimRules(REGISTRY, changed(GENERIC, put_keeps_active=False))


def test_presets_differ_only_where_there_is_a_real_conflict() -> None:
    assert [name for name, preset in PRESETS.items() if preset != GENERIC] == ["entra"]
    assert effective("entra", {}).replace_creates
    assert effective("entra", {"replace_creates": False, "later": True}) == GENERIC
    assert effective("unknown", {"strict_attributes": True}) == STRICT.compatibility


@pytest.mark.parametrize(
    ("path", "value", "emails"),
    [
        ('emails[type eq "work"].value', "w", [{"type": "work", "value": "w"}]),
        ('emails[type eq "work" and primary eq "True"].value', "w", [{"type": "work", "primary": True, "value": "w"}]),
        ('emails[type eq "work"]', {"value": "w"}, [{"type": "work", "value": "w"}]),
        ('emails[type eq "work"]', [{"value": "w"}], [{"type": "work", "value": "w"}]),
        ('emails[type eq "work"].value', None, None),
        ('emails[type eq "work"]', None, None),
    ],
)
def test_replace_creates_what_it_does_not_find(path: str, value: Any, emails: list[Any] | None) -> None:
    item = {"op": "Replace", "path": path, "value": value}
    once = patch_user(user(), item, rules=CREATES).document
    assert once == user(emails=emails)
    assert not patch_user(once, item, rules=CREATES).changed
    with pytest.raises(NoTarget):
        patch_user(user(), item)


def test_what_replace_creates_takes_over_as_primary() -> None:
    before = user(roles=[{"value": "Guest", "primary": False}, {"value": "User", "primary": True}])
    item = {"op": "Replace", "path": 'roles[type eq "x" and primary eq "True"].value', "value": "Admin"}
    assert patch_user(before, item, rules=CREATES).document["roles"] == [
        {"value": "Guest", "primary": False},
        {"value": "User", "primary": False},
        {"type": "x", "primary": True, "value": "Admin"},
    ]


@pytest.mark.parametrize("selection", ['type co "wor"', 'type ne "home"', 'type eq "a" or type eq "b"', "value pr"])
def test_replace_creates_only_what_the_selection_describes(selection: str) -> None:
    with pytest.raises(NoTarget):
        patch_user(user(), {"op": "replace", "path": f"emails[{selection}].value", "value": "w"}, rules=CREATES)


def test_replace_in_a_list_of_simple_values() -> None:
    rules = ScimRules(BADGE_RULES.registry, CREATES.compatibility)
    before = user() | {BADGE_URN: {"number": "1", "tags": ["a"]}}
    item = {"op": "replace", "path": f'{BADGE_URN}:tags[value eq "z"]', "value": "b"}
    assert patch_user(before, item, rules=rules).document[BADGE_URN]["tags"] == ["a", "b"]
    with pytest.raises(NoTarget):
        patch_user(before, item, rules=BADGE_RULES)


@pytest.mark.parametrize(("rules", "active"), [(CLEARS_ACTIVE, True), (CREATES, False)])
def test_put_without_active(rules: ScimRules, active: bool) -> None:
    body = normalise("User", {"schemas": [USER_URN], "userName": "bjensen"}, rules)
    assert replace("User", user(active=False), body, rules)["active"] is active


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"adreses": []}, "adreses"),
        ({"a": 1, "b": None}, "a, b"),
        ({"urn:none": {}}, "urn:none"),
        ({"members": []}, "members"),
        ({"name": {"shoe": 1}}, r"name\.shoe"),
        ({"emails": [{"value": "a"}, {"Shoe": None}]}, r"emails\.Shoe"),
        ({"emails": {"shoe": 1}}, r"emails\.shoe"),
        ({ENTERPRISE: {"shoe": 1}}, f"{ENTERPRISE}:shoe"),
        ({ENTERPRISE: {"manager": {"shoe": 1}}}, rf"{ENTERPRISE}:manager\.shoe"),
        ({BADGE_URN.upper(): {"number": "1", "doors": [{"value": "a", "shoe": 1}]}}, rf"{BADGE_URN}:doors\.shoe"),
    ],
)
def test_strict_attributes_refuse_unknown_ones_by_name(attributes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSyntax, match=f"no schema has the attribute {named}$"):
        normalise("User", {"schemas": [USER_URN], "userName": "b", **attributes}, STRICT)
    if ENTERPRISE not in attributes and "members" not in attributes:
        with pytest.raises(InvalidSyntax, match="operation 1: no schema has the attribute"):
            patch_user(user(), {"op": "add", "value": attributes}, rules=STRICT)


def test_strict_attributes_refuse_unknown_ones_of_members() -> None:
    members = [{"value": "a", "shoe": 1}]
    with pytest.raises(InvalidSyntax, match=r"members\.shoe"):
        normalise("Group", {"schemas": [GROUP_URN], "displayName": "g", "members": members}, STRICT)
    item = {"op": "add", "path": "members", "value": members}
    with pytest.raises(InvalidSyntax, match=r"members\.shoe"):
        apply("Group", group(), operations(item), STRICT)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("name", {"shoe": 1}, r"name\.shoe"),
        ('emails[type eq "work"]', {"shoe": 1}, r"emails\.shoe"),
        (ENTERPRISE, {"shoe": 1}, f"{ENTERPRISE}:shoe"),
        ("manager", {"value": "m", "shoe": 1}, rf"{ENTERPRISE}:manager\.shoe"),
        (None, {"not a path": 1}, "not a path"),
        (None, {"name.shoe": 1}, r"name\.shoe"),
    ],
)
def test_strict_attributes_hold_in_patch_values(path: str | None, value: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSyntax, match=named):
        patch_user(user(), {"op": "add", "value": value} | ({"path": path} if path else {}), rules=STRICT)


def test_strict_attributes_refuse_nothing_that_is_known() -> None:
    read = barbara() | {"id": "1", "meta": {"version": "x"}, "groups": [{"value": "g", "$ref": "x"}], "password": "p"}
    assert normalise("User", read, STRICT).document == barbara()
    assert not patch_user(barbara(), {"op": "replace", "value": read}, rules=STRICT).changed
    whole = {"id": "g", "displayName": "Tour Guides", "members": [{"value": "a", "display": "A", "type": "User"}]}
    found = apply("Group", group(), operations({"op": "add", "value": whole}), STRICT)
    assert (found.changed, found.members) == (False, [Add(("a",))])


def test_otherwise_unknown_attributes_of_a_patch_are_named_for_the_audit() -> None:
    value = {"shoe": 1, "title": "T", ENTERPRISE: {"hat": 1}, "x[": 1}
    item = {"op": "add", "value": value}
    assert patch_user(user(), item, item).ignored == ("shoe", f"{ENTERPRISE}:hat", "x[")


def test_a_path_is_strict_with_and_without_the_switch() -> None:
    for rules in (STRICT, BADGE_RULES):
        with pytest.raises(InvalidPath):
            patch_user(user(), {"op": "add", "path": "shoe", "value": 1}, rules=rules)
        with pytest.raises(InvalidFilter):
            patch_user(user(), {"op": "remove", "path": "emails[shoe pr]"}, rules=rules)
