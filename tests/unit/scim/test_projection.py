"""attributes and excludedAttributes: RFC 7644 sections 3.4.2.5 and 3.9."""

import copy
from typing import Any

import pytest

from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidValue
from control_plane.scim.projection import Names, project, wants_members
from tests.unit.scim.samples import ENTERPRISE, REGISTRY, barbara

RESOURCE: dict[str, Any] = {
    "id": "2819c223",
    "meta": {"resourceType": "User", "location": "https://x/Users/2819c223", "version": 'W/"1"'},
    **barbara(),
}
FIXED = {"schemas": RESOURCE["schemas"], "id": RESOURCE["id"]}


def _only(names: Names) -> dict[str, Any]:
    return project("User", RESOURCE, names, None, REGISTRY)


def _without(names: Names) -> dict[str, Any]:
    return project("User", RESOURCE, None, names, REGISTRY)


@pytest.mark.parametrize("nothing", [None, "", " , ", []])
def test_not_given_is_everything(nothing: Names) -> None:
    assert project("User", RESOURCE, nothing, nothing, REGISTRY) == RESOURCE


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("userName", {"userName": RESOURCE["userName"]}),
        (" USERNAME , nickname", {"userName": RESOURCE["userName"], "nickName": "Babs"}),
        (["userName", "title"], {"userName": RESOURCE["userName"], "title": "Tour Guide"}),
        ("id", {}),
        ("shoeSize", {}),
        ("not a name,1,", {}),
        ("locale", {}),
        ("meta.location", {"meta": {"location": "https://x/Users/2819c223"}}),
        ("name.familyName,name.givenName", {"name": {"familyName": "Jensen", "givenName": "Barbara"}}),
        ("name.familyName,name", {"name": RESOURCE["name"]}),
        ("name,name.familyName", {"name": RESOURCE["name"]}),
        ("emails.value", {"emails": [{"value": "bjensen@example.com"}, {"value": "babs@jensen.org"}]}),
        ("emails.primary", {"emails": [{"primary": True}]}),
        ("userName.value", {}),
        ('emails[type eq "work"]', {"emails": RESOURCE["emails"]}),
        ('emails[value eq "a,b"],title', {"emails": RESOURCE["emails"], "title": "Tour Guide"}),
        (f"{USER_URN}:title", {"title": "Tour Guide"}),
        (f"{ENTERPRISE}:department", {ENTERPRISE: {"department": "Tour Operations"}}),
        ("department", {ENTERPRISE: {"department": "Tour Operations"}}),
        ("manager.value", {ENTERPRISE: {"manager": {"value": "26118915-6090-4610-87e4-49d8ca9f808d"}}}),
        (ENTERPRISE, {ENTERPRISE: RESOURCE[ENTERPRISE]}),
    ],
)
def test_attributes(names: Names, kept: dict[str, Any]) -> None:
    assert _only(names) == FIXED | kept


def test_the_core_urn_is_all_of_the_core() -> None:
    kept = _only(USER_URN)
    assert set(kept) == set(RESOURCE) - {"meta", "externalId", ENTERPRISE}


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        ("title", {"title"}),
        ("TITLE,emails", {"title", "emails"}),
        ("id,schemas", set()),
        ("shoeSize", set()),
        ("meta", {"meta"}),
        (ENTERPRISE, {ENTERPRISE}),
        ('emails[type eq "work"]', {"emails"}),
    ],
)
def test_excluded_attributes(names: Names, gone: set[str]) -> None:
    assert _without(names) == {name: value for name, value in RESOURCE.items() if name not in gone}


def test_excluded_sub_attributes() -> None:
    found = _without("name.formatted,emails.type,manager.value")
    assert "formatted" not in found["name"]
    assert found["name"]["familyName"] == "Jensen"
    assert found["emails"] == [{"value": "bjensen@example.com", "primary": True}, {"value": "babs@jensen.org"}]
    assert "manager" not in found[ENTERPRISE]


def test_the_resource_is_never_changed() -> None:
    before = copy.deepcopy(RESOURCE)
    _only("emails.value,name.familyName")
    _without("emails.value,name.familyName")
    assert before == RESOURCE


def test_both_at_once_are_refused() -> None:
    with pytest.raises(InvalidValue):
        project("User", RESOURCE, "userName", "title", REGISTRY)
    with pytest.raises(InvalidValue):
        wants_members("members", "displayName")


@pytest.mark.parametrize(
    ("attributes", "excluded", "wanted"),
    [
        (None, None, True),
        ("", "", True),
        ("displayName", None, False),
        ("displayName,Members", None, True),
        ("members.value", None, True),
        (f"{GROUP_URN}:members", None, True),
        (f"{GROUP_URN}:members.value", None, True),
        (GROUP_URN, None, True),
        (f"{GROUP_URN}:displayName", None, False),
        ('members[value eq "x"]', None, True),
        (["members"], None, True),
        (None, "members", False),
        (None, "displayName, MEMBERS", False),
        (None, f"{GROUP_URN}:members", False),
        (None, GROUP_URN, False),
        (None, "members.display", True),
        (None, "displayName", True),
    ],
)
def test_wants_members(attributes: Names, excluded: Names, wanted: bool) -> None:
    assert wants_members(attributes, excluded) is wanted
    whole = {"schemas": [GROUP_URN], "id": "1", "displayName": "G", "members": [{"value": "x", "display": "X"}]}
    assert ("members" in project("Group", whole, attributes, excluded, REGISTRY)) is wanted
