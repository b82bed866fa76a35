"""attributes and excludedAttributes: RFC 7644 sections 3.4.2.5 and 3.9."""

import copy
from typing import Any

import pytest

from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidValue
from control_plane.scim.projection import Names, compile_projection
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.schema import Document
from tests.unit.scim.samples import BADGE_RULES, BADGE_URN, ENTERPRISE, REGISTRY, barbara, user

RESOURCE: dict[str, Any] = {
    "id": "2819c223",
    "meta": {"resourceType": "User", "location": "https://x/Users/2819c223", "version": 'W/"1"'},
    **barbara(),
}
FIXED = {"schemas": RESOURCE["schemas"], "id": RESOURCE["id"]}


def project(kind: str, resource: Document, wanted: Names, unwanted: Names, registry: SchemaRegistry) -> Document:
    return compile_projection(kind, wanted, unwanted, registry).apply(resource)


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
        compile_projection("Group", "members", "displayName", REGISTRY)


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
    assert compile_projection("Group", attributes, excluded, REGISTRY).wants_members is wanted
    whole = {"schemas": [GROUP_URN], "id": "1", "displayName": "G", "members": [{"value": "x", "display": "X"}]}
    assert ("members" in project("Group", whole, attributes, excluded, REGISTRY)) is wanted


@pytest.mark.parametrize(
    ("attributes", "excluded", "wanted"),
    [
        (None, None, True),
        ("userName", None, False),
        ("userName,groups.display", None, True),
        (USER_URN, None, True),
        (None, "groups", False),
        (None, "groups.display", True),
        (None, USER_URN, False),
    ],
)
def test_wants_groups(attributes: Names, excluded: Names, wanted: bool) -> None:
    assert compile_projection("User", attributes, excluded, REGISTRY).wants_groups is wanted


def test_a_user_has_no_members_and_a_group_no_groups() -> None:
    assert not compile_projection("User", None, None, REGISTRY).wants_members
    assert not compile_projection("Group", None, None, REGISTRY).wants_groups


@pytest.mark.parametrize(("attributes", "is_identity"), [(None, True), (" ,", True), ("title", False)])
def test_nothing_asked_and_nothing_hidden_is_the_identity(attributes: Names, is_identity: bool) -> None:
    assert compile_projection("User", attributes, None, REGISTRY).is_identity is is_identity
    assert compile_projection("User", None, attributes, REGISTRY).is_identity is is_identity


_MAKER = {"value": "m", "secret": "s", "code": "c"}
_BADGE = {"number": "1", "issued": "2020-01-01T00:00:00Z", "pin": "0000", "note": "n", "maker": _MAKER}
BADGED: dict[str, Any] = {**user(title="T"), "id": "1", BADGE_URN: _BADGE}
ALWAYS = {"issued": _BADGE["issued"]}
MAKER = {"value": "m", "code": "c"}
DEFAULT = {"number": "1", **ALWAYS, "maker": MAKER}


@pytest.mark.parametrize(
    ("attributes", "excluded", "badge"),
    [
        # RFC 7643 section 7: "never" and "request" stay out, whatever happens.
        (None, None, DEFAULT),
        (None, "title", DEFAULT),
        (None, f"{BADGE_URN}:number", {**ALWAYS, "maker": MAKER}),
        (None, f"{BADGE_URN}:pin,note", DEFAULT),
        # "always" stays in: of a whole extension too, and of a complex value that is there.
        ("title", None, ALWAYS),
        (None, f"{BADGE_URN}:issued", DEFAULT),
        (None, BADGE_URN, ALWAYS),
        (None, f"{BADGE_URN}:maker.code", DEFAULT),
        (None, f"{BADGE_URN}:maker.value", DEFAULT | {"maker": {"code": "c"}}),
        (None, f"{BADGE_URN}:maker", {"number": "1", **ALWAYS}),
        (f"{BADGE_URN}:maker.value", None, {**ALWAYS, "maker": MAKER}),
        # "request" must be named itself, "never" cannot be.
        (BADGE_URN.upper(), None, DEFAULT),
        (f"{BADGE_URN},{BADGE_URN}:note", None, DEFAULT | {"note": "n"}),
        ("NOTE", None, {**ALWAYS, "note": "n"}),
        ("maker", None, {**ALWAYS, "maker": MAKER}),
        (f"maker,{BADGE_URN}:maker.secret", None, {**ALWAYS, "maker": _MAKER}),
        (f"{BADGE_URN}:maker.secret", None, {**ALWAYS, "maker": {"secret": "s", "code": "c"}}),
        (f"{BADGE_URN}:pin", None, ALWAYS),
        # One attribute of it by its whole path, beside the whole.
        (f"{BADGE_URN}:number,{BADGE_URN}", None, DEFAULT),
        (f"{BADGE_URN}:number", None, {"number": "1", **ALWAYS}),
    ],
)
def test_returned_is_enforced(attributes: Names, excluded: Names, badge: dict[str, Any]) -> None:
    before = copy.deepcopy(BADGED)
    found = project("User", BADGED, attributes, excluded, BADGE_RULES.registry)
    assert found[BADGE_URN] == badge
    assert ("title" in found) is (attributes in (None, "title") and excluded != "title")
    assert before == BADGED


def test_an_unclosed_selection_is_an_unknown_name() -> None:
    found = project("User", BADGED, "[" * 8000 + ",title", None, BADGE_RULES.registry)
    assert found["title"] == "T"
    assert "userName" not in found


def test_a_model_that_hides_something_is_never_the_identity() -> None:
    assert not compile_projection("User", None, None, BADGE_RULES.registry).is_identity
    assert compile_projection("Group", None, None, BADGE_RULES.registry).is_identity


def test_the_order_of_names_makes_no_difference() -> None:
    for names in (["maker", "maker.value"], ["maker.value", "maker"]):
        assert project("User", BADGED, names, None, BADGE_RULES.registry)[BADGE_URN]["maker"] == MAKER
        assert "maker" not in project("User", BADGED, None, names, BADGE_RULES.registry)[BADGE_URN]
