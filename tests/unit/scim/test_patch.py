"""PATCH of one attribute at a time: RFC 7644 section 3.5.2 and what identity providers make of it."""

from typing import Any

import pytest

from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import InvalidFilter, InvalidPath, InvalidValue, Mutability, NoTarget, ScimError, TooMany
from tests.unit.scim.samples import ENTERPRISE, barbara, patch_user, user

EXTENSION = {"department": "Tours", "manager": {"value": "m1"}}


def _op(op: str, path: str | None, *value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"op": op}
    if path is not None:
        found["path"] = path
    if value:
        found["value"] = value[0]
    return found


SINGLE: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("add sets", user(), _op("add", "title", "Guide"), user(title="Guide")),
    ("add on a single value replaces", user(title="a"), _op("add", "title", "b"), user(title="b")),
    ("replace sets what was not there", user(), _op("replace", "title", "b"), user(title="b")),
    ("names in any case", user(), _op("add", "TITLE", "b"), user(title="b")),
    ("core URN", user(), _op("add", f"{USER_URN}:title", "b"), user(title="b")),
    ("replace by null removes", user(title="a"), _op("replace", "title", None), user()),
    ("replace by [] removes", user(title="a"), _op("replace", "title", []), user()),
    ("add of null does nothing", user(title="a"), _op("add", "title", None), user(title="a")),
    ("remove", user(title="a"), _op("remove", "title"), user()),
    ("remove ignores a value", user(title="a"), _op("Remove", "title", "other"), user()),
    ("remove of nothing is no change", user(), _op("remove", "title"), user()),
    ("Entra adds active as a string", user(active=True), _op("Add", "active", "False"), user(active=False)),
    ("Entra replaces active", user(active=False), _op("Replace", "active", "True"), user(active=True)),
    ("add merges a complex value", user(name={"givenName": "B"}), _op("add", "name", {"familyName": "J"}),
     user(name={"givenName": "B", "familyName": "J"})),
    ("replace merges it too", user(name={"givenName": "B"}), _op("replace", "name", {"familyName": "J"}),
     user(name={"givenName": "B", "familyName": "J"})),
    ("null within clears in replace", user(name={"givenName": "B", "familyName": "J"}),
     _op("replace", "name", {"familyName": None}), user(name={"givenName": "B"})),
    ("replace of a complex by null", user(name={"givenName": "B"}), _op("replace", "name", None), user()),
    ("remove of a complex", user(name={"givenName": "B"}), _op("remove", "name"), user()),
    ("a sub-attribute", user(), _op("replace", "name.familyName", "J"), user(name={"familyName": "J"})),
    ("remove a sub-attribute", user(name={"givenName": "B", "familyName": "J"}), _op("remove", "name.givenName"),
     user(name={"familyName": "J"})),
    ("the last one takes its parent along", user(name={"givenName": "B"}), _op("remove", "name.givenName"), user()),
    ("unknown and readOnly in a value are ignored", user(),
     _op("add", f"{ENTERPRISE}:manager", {"value": "m", "displayName": "M", "shoe": 1}),
     user(**{ENTERPRISE: {"manager": {"value": "m"}}})),
    ("password is accepted and not kept", user(), _op("replace", "password", "x"), user()),
    ("schemas follow from the data", user(), _op("add", "schemas", [ENTERPRISE]), user()),
    ("URN and colon", user(), _op("add", f"{ENTERPRISE}:department", "Tours"),
     user(**{ENTERPRISE: {"department": "Tours"}})),
    ("extension attribute without URN", user(), _op("add", "department", "T"),
     user(**{ENTERPRISE: {"department": "T"}})),
    ("draft URN", user(), _op("add", "urn:scim:schemas:extension:enterprise:1.0:department", "T"),
     user(**{ENTERPRISE: {"department": "T"}})),
    ("manager as a string", user(), _op("Add", f"{ENTERPRISE}:manager", "m1"),
     user(**{ENTERPRISE: {"manager": {"value": "m1"}}})),
    ("manager in a list", user(), _op("Replace", "manager", [{"value": "m1"}]),
     user(**{ENTERPRISE: {"manager": {"value": "m1"}}})),
    ("no manager any more", user(**{ENTERPRISE: EXTENSION}), _op("replace", "manager", ""),
     user(**{ENTERPRISE: {"department": "Tours"}})),
    ("manager.value", user(**{ENTERPRISE: EXTENSION}), _op("replace", f"{ENTERPRISE}:manager.value", "m2"),
     user(**{ENTERPRISE: {"department": "Tours", "manager": {"value": "m2"}}})),
    ("the last extension attribute takes the URN along", user(**{ENTERPRISE: {"department": "T"}}),
     _op("remove", f"{ENTERPRISE}:department"), user()),
    ("add a whole extension", user(), _op("add", ENTERPRISE, EXTENSION), user(**{ENTERPRISE: EXTENSION})),
    ("add merges into an extension", user(**{ENTERPRISE: EXTENSION}), _op("add", ENTERPRISE, {"costCenter": "4"}),
     user(**{ENTERPRISE: {**EXTENSION, "costCenter": "4"}})),
    ("replace merges into an extension", user(**{ENTERPRISE: EXTENSION}),
     _op("replace", ENTERPRISE.upper(), {"department": "X", "manager": None, "shoe": 1}),
     user(**{ENTERPRISE: {"department": "X"}})),
    ("remove an extension", user(**{ENTERPRISE: EXTENSION}), _op("remove", ENTERPRISE), user()),
    ("remove an extension that is not there", user(), _op("remove", ENTERPRISE), user()),
    ("replace an extension by null", user(**{ENTERPRISE: EXTENSION}), _op("replace", ENTERPRISE, None), user()),
    ("add null to an extension", user(**{ENTERPRISE: EXTENSION}), _op("add", ENTERPRISE, None),
     user(**{ENTERPRISE: EXTENSION})),
    ("the core by its URN", user(), _op("add", USER_URN, {"title": "T"}), user(title="T")),
]  # fmt: skip


