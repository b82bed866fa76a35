"""Microsoft Entra ID, as its documentation and public logs show the requests (shared/scim.md section C).

Sources: entra-docs use-scim-to-provision-users-and-groups, application-provisioning-config-problem-scim-compatibility,
customize-application-attributes; SCIM-SDK#149, scimitar#43 (members by value array); rancher#54025 (Add on active);
entra-docs#215, #391 (roles); superoffice-docs#1606 (soft delete).
"""

from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.conformance.client import ENTERPRISE, GROUP, PATCH_OP, USER, Idp, Json
from tests.conformance.conftest import NewIdp

ADSCIM = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"


@pytest.fixture
def entra(new_idp: NewIdp) -> Idp:
    idp = new_idp("entra")
    idp.user_agent = "Azure AD SCIM client (as documented)"
    return idp


def pushed(name: str = "Test_User_ab6490ee", **more: object) -> Json:
    """Return a user as Entra creates it: everything that is mapped, nulls included."""
    return {
        "schemas": [USER, ENTERPRISE],
        "externalId": name,
        "userName": f"{name}@testuser.com",
        "active": True,
        "addresses": None,
        "displayName": None,
        "emails": [{"type": "work", "value": f"{name}@testuser.com", "primary": True}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
        "phoneNumbers": None,
        "roles": [],
        "title": None,
        **more,
    }


def pushed_group(name: str) -> Json:
    return {
        "schemas": [GROUP, ADSCIM],
        "externalId": str(uuid4()),
        "displayName": name,
        "meta": {"resourceType": "Group"},
    }


@pytest.mark.parametrize(
    "condition",
    [
        'userName eq "{}"',
        'externalId eq "{}"',
        'emails[type eq "work"].value eq "{}"',
        'id eq "{}" and manager eq "{}"',
        'userName eq "{}" and active eq "True"',
    ],
)
def test_connection_test_is_a_filter_on_a_random_value(entra: Idp, condition: str) -> None:
    page = entra.list("Users", condition.replace("{}", str(uuid4())))
    assert (page["totalResults"], page["Resources"]) == (0, [])


def test_connection_test_of_groups(entra: Idp) -> None:
    page = entra.get("/Groups?excludedAttributes=members&filter=" + quote(f'displayName eq "{uuid4()}"'))
    assert (page["totalResults"], page["Resources"]) == (0, [])


def test_match_and_create(entra: Idp) -> None:
    made = entra.post("/Users", pushed())
    assert made["active"] is True
    for name in ("addresses", "phoneNumbers", "roles", "title", "displayName", ENTERPRISE):
        assert name not in made
    for condition in (
        'userName eq "test_user_AB6490EE@testuser.com"',
        'externalId eq "Test_User_ab6490ee"',
        'emails[type eq "work"].value eq "Test_User_ab6490ee@testuser.com"',
        'emails[type eq "work" and value eq "Test_User_ab6490ee@testuser.com"]',
    ):
        assert [one["id"] for one in entra.list("Users", condition)["Resources"]] == [made["id"]], condition


def test_the_documents_own_typo_in_the_schema_is_no_matter(entra: Idp) -> None:
    typo = "urn:ietf:params:scim:schemas:extension:enterprise:2.0User"
    made = entra.post("/Users", pushed(schemas=[USER, typo]))
    assert made["schemas"] == [USER]


def test_extension_values_without_their_urn_in_schemas(entra: Idp) -> None:
    made = entra.post("/Users", pushed(schemas=[USER]) | {ENTERPRISE: {"department": "Sales"}})
    assert made[ENTERPRISE] == {"department": "Sales"}
    assert set(made["schemas"]) == {USER, ENTERPRISE}


def test_default_update_one_operation_per_attribute(entra: Idp) -> None:
    boss = entra.post("/Users", pushed("boss"))
    target = f"/Users/{entra.post('/Users', pushed())['id']}"
    changed = entra.patch(
        target,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.com"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Sales"},
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": boss["id"]},
        {"op": "Add", "path": "active", "value": "False"},
    )
    assert [one["value"] for one in changed["emails"]] == ["updatedEmail@microsoft.com"]
    assert changed["emails"][0]["primary"] is True
    assert changed["name"]["familyName"] == "updatedFamilyName"
    assert changed[ENTERPRISE]["department"] == "Sales"
    assert changed[ENTERPRISE]["manager"]["value"] == boss["id"]
    assert changed["active"] is False
    again = entra.patch(target, {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": boss["id"]})
    assert again == changed
    gone = entra.patch(target, {"op": "Remove", "path": f"{ENTERPRISE}:manager"}, {"op": "Remove", "path": "title"})
    assert gone[ENTERPRISE] == {"department": "Sales"}


@pytest.mark.parametrize("op", ["Add", "Replace"])
def test_a_first_value_through_a_value_path_makes_the_element(entra: Idp, op: str) -> None:
    target = f"/Users/{entra.post('/Users', pushed())['id']}"
    changed = entra.patch(
        target,
        {"op": op, "path": 'phoneNumbers[type eq "mobile"].value', "value": "+1 555 0100"},
        {"op": op, "path": 'addresses[type eq "work"].country', "value": "DE"},
        {"op": op, "path": 'addresses[type eq "work"].locality', "value": "Berlin"},
    )
    assert changed["phoneNumbers"] == [{"type": "mobile", "value": "+1 555 0100"}]
    assert changed["addresses"] == [{"type": "work", "country": "DE", "locality": "Berlin"}]


def test_update_with_aad_opt_scim_062020(entra: Idp) -> None:
    boss = entra.post("/Users", pushed("boss"))
    target = f"/Users/{entra.post('/Users', pushed())['id']}"
    changed = entra.patch(
        target,
        {
            "op": "replace",
            "value": {
                "displayName": "Bjfe",
                "name.givenName": "Kim",
                "name.formatted": "Kim Family",
                "active": False,
                f"{ENTERPRISE}:employeeNumber": "42",
                f"{ENTERPRISE}:manager": boss["id"],
            },
        },
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "kim@testuser.com"},
    )
    assert changed["displayName"] == "Bjfe"
    assert changed["name"] == {"formatted": "Kim Family", "familyName": "familyName", "givenName": "Kim"}
    assert changed["active"] is False
    assert changed[ENTERPRISE]["employeeNumber"] == "42"
    assert changed[ENTERPRISE]["manager"]["value"] == boss["id"]
    assert changed["emails"][0]["value"] == "kim@testuser.com"


@pytest.mark.parametrize("value", ["False", "false", False])
def test_soft_delete_leaves_the_user_readable(entra: Idp, value: object) -> None:
    made = entra.post("/Users", pushed())
    entra.patch(f"/Users/{made['id']}", {"op": "Replace", "path": "active", "value": value})
    assert entra.get(f"/Users/{made['id']}")["active"] is False
    assert entra.list("Users", f'userName eq "{made["userName"]}"')["Resources"][0]["active"] is False
    assert entra.list("Users", 'active eq "False"')["totalResults"] == 1
    entra.patch(f"/Users/{made['id']}", {"op": "Replace", "path": "active", "value": "True"})
    assert entra.get(f"/Users/{made['id']}")["active"] is True
    entra.delete(f"/Users/{made['id']}")


def test_members(entra: Idp) -> None:
    anna, otto, uma = (entra.post("/Users", pushed(name))["id"] for name in ("anna", "otto", "uma"))
    group = entra.post("/Groups", pushed_group("displayName"))
    target = f"/Groups/{group['id']}"
    assert group["schemas"] == [GROUP]
    everybody = [{"$ref": None, "value": one} for one in (anna, otto, uma)]
    body: Json = {"schemas": [PATCH_OP], "Operations": [{"op": "Add", "path": "members", "value": everybody}]}
    assert entra.send("PATCH", target, body).status in (200, 204)
    assert entra.members(group["id"]) == {anna, otto, uma}
    # The default removal: no filter, but the values.
    entra.patch(target, {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": anna}]})
    assert entra.members(group["id"]) == {otto, uma}
    # With aadOptscim062020.
    entra.patch(target, {"op": "remove", "path": f'members[value eq "{otto}"]'})
    assert entra.members(group["id"]) == {uma}
    nobody = {"op": "Remove", "path": "members", "value": [{"value": str(uuid4())}]}
    entra.patch(target, nobody)
    assert entra.members(group["id"]) == {uma}
    entra.patch(
        target, {"op": "Replace", "path": "displayName", "value": "1879db59-3bdf-4490-ad68-ab880a269474updated"}
    )
    found = entra.list(
        "Groups", 'displayName eq "1879db59-3bdf-4490-ad68-ab880a269474updated"', excludedAttributes="members"
    )
    assert [one["id"] for one in found["Resources"]] == [group["id"]]
    assert "members" not in found["Resources"][0]


def test_reference_queries(entra: Idp) -> None:
    boss = entra.post("/Users", pushed("boss"))["id"]
    anna = entra.post("/Users", pushed("anna") | {ENTERPRISE: {"manager": boss}})["id"]
    group = entra.post("/Groups", pushed_group("crew") | {"members": [{"value": anna}]})["id"]
    for kind, condition, expected in (
        ("Users", f'id eq "{anna}" and manager eq "{boss}"', [anna]),
        ("Users", f'id eq "{boss}" and manager eq "{anna}"', []),
        ("Users", f'id eq "{anna}" and {ENTERPRISE}:manager eq "{boss}"', [anna]),
        ("Groups", f'id eq "{group}" and members eq "{anna}"', [group]),
        ("Groups", f'id eq "{group}" and members eq "{boss}"', []),
    ):
        page = entra.list(kind, condition, attributes="id")
        assert [one["id"] for one in page["Resources"]] == expected, condition
        for one in page["Resources"]:
            assert one.keys() <= {"id", "schemas"}


def test_manager_is_always_complex_in_answers(entra: Idp) -> None:
    boss = entra.post("/Users", pushed("boss"))["id"]
    for manager in (boss, {"value": boss}, [{"value": boss}]):
        made = entra.post("/Users", pushed(uuid4().hex) | {ENTERPRISE: {"manager": manager}})
        assert made[ENTERPRISE]["manager"]["value"] == boss
        assert isinstance(made[ENTERPRISE]["manager"], dict)


def test_app_roles_as_the_tenant_sends_them(entra: Idp) -> None:
    target = f"/Users/{entra.post('/Users', pushed())['id']}"
    admin = {"primary": True, "type": "WindowsAzureActiveDirectoryRole", "value": "Admin", "display": "Admin"}
    entra.patch(
        target, {"op": "Add", "path": "roles", "value": [{**admin, "id": str(uuid4()), "displayName": "Admin"}]}
    )
    assert [one["value"] for one in entra.get(target)["roles"]] == ["Admin"]
    changed = entra.patch(target, {"op": "Replace", "path": 'roles[primary eq "True"].value', "value": "User"})
    assert [one["value"] for one in changed["roles"]] == ["User"]


def test_groups_are_unique_by_name(entra: Idp) -> None:
    entra.post("/Groups", pushed_group("crew"))
    assert entra.send("POST", "/Groups", pushed_group("CREW")).error == (409, "uniqueness")
