"""OneLogin, Ping, JumpCloud, Rippling and Google, as far as anything is known of what they send (shared/scim.md C)."""

import json
from uuid import uuid4

import pytest

from tests.conformance.client import ENTERPRISE, GROUP, PATCH_OP, USER, Idp, Json
from tests.conformance.conftest import NewIdp

DRAFT = ["urn:scim:schemas:core:2.0", "urn:scim:schemas:extension:enterprise:2.0"]


@pytest.fixture
def onelogin(new_idp: NewIdp) -> Idp:
    # goauthentik/authentik#11249: it sends an empty User-Agent.
    idp = new_idp("onelogin")
    idp.user_agent = ""
    return idp


def test_onelogin_tests_with_plus_and_a_trailing_ampersand(onelogin: Idp) -> None:
    assert onelogin.get("/Users?filter=userName+eq+%22x%22&")["totalResults"] == 0
    onelogin.user("x")
    assert onelogin.get("/Users?filter=userName+eq+%22x%22&")["totalResults"] == 1


def test_onelogin_pushes_a_user_under_the_draft_schemas(onelogin: Idp) -> None:
    body: Json = {
        "schemas": DRAFT,
        "userName": "ada@example.com",
        "name": {"givenName": "Ada", "familyName": "L"},
        "emails": [{"primary": True, "type": "work", "value": "ada@example.com"}],
        "active": True,
        "department": "Maths",
    }
    made = onelogin.post("/Users", body)
    assert made["schemas"][0] == USER
    assert not set(made["schemas"]) & set(DRAFT)
    # A trailing "?" without a query.
    changed = onelogin.put(f"/Users/{made['id']}?", {**body, "active": False})
    assert (changed["active"], changed["schemas"][0]) == (False, USER)
    onelogin.delete(f"/Users/{made['id']}")


def test_onelogin_adds_a_member_in_165_bytes(onelogin: Idp) -> None:
    user, group = onelogin.user()["id"], onelogin.group("Crew")["id"]
    member = {"op": "add", "path": "members", "value": [{"value": user}]}
    body = json.dumps({"schemas": [PATCH_OP], "Operations": [member]}, separators=(",", ":"))
    assert len(body) == 165
    assert onelogin.send("PATCH", f"/Groups/{group}", body).status in (200, 204)
    assert onelogin.members(group) == {user}
    assert onelogin.get("/Groups")["totalResults"] == 1


def test_onelogin_matches_groups_by_name(onelogin: Idp) -> None:
    onelogin.group("Crew")
    assert onelogin.send("POST", "/Groups", {"schemas": [GROUP], "displayName": "crew"}).error == (409, "uniqueness")


def test_ping_federate_looks_up_by_mail_without_a_sub_attribute(new_idp: NewIdp) -> None:
    ping = new_idp("ping")
    made = ping.user("joe", emails=[{"type": "work", "value": "joe@example.com"}])
    for condition in ('emails eq "joe@example.com"', 'emails eq "JOE@example.com"', 'userName eq "joe"'):
        assert [one["id"] for one in ping.list("Users", condition)["Resources"]] == [made["id"]], condition
    assert ping.list("Users", 'emails eq "other@example.com"')["totalResults"] == 0


def test_ping_federate_updates_by_put_in_plain_json(new_idp: NewIdp) -> None:
    ping = new_idp("ping")
    headers = {"Content_Type": "application/json", "Accept": "application/json"}
    made = ping.post("/Users", {"schemas": [USER], "userName": "joe", "active": True}, **headers)
    disabled = ping.put(f"/Users/{made['id']}", {"schemas": [USER], "userName": "joe", "active": False}, **headers)
    assert disabled["active"] is False
    group = ping.group("Crew")
    renamed = ping.put(
        f"/Groups/{group['id']}",
        {"schemas": [GROUP], "displayName": "Team", "members": [{"value": made["id"]}]},
        **headers,
    )
    assert renamed["displayName"] == "Team"
    assert ping.members(group["id"]) == {made["id"]}
    ping.delete(f"/Users/{made['id']}")
    assert ping.members(group["id"]) == set()


def test_jumpcloud_activation_makes_and_deletes_a_test_user_and_group(new_idp: NewIdp) -> None:
    jumpcloud = new_idp("jumpcloud")
    user = jumpcloud.user(f"jumpcloud-test-{uuid4().hex[:8]}", name={"givenName": "Test", "familyName": "User"})
    group = jumpcloud.group("JumpCloud Test Group", user["id"])
    assert jumpcloud.put(f"/Users/{user['id']}", {**user, "displayName": "Test"})["displayName"] == "Test"
    jumpcloud.delete(f"/Users/{user['id']}")
    jumpcloud.delete(f"/Groups/{group['id']}")
    assert jumpcloud.list("Users")["totalResults"] == jumpcloud.list("Groups")["totalResults"] == 0


def test_jumpcloud_repeats_adds_and_removes_by_value_array(new_idp: NewIdp) -> None:
    jumpcloud = new_idp("jumpcloud")
    anna, otto = jumpcloud.user()["id"], jumpcloud.user()["id"]
    group = jumpcloud.group("Crew")["id"]
    for _ in range(3):
        jumpcloud.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": anna}]})
    jumpcloud.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": otto}]})
    assert jumpcloud.members(group) == {anna, otto}
    jumpcloud.patch(f"/Groups/{group}", {"op": "remove", "path": "members", "value": [{"value": anna}]})
    assert jumpcloud.members(group) == {otto}
    renamed = jumpcloud.patch(f"/Groups/{group}", {"op": "replace", "value": {"displayName": "Team"}})
    assert renamed["displayName"] == "Team"


def test_rippling_probes_the_configuration_and_retries_creates(new_idp: NewIdp) -> None:
    rippling = new_idp("rippling")
    config = rippling.get("/ServiceProviderConfig")
    assert config["patch"]["supported"] is True
    body = {
        "schemas": [USER, ENTERPRISE],
        "userName": "remy@example.com",
        "externalId": "rippling-7",
        "name": {"givenName": "Remy", "familyName": "R"},
        "emails": [{"value": "remy@example.com", "primary": True}],
        ENTERPRISE: {"employeeNumber": "7"},
    }
    made = rippling.post("/Users", body)
    assert rippling.send("POST", "/Users", body).error == (409, "uniqueness")
    assert rippling.list("Users", 'externalId eq "rippling-7"')["Resources"] == [made]
    for value in ({"name": {"givenName": "Remi"}}, {"active": False}):
        changed = rippling.patch(f"/Users/{made['id']}", {"op": "replace", "value": value})
        assert changed["name"]["familyName"] == "R"
    assert (changed["name"]["givenName"], changed["active"]) == ("Remi", False)


def test_google_probes_one_user_then_suspends_and_deletes(new_idp: NewIdp) -> None:
    google = new_idp("google")
    assert google.get("/Users?count=1")["Resources"] == []
    made = google.user("gus@example.com", emails=[{"value": "gus@example.com", "primary": True}])
    assert len(google.get("/Users?count=1")["Resources"]) == 1
    google.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": False})
    assert google.get(f"/Users/{made['id']}")["active"] is False
    google.delete(f"/Users/{made['id']}")
    assert google.get("/Users?count=1")["totalResults"] == 0
