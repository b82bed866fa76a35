"""A tenant's own extension in bodies, PATCH and PUT, with every characteristic enforced."""

from typing import Any

import pytest

from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidPath, InvalidValue, Mutability, ScimError
from control_plane.scim.registry import default_registry, extended_registry, with_unique_group_names
from control_plane.scim.replace import replace
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Attribute, Schema
from control_plane.scim.schema_definition import Extension
from control_plane.scim.validate import Normalised, normalise
from tests.unit.scim.samples import BADGE, BADGE_RULES, BADGE_URN, ENTERPRISE, patch_user

DOOR: dict[str, Any] = {"value": "d1", "type": "in", "primary": True}
FULL: dict[str, Any] = {
    "number": "N-1",
    "serial": "S-1",
    "tags": ["a"],
    "maker": {"value": "m", "plant": "P"},
    "doors": [DOOR],
}


def _body(**attributes: Any) -> Normalised:
    return normalise("User", {"schemas": [USER_URN], "userName": "bjensen", **attributes}, BADGE_RULES)


def _user(badge: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    return _body(**attributes, **({BADGE_URN: badge} if badge else {})).document


def _patched(before: dict[str, Any], op: str, path: str | None, *value: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"op": op} | ({"path": path} if path else {}) | ({"value": value[0]} if value else {})
    return patch_user(before, item, rules=BADGE_RULES).document


def test_it_is_stored_whatever_schemas_lists_and_listed_in_the_answer() -> None:
    found = _user({"NUMBER": "N-1", "maker": "m", "level": 3})
    assert found[BADGE_URN] == {"number": "N-1", "maker": {"value": "m"}, "level": 3}
    assert found["schemas"] == [USER_URN, BADGE_URN]
    assert _user({"number": "1"}, **{ENTERPRISE: {"department": "D"}})["schemas"] == [USER_URN, ENTERPRISE, BADGE_URN]


def test_unknown_attributes_in_extensions_are_ignored_and_named() -> None:
    found = _body(**{BADGE_URN: {"number": "1", "shoe": 1}, ENTERPRISE.upper(): {"Hat": 1}, "urn:none": {"a": 1}})
    assert found.ignored == (f"{BADGE_URN}:shoe", f"{ENTERPRISE}:Hat", "urn:none")
    assert found.document == _user({"number": "1"})


@pytest.mark.parametrize("badge", [{}, None, {"number": None}, {"tags": []}, {"shoe": 1}])
def test_nothing_is_demanded_of_an_extension_without_values(badge: dict[str, Any] | None) -> None:
    assert _user(badge) == _user()


@pytest.mark.parametrize(
    ("badge", "name"),
    [
        ({"tags": ["a"]}, f"{BADGE_URN}:number is required"),
        ({"number": "  "}, f"{BADGE_URN}:number is required"),
        ({"number": "1", "maker": {"plant": "P"}}, rf"{BADGE_URN}:maker\.value is required"),
        ({"number": "1", "doors": [{"value": "d"}, {"type": "in"}]}, rf"{BADGE_URN}:doors\.value is required"),
        ({"number": 1}, f"{BADGE_URN}:number must be a string"),
        ({"number": "1", "level": "3"}, f"{BADGE_URN}:level must be an integer"),
        ({"number": "1", "doors": [{"value": "a", "primary": True}, {"value": "b", "primary": "True"}]}, "primary"),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_their_attribute(badge: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue, match=name):
        _user(badge)


@pytest.mark.parametrize(
    ("op", "path", "value", "badge"),
    [
        ("add", f"{BADGE_URN}:level", 3, FULL | {"level": 3}),
        ("Add", f"{BADGE_URN.upper()}:LEVEL", 3, FULL | {"level": 3}),
        ("add", "level", 3, FULL | {"level": 3}),
        ("add", f"{BADGE_URN}:tags", ["b", "a"], FULL | {"tags": ["a", "b"]}),
        ("remove", f"{BADGE_URN}:tags", ["A"], {k: v for k, v in FULL.items() if k != "tags"}),
        ("remove", f'{BADGE_URN}:tags[value eq "A"]', None, {k: v for k, v in FULL.items() if k != "tags"}),
        ("replace", f"{BADGE_URN}:maker.value", "n", FULL | {"maker": {"value": "n", "plant": "P"}}),
        ("replace", f"{BADGE_URN}:maker", {"value": "n"}, FULL | {"maker": {"value": "n", "plant": "P"}}),
        ("replace", f'{BADGE_URN}:doors[type eq "in"].value', "d", FULL | {"doors": [DOOR | {"value": "d"}]}),
        ("add", f'{BADGE_URN}:doors[type eq "out" and primary eq "True"].value', "d2",
         FULL | {"doors": [DOOR | {"primary": False}, {"type": "out", "primary": True, "value": "d2"}]}),
        ("add", BADGE_URN, {"level": 3, "maker.value": "n"},
         FULL | {"level": 3, "maker": {"value": "n", "plant": "P"}}),
        ("replace", BADGE_URN.lower(), {"level": 3}, FULL | {"level": 3}),
        ("replace", None, {BADGE_URN: {"level": 3}}, FULL | {"level": 3}),
        ("replace", None, {f"{BADGE_URN}:level": 3, f"{BADGE_URN}:maker.value": "n"},
         FULL | {"level": 3, "maker": {"value": "n", "plant": "P"}}),
        ("replace", f"{BADGE_URN}:serial", "S-1", FULL),
        ("replace", BADGE_URN, FULL, FULL),
    ],
)  # fmt: skip
def test_patch_of_an_extension(op: str, path: str | None, value: Any, badge: dict[str, Any]) -> None:
    assert _patched(_user(FULL), op, path, value)[BADGE_URN] == badge


def test_all_of_an_extension_can_be_removed_and_is_unassigned_then() -> None:
    before = _user({"number": "1", "tags": ["a"]})
    assert _patched(before, "remove", BADGE_URN) == _user()
    items = [{"op": "remove", "path": f"{BADGE_URN}:{name}"} for name in ("number", "tags")]
    assert patch_user(before, *items, rules=BADGE_RULES).document == _user()


@pytest.mark.parametrize(
    ("op", "path", "value", "error", "named"),
    [
        ("replace", f"{BADGE_URN}:serial", "S-2", Mutability, f"{BADGE_URN}:serial cannot be changed"),
        ("add", "serial", "s-1", Mutability, "serial"),
        ("remove", f"{BADGE_URN}:serial", None, Mutability, "serial"),
        ("replace", f"{BADGE_URN}:serial", None, Mutability, "serial"),
        ("remove", BADGE_URN, None, Mutability, "serial"),
        ("replace", BADGE_URN, {"serial": "S-2"}, Mutability, "serial"),
        ("replace", None, {f"{BADGE_URN}:serial": "S-2"}, Mutability, "serial"),
        ("replace", f"{BADGE_URN}:maker.plant", "Q", Mutability, rf"{BADGE_URN}:maker\.plant cannot"),
        ("remove", f"{BADGE_URN}:maker", None, Mutability, r"maker\.plant"),
        ("add", f"{BADGE_URN}:maker", {"plant": "Q"}, Mutability, r"maker\.plant"),
        ("remove", f"{BADGE_URN}:number", None, InvalidValue, f"{BADGE_URN}:number is required"),
        ("remove", f"{BADGE_URN}:maker.value", None, InvalidValue, r"maker\.value is required"),
        ("add", f"{BADGE_URN}:doors", {"type": "out"}, InvalidValue, r"doors\.value is required"),
        ("add", f"{BADGE_URN}:shoe", 1, InvalidPath, "shoe"),
        ("add", f"{BADGE_URN}:maker.shoe", 1, InvalidPath, "shoe"),
        ("add", f"{BADGE_URN}:level", "3", InvalidValue, "level must be an integer"),
        ("add", f"{BADGE_URN}:userName", "x", InvalidPath, "userName"),
    ],
)
def test_refused(op: str, path: str | None, value: Any, error: type[ScimError], named: str) -> None:
    before = _user(FULL)
    with pytest.raises(error, match=named):
        _patched(before, op, path, value)
    assert before == _user(FULL)


def test_an_immutable_attribute_can_be_set_once() -> None:
    once = _patched(_user({"number": "1"}), "add", f"{BADGE_URN}:serial", "S-9")
    assert once[BADGE_URN]["serial"] == "S-9"
    with pytest.raises(Mutability):
        _patched(once, "add", f"{BADGE_URN}:serial", "S-8")


def _put(stored: dict[str, Any], badge: dict[str, Any] | None) -> dict[str, Any]:
    body = _body(**({BADGE_URN: badge} if badge else {}))
    before = repr(body)
    found = replace("User", stored, body, BADGE_RULES)
    assert repr(body) == before
    return found


def test_put_keeps_what_is_immutable_and_clears_the_rest() -> None:
    stored = _user({"number": "N-1", "serial": "S-1", "tags": ["a"]})
    assert _put(stored, {"number": "N-2"}) == _user({"number": "N-2", "serial": "S-1"})
    assert _put(stored, {"number": "N-2", "serial": "S-1"}) == _user({"number": "N-2", "serial": "S-1"})


@pytest.mark.parametrize("maker", [{"value": "m2"}, {"value": "m2", "plant": "P"}])
def test_put_keeps_the_immutable_part_of_a_complex_value(maker: dict[str, Any]) -> None:
    found = _put(_user(FULL), {"number": "N-2", "maker": maker})
    assert found == _user({"number": "N-2", "serial": "S-1", "maker": {"value": "m2", "plant": "P"}})


def test_put_without_anything_immutable_clears_the_extension() -> None:
    assert _put(_user({"number": "1", "tags": ["a"]}), None) == _user()


@pytest.mark.parametrize(
    ("badge", "error", "named"),
    [
        ({"number": "1", "serial": "S-2"}, Mutability, "serial"),
        ({"number": "1", "maker": {"value": "m", "plant": "Q"}}, Mutability, r"maker\.plant"),
        # What is kept is not enough for what is required beside it.
        (None, InvalidValue, "number is required"),
        ({"number": "1"}, InvalidValue, r"maker\.value is required"),
    ],
)
def test_put_that_contradicts_what_is_immutable(
    badge: dict[str, Any] | None, error: type[ScimError], named: str
) -> None:
    with pytest.raises(error, match=named):
        _put(_user(FULL), badge)


def test_without_extensions_there_is_one_registry() -> None:
    assert extended_registry([]) is default_registry()
    assert with_unique_group_names(default_registry(), False) is default_registry()
    unique = with_unique_group_names(default_registry(), True)
    assert with_unique_group_names(default_registry(), True) is unique
    assert with_unique_group_names(unique, True) is unique
    assert with_unique_group_names(unique, False) is default_registry()


def test_the_shared_registries_stay_shared_however_many_tenants_have_their_own() -> None:
    unique = with_unique_group_names(default_registry(), True)
    for number in range(100):
        extension = Extension(Schema(f"urn:x:own-{number}", "Own", "", (Attribute("hat"),)), "User")
        assert with_unique_group_names(extended_registry([extension]), True) is not unique
    assert with_unique_group_names(extended_registry([]), True) is unique


def test_an_extension_may_have_an_attribute_named_schemas() -> None:
    own = Extension(Schema("urn:x:own", "Own", "", (Attribute("schemas"), Attribute("id"))), "User")
    rules = ScimRules(extended_registry([own]))
    items = [{"op": "add", "path": f"urn:x:own:{name}", "value": "v"} for name in ("schemas", "id")]
    found = patch_user(_user(), *items, rules=rules).document
    assert found["urn:x:own"] == {"schemas": "v", "id": "v"}
    assert found["schemas"] == [USER_URN, "urn:x:own"]


def test_an_extension_belongs_to_one_type() -> None:
    registry = extended_registry([BADGE, Extension(Schema("urn:x:team", "Team", "", (Attribute("lead"),)), "Group")])
    assert registry.model("User").schema_of(BADGE_URN) is BADGE.schema
    assert registry.model("Group").schema_of(BADGE_URN) is None
    assert [schema.id for schema in registry.model("Group").extensions] == ["urn:x:team"]
    assert registry.model("Group").schemas_in({"urn:x:team": {"lead": "x"}}) == [GROUP_URN, "urn:x:team"]


def test_an_extension_never_changes_what_a_bare_name_means() -> None:
    own = Extension(
        Schema("urn:x:own", "Own", "", (Attribute("department"), Attribute("title"), Attribute("hat"))), "User"
    )
    other = Extension(Schema("urn:x:other", "Other", "", (Attribute("hat"), Attribute("scarf"))), "User")
    rules = ScimRules(extended_registry([own, other]))
    items = [{"op": "add", "path": name, "value": "v"} for name in ("department", "title", "scarf")]
    found = patch_user(_user(), *items, rules=rules).document
    assert found == _user(title="v", **{ENTERPRISE: {"department": "v"}}) | {
        "urn:x:other": {"scarf": "v"},
        "schemas": [USER_URN, ENTERPRISE, "urn:x:other"],
    }
    # Two extensions have a hat: which is meant must be said.
    with pytest.raises(InvalidPath, match="hat"):
        patch_user(_user(), {"op": "add", "path": "hat", "value": "v"}, rules=rules)
