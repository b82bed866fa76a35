"""Requests as the identity providers send them, from their own documentation and public threads."""

from typing import Any

import pytest

from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import Mutability
from control_plane.scim.evaluate import matches
from control_plane.scim.filters import Equality, equality, parse_filter
from control_plane.scim.members import Add, Remove, Replace
from control_plane.scim.patch import PatchResult, apply, parse_patch
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import ENTERPRISE, REGISTRY, RULES, group, user

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def _patch(name: str, document: dict[str, Any], *items: dict[str, Any]) -> PatchResult:
    return apply(name, document, parse_patch({"schemas": [PATCH], "Operations": list(items)}), RULES)


def test_entra_creates_a_user() -> None:
    body = {
        "schemas": [USER_URN, ENTERPRISE],
        "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
        "userName": "Test_User_ab6490ee",
        "active": True,
        "addresses": None,
        "displayName": None,
        "emails": [{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
        "roles": [],
    }
    found = normalise("User", body, RULES)
    kept = ("externalId", "userName", "active", "emails", "name")
    assert found.document == {"schemas": [USER_URN], **{name: body[name] for name in kept}}
    assert found.ignored == ()


def test_entra_creates_a_group_with_its_own_schema() -> None:
    body = {
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:Group",
            "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group",
        ],
        "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159",
        "displayName": "displayName",
        "meta": {"resourceType": "Group"},
    }
    found = normalise("Group", body, RULES)
    assert found.document == group(displayName="displayName", externalId="8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159")
    assert found.members is None


def test_entra_updates_in_its_default_dialect() -> None:
    stored = user(emails=[{"type": "work", "value": "old@testuser.com", "primary": True}], name={"familyName": "old"})
    result = _patch(
        "User",
        stored,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.com"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Sales"},
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "26118915"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+49 1"},
        {"op": "Replace", "path": "active", "value": "False"},
    )
    assert result.document == user(
        emails=[{"type": "work", "value": "updatedEmail@microsoft.com", "primary": True}],
        name={"familyName": "updatedFamilyName"},
        phoneNumbers=[{"type": "mobile", "value": "+49 1"}],
        active=False,
        **{ENTERPRISE: {"department": "Sales", "manager": {"value": "26118915"}}},
    )


def test_entra_updates_with_the_compliance_flag() -> None:
    value = {"displayName": "Pvlo", "active": True, "name.givenName": "P", f"{ENTERPRISE}:employeeNumber": "7"}
    result = _patch("User", user(active=False), {"op": "add", "value": value})
    assert result.document == user(
        displayName="Pvlo", active=True, name={"givenName": "P"}, **{ENTERPRISE: {"employeeNumber": "7"}}
    )


def test_entra_resends_the_same_update_without_change() -> None:
    item = {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "26118915"}
    first = _patch("User", user(), item)
    assert first.changed
    assert not _patch("User", first.document, item).changed


