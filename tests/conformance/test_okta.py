"""Okta, as its SCIM 2.0 reference describes the requests and as threads show them (shared/scim.md section C).

Sources: okta-developer-docs reference/scim/scim-20 (test, match, create, update, deactivate, group push);
scimgateway#95 (``display: null``); SCIM-SDK#757 (a push that empties a group).
"""

from uuid import uuid4

import pytest

from tests.conformance.client import GROUP, LIST, PATCH_OP, USER, Idp, Json
from tests.conformance.conftest import NewIdp

PUSHED: Json = {
    "schemas": [USER],
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


@pytest.fixture
def okta(new_idp: NewIdp) -> Idp:
    idp = new_idp("okta")
    idp.user_agent = "Okta SCIM Client 1.0.0"
    return idp


def find(okta: Idp, name: str) -> list[Json]:
    """Look a user up as Okta does before it creates one."""
    page = okta.get(f"/Users?filter=userName%20eq%20%22{name.replace('@', '%40')}%22&startIndex=1&count=100")
    assert page["schemas"] == [LIST]
    assert page["totalResults"] == len(page["Resources"]) == page["itemsPerPage"]
    assert page["startIndex"] == 1
    found: list[Json] = page["Resources"]
    return found


def test_connection_test_wants_integers_and_resources(okta: Idp) -> None:
    page = okta.get("/Users?count=1&startIndex=1")
    assert page["Resources"] == []
    okta.post("/Users", PUSHED)
    page = okta.get("/Users?count=1&startIndex=1")
    for name in ("totalResults", "startIndex", "itemsPerPage"):
        assert type(page[name]) is int
    first = page["Resources"][0]
    assert first["name"]["familyName"]
    assert first["emails"][0]["value"]
    assert first["active"] is True


def test_match_then_create_then_duplicate(okta: Idp) -> None:
    assert find(okta, PUSHED["userName"]) == []
    made = okta.post("/Users", PUSHED, Accept="application/scim+json; charset=utf-8", Accept_Charset="utf-8")
    assert made["id"]
    assert made["externalId"] == PUSHED["externalId"]
    assert "password" not in made
    assert find(okta, PUSHED["userName"].upper()) == [made]
    assert okta.send("POST", "/Users", PUSHED).error == (409, "uniqueness")


def test_update_is_get_then_put_of_the_whole_profile(okta: Idp) -> None:
    made = okta.post("/Users", PUSHED)
    read = okta.get(f"/Users/{made['id']}")
    read["name"]["givenName"] = "Another"
    body = {**read, "groups": [], "meta": {"resourceType": "User", **read["meta"]}}
    changed = okta.put(f"/Users/{made['id']}", body)
    assert changed["name"] == {"givenName": "Another", "familyName": "User"}
    assert changed["meta"]["created"] == made["meta"]["created"]


def test_custom_apps_deactivate_by_put(okta: Idp) -> None:
    made = okta.post("/Users", PUSHED)
    okta.put(f"/Users/{made['id']}", {**made, "active": False})
    assert okta.get(f"/Users/{made['id']}")["active"] is False
    assert find(okta, PUSHED["userName"])[0]["active"] is False
    okta.put(f"/Users/{made['id']}", {**made, "active": True})
    assert okta.get(f"/Users/{made['id']}")["active"] is True


def test_catalogue_apps_patch_active_and_password_without_a_path(okta: Idp) -> None:
    made = okta.post("/Users", PUSHED)
    for value in ({"active": False}, {"active": True}, {"password": "n3w-p4ssw0rd"}):
        answer = okta.patch(f"/Users/{made['id']}", {"op": "replace", "value": value})
        assert "password" not in answer
        assert answer["active"] is value.get("active", True)


def test_group_push(okta: Idp) -> None:
    anna, otto = okta.user("anna@okta.local")["id"], okta.user("otto@okta.local")["id"]
    assert okta.list("Groups", 'displayName eq "Test SCIMv2"')["totalResults"] == 0
    made = okta.post("/Groups", {"schemas": [GROUP], "displayName": "Test SCIMv2", "members": []})
    target = f"/Groups/{made['id']}"
    renamed = {"op": "replace", "value": {"id": made["id"], "displayName": "Test SCIMv2 (renamed)"}}
    assert okta.patch(target, renamed)["displayName"] == "Test SCIMv2 (renamed)"
    # A change of members comes with the name again.
    okta.patch(
        target,
        renamed,
        {"op": "add", "path": "members", "value": [{"value": anna, "display": "anna@okta.local"}]},
    )
    assert okta.members(made["id"]) == {anna}
    okta.patch(
        target,
        {"op": "remove", "path": f'members[value eq "{anna}"]'},
        {"op": "add", "path": "members", "value": [{"value": otto, "display": "otto@okta.local"}]},
    )
    assert okta.members(made["id"]) == {otto}
    okta.patch(target, {"op": "replace", "path": "members", "value": [{"value": anna}, {"value": otto}]})
    assert okta.members(made["id"]) == {anna, otto}
    okta.delete(target)
    assert okta.list("Groups", 'displayName eq "Test SCIMv2 (renamed)"')["totalResults"] == 0
    assert okta.get(f"/Users/{anna}")["userName"] == "anna@okta.local"


def test_push_of_a_group_that_has_become_empty(okta: Idp) -> None:
    group = okta.group("Empty", okta.user()["id"])
    answer = okta.send(
        "PATCH",
        f"/Groups/{group['id']}",
        {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": "members", "value": []}]},
    )
    assert answer.status in (200, 204)
    assert okta.members(group["id"]) == set()


def test_custom_apps_put_groups_with_display_null(okta: Idp) -> None:
    anna, otto = okta.user()["id"], okta.user()["id"]
    group = okta.group("Team", anna)
    body: Json = {"schemas": [GROUP], "id": group["id"], "displayName": "Team"}
    okta.put(f"/Groups/{group['id']}", body | {"members": [{"value": otto, "display": None}]})
    assert okta.members(group["id"]) == {otto}
    okta.put(f"/Groups/{group['id']}", body | {"members": []})
    assert okta.members(group["id"]) == set()


def test_import_pages_in_a_stable_order(okta: Idp) -> None:
    made = [okta.user(f"import{number:02}@okta.local")["id"] for number in range(12)]
    pages = [okta.get(f"/Users?startIndex={start}&count=5")["Resources"] for start in (1, 6, 11)]
    assert [one["id"] for page in pages for one in page] == made


def test_a_user_that_is_not_there(okta: Idp) -> None:
    assert okta.send("GET", "/Users/010101001010101011001010101011").error == (404, None)
    assert okta.send("GET", f"/Groups/{uuid4()}").error == (404, None)
