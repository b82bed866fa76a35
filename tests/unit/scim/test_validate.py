"""POST and PUT bodies: what is stored of them, and what is refused."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings

from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidSyntax, InvalidValue
from control_plane.scim.schema import Attribute, AttributeType
from control_plane.scim.validate import Normalised, normalise
from control_plane.scim.values import coerce
from tests.unit.scim.samples import BARBARA, ENTERPRISE, RULES, user
from tests.unit.scim.strategies import USERS


def _user(**attributes: Any) -> Normalised:
    return normalise("User", {"schemas": [USER_URN], "userName": "bjensen", **attributes}, RULES)


def _group(**attributes: Any) -> Normalised:
    return normalise("Group", {"schemas": [GROUP_URN], "displayName": "G", **attributes}, RULES)


def test_the_rfc_user_is_stored_without_id_meta_groups_and_password() -> None:
    before = copy.deepcopy(BARBARA)
    document = normalise("User", BARBARA, RULES).document
    kept = {name: value for name, value in before.items() if name not in ("id", "meta", "groups", "password")}
    kept[ENTERPRISE]["manager"] = {"value": "26118915-6090-4610-87e4-49d8ca9f808d"}
    assert document == kept
    assert before["id"] == BARBARA["id"]


def test_names_are_canonical_whatever_their_case() -> None:
    body = {
        "SCHEMAS": [USER_URN],
        "USERNAME": "b",
        "Name": {"FamilyName": "J"},
        "emails": [{"Primary": True, "VALUE": "a@b"}],
        ENTERPRISE.upper(): {"Department": "D", "Manager": {"Value": "m"}},
    }
    assert normalise("User", body, RULES).document == {
        "schemas": [USER_URN, ENTERPRISE],
        "userName": "b",
        "name": {"familyName": "J"},
        "emails": [{"primary": True, "value": "a@b"}],
        ENTERPRISE: {"department": "D", "manager": {"value": "m"}},
        "active": True,
    }


def test_unknown_attributes_are_dropped_and_named() -> None:
    found = _user(adreses=[{"country": "DE"}], name={"givenName": "B", "shoeSize": 44}, members=[{"value": "x"}])
    assert found.document == user(name={"givenName": "B"})
    assert found.ignored == ("adreses", "members")
    assert found.members is None


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("name", ["title", "name", "emails", "active", "externalId", ENTERPRISE])
def test_null_and_the_empty_list_are_unassigned(name: str, nothing: object) -> None:
    assert _user(**{name: nothing}).document == user()


def test_what_is_empty_once_nulls_are_gone_is_unassigned() -> None:
    found = _user(
        name={"givenName": None}, emails=[None, {"value": None}], **{ENTERPRISE: {"manager": {"value": None}}}
    )
    assert found.document == user()


@pytest.mark.parametrize(("text", "value"), [("True", True), ("False", False), ("true", True), ("FALSE", False)])
def test_entra_spells_booleans_as_strings(text: str, value: bool) -> None:
    assert _user(active=text).document["active"] is value
    assert _user(emails=[{"value": "a", "primary": text}]).document["emails"][0]["primary"] is value


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"active": "yes"}, "active"),
        ({"active": 1}, "active"),
        ({"userName": 5}, "userName"),
        ({"title": {"value": "x"}}, "title"),
        ({"title": ["x"]}, "title"),
        ({"name": "Barbara"}, "name"),
        ({"name": [{"givenName": "B"}]}, "name"),
        ({"name": {"givenName": True}}, "name.givenName"),
        ({"emails": [5]}, "emails"),
        ({"emails": [["a"]]}, "emails"),
        ({"emails": [{"value": 5}]}, "emails.value"),
        ({"emails": [{"value": "a", "primary": "x"}]}, "emails.primary"),
        ({"addresses": ["Main Street 1"]}, "addresses"),
        ({ENTERPRISE: "x"}, ENTERPRISE),
        ({ENTERPRISE: {"employeeNumber": 7}}, f"{ENTERPRISE}:employeeNumber"),
        ({ENTERPRISE: {"manager": {"value": 7}}}, f"{ENTERPRISE}:manager.value"),
        ({ENTERPRISE: {"manager": [{"value": "a"}, {"value": "b"}]}}, f"{ENTERPRISE}:manager"),
    ],
)
def test_a_wrong_type_is_refused_by_the_name_of_its_attribute(attributes: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{name} must be"):
        _user(**attributes)


@pytest.mark.parametrize("given", ["26118915", {"value": "26118915"}, [{"value": "26118915"}], ["26118915"]])
def test_manager_is_always_stored_as_an_object(given: object) -> None:
    assert _user(**{ENTERPRISE: {"manager": given}}).document[ENTERPRISE] == {"manager": {"value": "26118915"}}


def test_an_empty_manager_is_no_manager() -> None:
    assert _user(**{ENTERPRISE: {"manager": ""}}).document == user()


def test_a_single_value_is_a_list_of_one_and_a_string_is_its_value() -> None:
    assert _user(emails={"value": "a@b", "type": "work"}).document["emails"] == [{"value": "a@b", "type": "work"}]
    assert _user(roles=["Admin"], emails="a@b").document == user(roles=[{"value": "Admin"}], emails=[{"value": "a@b"}])


def test_entra_roles_with_foreign_sub_attributes_and_json_in_strings() -> None:
    text = '{"id":"18d1","value":"Admin","displayName":"Admin"}'
    sent = [
        {"primary": "False", "type": "WindowsAzureActiveDirectoryRole", "id": "1", "displayName": "x", "value": text}
    ]
    assert _user(roles=sent).document["roles"] == [
        {"primary": False, "type": "WindowsAzureActiveDirectoryRole", "value": text}
    ]


def test_at_most_one_element_is_primary() -> None:
    with pytest.raises(InvalidValue, match="emails has more than one"):
        _user(emails=[{"value": "a", "primary": True}, {"value": "b", "primary": "true"}])


@pytest.mark.parametrize("name", [None, "", "  ", []])
def test_user_name_is_required(name: object) -> None:
    with pytest.raises(InvalidValue, match="userName is required"):
        _user(userName=name)
    with pytest.raises(InvalidValue, match="userName is required"):
        normalise("User", {"schemas": [USER_URN]}, RULES)


def test_display_name_of_a_group_is_required() -> None:
    with pytest.raises(InvalidValue, match="displayName is required"):
        _group(displayName=None)


@pytest.mark.parametrize("schemas", [None, [], "", 5, [5], {}])
def test_schemas_are_required(schemas: object) -> None:
    with pytest.raises(InvalidSyntax, match="schemas"):
        _user(schemas=schemas)


@pytest.mark.parametrize(
    "schemas",
    [
        [ENTERPRISE, USER_URN],
        ["urn:scim:schemas:core:2.0", "urn:scim:schemas:extension:enterprise:2.0"],
        ["urn:ietf:params:scim:schemas:extension:enterprise:2.0User"],
        ["http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        USER_URN,
    ],
)
def test_which_schemas_are_listed_decides_nothing(schemas: object) -> None:
    assert _user(schemas=schemas).document["schemas"] == [USER_URN]
    with_data = _user(schemas=schemas, **{ENTERPRISE: {"department": "D"}}).document
    assert with_data["schemas"] == [USER_URN, ENTERPRISE]


def test_draft_urns_name_the_extension() -> None:
    found = _user(**{"urn:scim:schemas:extension:enterprise:1.0": {"department": "D"}})
    assert found.document == user(**{ENTERPRISE: {"department": "D"}})


@pytest.mark.parametrize(
    "body",
    [
        {"userName": "a", "USERNAME": "b"},
        {"name": {"givenName": "a", "GivenName": "b"}},
        {ENTERPRISE: {"department": "a"}, "urn:scim:schemas:extension:enterprise:1.0": {"department": "b"}},
    ],
)
def test_the_same_attribute_twice_in_different_spelling_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidSyntax, match="twice"):
        _user(**body)


def test_active_defaults_to_true_and_says_so() -> None:
    assert _user().document["active"] is True
    assert _user().defaulted == {"active"}
    assert _user(active=False).defaulted == frozenset()
    assert "active" not in _group().document


@pytest.mark.parametrize(
    ("sent", "ids"),
    [
        ([], []),
        (None, []),
        ([{"value": "a", "display": None, "$ref": None}], ["a"]),
        ([{"Value": "b", "type": "Group"}, "a", {"value": "b"}, None], ["b", "a"]),
        ({"value": "a"}, ["a"]),
        ("a", ["a"]),
    ],
)
def test_members_become_ids(sent: object, ids: list[str]) -> None:
    found = _group(members=sent)
    assert found.members == ids
    assert "members" not in found.document


def test_absent_members_are_none() -> None:
    assert _group().members is None


@pytest.mark.parametrize("sent", [[{}], [{"display": "x"}], [5], [""], [{"value": ""}], [{"value": 5}], [["a"]]])
def test_a_member_without_an_id_is_refused(sent: object) -> None:
    with pytest.raises(InvalidValue, match="members"):
        _group(members=sent)


def test_no_format_is_enforced_where_the_rfc_says_should() -> None:
    odd = {"locale": "37b6", "timezone": "nowhere", "profileUrl": "x y", "photos": [{"value": "x", "type": "selfie"}]}
    assert _user(**odd).document == user(**odd)
    assert {name: _user(**odd).document[name] for name in odd} == odd


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (AttributeType.INTEGER, 5, [True, 5.5, "5"]),
        (AttributeType.DECIMAL, 5.5, [True, "5"]),
        (AttributeType.DATE_TIME, "2011-05-13T04:42:34Z", ["2011-05-13", "x", 5]),
        (AttributeType.BINARY, "AAAA", [5]),
    ],
)
def test_types_that_only_extensions_have(kind: AttributeType, good: object, bad: list[object]) -> None:
    attribute = Attribute("x", kind)
    assert coerce(attribute, good) == good
    for value in bad:
        with pytest.raises(InvalidValue, match="x must be"):
            coerce(attribute, value)


@settings(max_examples=60, deadline=None)
@given(USERS)
def test_normalising_twice_changes_nothing_and_never_the_input(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    once = normalise("User", body, RULES).document
    assert body == before
    assert normalise("User", once, RULES).document == once