def test_entra_moves_members() -> None:
    add = {"op": "Add", "path": "members", "value": [{"$ref": None, "value": "f648f8d5ea4e4cd38e9c"}]}
    remove = {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": "f648f8d5ea4e4cd38e9c"}]}
    assert _patch("Group", group(), add).members == [Add(("f648f8d5ea4e4cd38e9c",))]
    assert _patch("Group", group(), remove).members == [Remove(("f648f8d5ea4e4cd38e9c",))]


ROLE = '{"id":"18d14569","value":"Admin","displayName":"Admin"}'


def test_entra_sends_roles_as_json_in_strings_and_they_stay_as_sent() -> None:
    # entra-docs#215: Entra compares what it reads with what it sent, so the text must not be taken apart.
    sent = [{"id": "18d1", "value": ROLE, "displayName": "x", "type": "WindowsAzureActiveDirectoryRole"}]
    item = {"op": "Add", "path": "roles", "value": sent}
    once = _patch("User", user(), item)
    assert once.document == user(roles=[{"value": ROLE, "type": "WindowsAzureActiveDirectoryRole"}])
    assert not _patch("User", once.document, item).changed
    assert not _patch("User", once.document, {**item, "op": "Replace"}).changed


def test_entra_sets_the_one_primary_role() -> None:
    path = 'roles[primary eq "True"].value'
    once = _patch("User", user(), {"op": "Add", "path": path, "value": "Admin"})
    assert once.document == user(roles=[{"primary": True, "value": "Admin"}])
    again = _patch("User", once.document, {"op": "Replace", "path": path, "value": "User"})
    assert again.document == user(roles=[{"primary": True, "value": "User"}])
    assert matches(parse_filter('roles[primary eq "True"]'), once.document, "User", REGISTRY)


def test_entra_writes_every_attribute_of_the_extension_by_its_path() -> None:
    paths = ("employeeNumber", "costCenter", "organization", "division", "department", "manager")
    items = [{"op": "Add", "path": f"{ENTERPRISE}:{name}", "value": name} for name in paths]
    stored = _patch("User", user(), *items).document
    values = {name: name for name in paths[:-1]} | {"manager": {"value": "manager"}}
    assert stored == user(**{ENTERPRISE: values})
    removals = [{"op": "Remove", "path": f"{ENTERPRISE}:{name}"} for name in paths]
    assert _patch("User", stored, *removals).document == user()


def test_a_client_that_sends_the_id_by_its_path() -> None:
    item = {"op": "replace", "path": "id", "value": "7"}
    rename = {"op": "replace", "path": "title", "value": "T"}
    found = apply("User", user(), parse_patch({"Operations": [item, rename]}), RULES, resource_id="7")
    assert found.document == user(title="T")
    for other in ("8", None):
        with pytest.raises(Mutability):
            apply("User", user(), parse_patch({"Operations": [item]}), RULES, resource_id=other)
    with pytest.raises(Mutability):
        apply("User", user(), parse_patch({"Operations": [{**item, "op": "remove"}]}), RULES, resource_id="7")


def test_strict_suites_remove_whole_attributes_and_write_passwords() -> None:
    stored = user(name={"givenName": "B"}, emails=[{"value": "a"}], **{ENTERPRISE: {"department": "D"}})
    items = [{"op": "remove", "path": path} for path in ("name", "emails", ENTERPRISE, "password")]
    assert _patch("User", stored, *items).document == user()
    for op in ("add", "replace"):
        assert not _patch("User", user(), {"op": op, "path": "password", "value": "x"}).changed


def test_okta_creates_and_deactivates() -> None:
    body = {
        "schemas": [USER_URN],
        "userName": "test.user@okta.local",
        "name": {"givenName": "Test", "familyName": "User"},
        "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
        "displayName": "Test User",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }
    stored = normalise("User", body, RULES).document
    assert stored == {name: value for name, value in body.items() if name not in ("groups", "password")}
    result = _patch("User", stored, {"op": "replace", "value": {"active": False}})
    assert result.document == {**stored, "active": False}


def test_okta_renames_a_group_and_pushes_an_empty_one() -> None:
    renamed = _patch("Group", group(), {"op": "replace", "value": {"id": "abf4dd94", "displayName": "Test SCIMv2"}})
    assert renamed.document == group(displayName="Test SCIMv2")
    assert _patch("Group", group(), {"op": "replace", "path": "members", "value": []}).members == [Replace(())]


def test_onelogin_puts_with_draft_urns() -> None:
    body = {
        "schemas": ["urn:scim:schemas:core:2.0", "urn:scim:schemas:extension:enterprise:2.0"],
        "userName": "ada",
        "urn:scim:schemas:extension:enterprise:2.0": {"department": "R&D", "manager": {"displayName": "x"}},
    }
    assert normalise("User", body, RULES).document == user(userName="ada", **{ENTERPRISE: {"department": "R&D"}})


def test_scim_client_sends_blanks_for_what_it_does_not_know() -> None:
    body = {"schemas": [USER_URN], "id": "", "userName": "ada", "meta": None, "timezone": None}
    assert normalise("User", body, RULES).document == user(userName="ada")


def test_microsoft_collection_adds_a_bare_string_and_foreign_keys() -> None:
    body = {"id": "g", "Operations": [{"name": "addMember", "op": "add", "path": "members", "value": "string id 1"}]}
    assert apply("Group", group(), parse_patch(body), RULES).members == [Add(("string id 1",))]


def test_look_ups() -> None:
    # As they arrive once "+" and "%20" are blanks.
    def look_up(text: str) -> Equality | None:
        return equality(parse_filter(text), "User", REGISTRY)

    assert look_up('userName eq "a@b"') == Equality("userName", "a@b")
    assert look_up('DisplayName eq "BobIsAmazing"') == Equality("displayName", "BobIsAmazing")
    assert look_up('externalId eq "7"') == Equality("externalId", "7")