@pytest.mark.parametrize(("before", "item", "after"), [case[1:] for case in SINGLE], ids=[case[0] for case in SINGLE])
def test_single_values(before: dict[str, Any], item: dict[str, Any], after: dict[str, Any]) -> None:
    result = patch_user(before, item)
    assert result.document == after
    assert result.changed is (before != after)


PATHLESS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("Okta deactivates", user(), {"active": False}, user(active=False)),
    ("Entra's dotted and URN keys", user(name={"givenName": "B"}),
     {"name.familyName": "J", f"{ENTERPRISE}:department": "T", f"{ENTERPRISE}:manager.value": "m", "title": "x"},
     user(name={"givenName": "B", "familyName": "J"}, title="x",
          **{ENTERPRISE: {"department": "T", "manager": {"value": "m"}}})),
    ("a URN key with an object merges", user(**{ENTERPRISE: EXTENSION}),
     {ENTERPRISE: {"costCenter": "4", "manager": "m2"}},
     user(**{ENTERPRISE: {"department": "Tours", "costCenter": "4", "manager": {"value": "m2"}}})),
    ("dotted keys within the extension", user(), {ENTERPRISE: {"manager.value": "m", "userName": "no"}},
     user(**{ENTERPRISE: {"manager": {"value": "m"}}})),
    ("readOnly attributes are ignored", user(),
     {"id": "x", "meta": {"version": "1"}, "groups": [], "schemas": [], "manager.displayName": "M", "title": "T"},
     user(title="T")),
    ("unknown attributes and keys that are no path are ignored", user(),
     {"shoeSize": 5, "name.shoe": 1, "not a path": 1, "x[": 2, "urn:none:a": 3, "title": "T"}, user(title="T")),
    ("value paths as keys", user(emails=[{"type": "work", "value": "a"}]), {'emails[type eq "work"].value': "b"},
     user(emails=[{"type": "work", "value": "b"}])),
    ("the core URN as a key", user(), {USER_URN: {"title": "T"}}, user(title="T")),
    ("null unassigns", user(title="T"), {"title": None}, user()),
    ("nothing", user(), {}, user()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "value", "after"), [case[1:] for case in PATHLESS], ids=[case[0] for case in PATHLESS]
)
def test_without_a_path_each_key_is_a_path(
    before: dict[str, Any], value: dict[str, Any], after: dict[str, Any]
) -> None:
    result = patch_user(before, _op("replace", None, value))
    assert result.document == after
    assert result.changed is (before != after)


def test_add_without_a_path_adds_to_lists_and_replace_replaces_them() -> None:
    before = user(emails=[{"value": "a"}])
    value = {"emails": [{"value": "b"}]}
    assert patch_user(before, _op("add", None, value)).document == user(emails=[{"value": "a"}, {"value": "b"}])
    assert patch_user(before, _op("replace", None, value)).document == user(emails=[{"value": "b"}])


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (_op("remove", None), NoTarget),
        (_op("remove", None, {"title": "x"}), NoTarget),
        (_op("remove", USER_URN), NoTarget),
        (_op("add", None, "x"), InvalidValue),
        (_op("replace", None, [{"active": False}]), InvalidValue),
        (_op("add", ENTERPRISE, "x"), InvalidValue),
        (_op("add", "shoeSize", 44), InvalidPath),
        (_op("add", "name.shoeSize", 44), InvalidPath),
        (_op("add", "title.value", "x"), InvalidPath),
        (_op("add", "members", [{"value": "x"}]), InvalidPath),
        (_op("add", "urn:none:title", "x"), InvalidPath),
        (_op("remove", "a path"), InvalidPath),
        (_op("remove", 'name[givenName eq "x"]'), InvalidPath),
        (_op("replace", "id", "x"), Mutability),
        (_op("replace", "meta.version", "x"), Mutability),
        (_op("remove", "groups"), Mutability),
        (_op("replace", f"{ENTERPRISE}:manager.displayName", "x"), Mutability),
        (_op("replace", "active", "maybe"), InvalidValue),
        (_op("replace", "title", 5), InvalidValue),
        (_op("replace", "name", "Barbara"), InvalidValue),
        (_op("remove", "userName"), InvalidValue),
        (_op("replace", "userName", None), InvalidValue),
        (_op("replace", "userName", ""), InvalidValue),
        (_op("replace", None, {"userName": ""}), InvalidValue),
        (_op("remove", "emails[shoe pr]"), InvalidFilter),
        (_op("remove", "emails[type eq work]"), InvalidFilter),
        (_op("replace", None, {"emails[type eq]": "x"}), InvalidFilter),
    ],
)
def test_refused(item: dict[str, Any], error: type[ScimError]) -> None:
    with pytest.raises(error) as caught:
        patch_user(user(), item)
    assert type(caught.value) is error


def test_the_error_names_the_operation_and_nothing_has_happened() -> None:
    document = barbara()
    with pytest.raises(InvalidPath, match=r"^operation 2: a User has no attribute shoeSize"):
        patch_user(document, _op("replace", "title", "x"), _op("add", "shoeSize", 44))
    assert document == barbara()


def test_a_required_attribute_may_be_absent_in_between() -> None:
    found = patch_user(user(), _op("remove", "userName"), _op("add", "userName", "new"))
    assert found.document["userName"] == "new"


def test_operations_see_what_earlier_ones_did() -> None:
    items = [_op("add", "name.givenName", "A"), _op("replace", "name.givenName", "B"), _op("remove", "name")]
    result = patch_user(user(), *items)
    assert result.document == user()
    assert not result.changed


def test_a_request_that_compares_too_much_is_too_many() -> None:
    emails = [{"value": f"v{number}", "type": f"t{number}"} for number in range(500)]
    assert patch_user(user(), _op("add", "emails", emails)).document == user(emails=emails)
    items = [_op("remove", f'emails[value eq "x{number}"]') for number in range(500)]
    with pytest.raises(TooMany):
        patch_user(user(emails=emails), *items)


def test_a_thousand_ordinary_operations_are_not() -> None:
    items = [_op("Replace", 'emails[type eq "work"].value', str(number)) for number in range(1000)]
    assert patch_user(barbara(), *items).document["emails"][0]["value"] == "999"
