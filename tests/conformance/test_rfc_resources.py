"""RFC 7643 section 8 and RFC 7644 sections 3.3 to 3.6, 3.9, 3.12 and 4: their examples, over HTTP."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.client import ENTERPRISE, ERROR, GROUP, LIST, SCIM_TYPE, USER, Idp, Json

BARBARA: Json = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
    "userName": "bjensen",
    "externalId": "bjensen",
    "name": {"formatted": "Ms. Barbara J Jensen III", "familyName": "Jensen", "givenName": "Barbara"},
}
# RFC 7643 section 8.3, with what only a server may say (id, meta, groups) left out.
ENTERPRISE_USER: Json = {
    "schemas": [
        "urn:ietf:params:scim:schemas:core:2.0:User",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    ],
    "externalId": "701984",
    "userName": "bjensen@example.com",
    "name": {
        "formatted": "Ms. Barbara J Jensen, III",
        "familyName": "Jensen",
        "givenName": "Barbara",
        "middleName": "Jane",
        "honorificPrefix": "Ms.",
        "honorificSuffix": "III",
    },
    "displayName": "Babs Jensen",
    "nickName": "Babs",
    "profileUrl": "https://login.example.com/bjensen",
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "addresses": [
        {
            "streetAddress": "100 Universal City Plaza",
            "locality": "Hollywood",
            "region": "CA",
            "postalCode": "91608",
            "country": "USA",
            "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA",
            "type": "work",
            "primary": True,
        },
        {
            "streetAddress": "456 Hollywood Blvd",
            "locality": "Hollywood",
            "region": "CA",
            "postalCode": "91608",
            "country": "USA",
            "formatted": "456 Hollywood Blvd\nHollywood, CA 91608 USA",
            "type": "home",
        },
    ],
    "phoneNumbers": [{"value": "555-555-5555", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
    "ims": [{"value": "someaimhandle", "type": "aim"}],
    "photos": [
        {"value": "https://photos.example.com/profilephoto/72930000000Ccne/F", "type": "photo"},
        {"value": "https://photos.example.com/profilephoto/72930000000Ccne/T", "type": "thumbnail"},
    ],
    "userType": "Employee",
    "title": "Tour Guide",
    "preferredLanguage": "en-US",
    "locale": "en-US",
    "timezone": "America/Los_Angeles",
    "active": True,
    "x509Certificates": [
        {"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVMx"},
    ],
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
        "employeeNumber": "701984",
        "costCenter": "4130",
        "organization": "Universal Studios",
        "division": "Theme Park",
        "department": "Tour Operations",
    },
}


def test_minimal_user_7643_8_1(idp: Idp) -> None:
    made = idp.post("/Users", {"schemas": [USER], "userName": "bjensen@example.com"})
    assert made["schemas"] == [USER]
    assert made["userName"] == "bjensen@example.com"
    assert made["meta"].keys() == {"resourceType", "created", "lastModified", "version", "location"}
    assert made["meta"]["resourceType"] == "User"
    assert made["meta"]["created"] == made["meta"]["lastModified"]
    assert made["meta"]["version"].startswith('W/"')
    assert idp.get(f"/Users/{made['id']}") == made


def test_enterprise_user_7643_8_3(idp: Idp) -> None:
    boss = idp.user("jsmith", displayName="John Smith")
    body = {**ENTERPRISE_USER, "password": "t1meMa$heen"}
    manager = {
        "value": boss["id"],
        "$ref": "../Users/26118915-6090-4610-87e4-49d8ca9f808d",
        "displayName": "John Smith",
    }
    body[ENTERPRISE] = {**ENTERPRISE_USER[ENTERPRISE], "manager": manager}
    made = idp.post("/Users", body)
    stored = idp.get(f"/Users/{made['id']}")
    assert stored == made
    for name, value in ENTERPRISE_USER.items():
        if name not in ("schemas", ENTERPRISE):
            assert stored[name] == value, name
    assert set(stored["schemas"]) == {USER, ENTERPRISE}
    assert stored[ENTERPRISE].items() >= ENTERPRISE_USER[ENTERPRISE].items()
    assert stored[ENTERPRISE]["manager"]["value"] == boss["id"]
    assert "password" not in stored


def test_group_7643_8_4(idp: Idp) -> None:
    people = [idp.user("bjensen", displayName="Babs Jensen"), idp.user("mpepperidge", displayName="Mandy Pepperidge")]
    members = [
        {"value": one["id"], "$ref": one["meta"]["location"], "display": one["displayName"], "type": "User"}
        for one in people
    ]
    made = idp.post("/Groups", {"schemas": [GROUP], "displayName": "Tour Guides", "members": members})
    stored = idp.get(f"/Groups/{made['id']}")
    assert stored["displayName"] == "Tour Guides"
    assert sorted(stored["members"], key=str) == sorted(members, key=str)
    assert stored["meta"]["resourceType"] == "Group"


def test_create_7644_3_3(idp: Idp) -> None:
    answer = idp.send("POST", "/Users", BARBARA, Accept=SCIM_TYPE)
    assert answer.status == 201
    made = answer.json
    assert answer.headers["Location"] == made["meta"]["location"] == f"{idp.base}/Users/{made['id']}"
    assert {name: made[name] for name in BARBARA} == BARBARA
    assert answer.etag == made["meta"]["version"]


def test_create_a_second_time_is_uniqueness_7644_3_3(idp: Idp) -> None:
    idp.post("/Users", BARBARA)
    assert idp.send("POST", "/Users", {**BARBARA, "userName": "BJensen"}).error == (409, "uniqueness")


def test_read_with_attributes_7644_3_9(idp: Idp) -> None:
    made = idp.post("/Users", ENTERPRISE_USER)
    seen = idp.get(f"/Users/{made['id']}?attributes=userName")
    assert seen == {"schemas": seen["schemas"], "id": made["id"], "userName": "bjensen@example.com"}
    assert "emails" not in idp.get(f"/Users/{made['id']}?excludedAttributes=emails")


# Fixed, since names of tests must be the same in every process.
NOBODY = "01890000-0000-7000-8000-00000000dead"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("name.familyName", {"name": {"familyName": "Jensen"}}),
        ("emails.value", {"emails": [{"value": "bjensen@example.com"}, {"value": "babs@jensen.org"}]}),
        ("USERNAME,nickname", {"userName": "bjensen@example.com", "nickName": "Babs"}),
        (f"{USER}:userName", {"userName": "bjensen@example.com"}),
        (f"{ENTERPRISE}:department", {ENTERPRISE: {"department": "Tour Operations"}}),
        (ENTERPRISE, {ENTERPRISE: ENTERPRISE_USER[ENTERPRISE]}),
        ("password", {}),
    ],
)
def test_what_attributes_names_is_all_there_is(idp: Idp, attributes: str, expected: Json) -> None:
    made = idp.post("/Users", ENTERPRISE_USER)
    seen = idp.get(f"/Users/{made['id']}?attributes={attributes}")
    assert {name: value for name, value in seen.items() if name not in ("schemas", "id")} == expected
    in_list = idp.list("Users", attributes=attributes)["Resources"][0]
    assert {name: value for name, value in in_list.items() if name not in ("schemas", "id")} == expected


def test_projection_of_a_write_7644_3_9(idp: Idp) -> None:
    made = idp.post("/Users?attributes=userName", ENTERPRISE_USER)
    assert made.keys() == {"schemas", "id", "userName"}
    path = f"/Users/{made['id']}?excludedAttributes=name,emails,addresses"
    assert "name" not in idp.put(path, {**ENTERPRISE_USER, "title": "Guide"})
    changed = idp.patch(f"/Users/{made['id']}?attributes=title", {"op": "replace", "path": "title", "value": "Boss"})
    assert {name: value for name, value in changed.items() if name not in ("schemas", "id")} == {"title": "Boss"}


def test_id_and_schemas_cannot_be_excluded_7643_7(idp: Idp) -> None:
    made = idp.post("/Users", BARBARA)
    seen = idp.get(f"/Users/{made['id']}?excludedAttributes=id,schemas,userName,externalId,name,meta,active")
    assert seen == {"schemas": [USER], "id": made["id"]}


def test_replace_7644_3_5_1(idp: Idp) -> None:
    made = idp.post("/Users", {**BARBARA, "nickName": "Babs"})
    body = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": made["id"],
        "userName": "bjensen",
        "externalId": "bjensen",
        "name": {
            "formatted": "Ms. Barbara J Jensen III",
            "familyName": "Jensen",
            "givenName": "Barbara",
            "middleName": "Jane",
        },
        "roles": [],
        "emails": [{"value": "bjensen@example.com"}, {"value": "babs@jensen.org"}],
    }
    answer = idp.send("PUT", f"/Users/{made['id']}", body)
    replaced = answer.ok()
    assert replaced["emails"] == body["emails"]
    assert replaced["name"] == body["name"]
    assert "roles" not in replaced
    assert "nickName" not in replaced
    assert replaced["meta"]["created"] == made["meta"]["created"]
    assert replaced["meta"]["version"] != made["meta"]["version"]


def test_put_does_not_create_7644_3_5_1(idp: Idp) -> None:
    assert idp.send("PUT", f"/Users/{uuid4()}", BARBARA).error == (404, None)


def test_delete_7644_3_6(idp: Idp) -> None:
    made = idp.post("/Users", BARBARA)
    idp.delete(f"/Users/{made['id']}")
    answer = idp.send("GET", f"/Users/{made['id']}")
    assert answer.error == (404, None)
    assert answer.json["schemas"] == [ERROR]
    for method, body in (("DELETE", None), ("PUT", BARBARA), ("PATCH", {"Operations": []})):
        assert idp.send(method, f"/Users/{made['id']}", body).status == 404, method
    assert idp.list("Users", 'userName eq "bjensen"')["totalResults"] == 0
    assert idp.post("/Users", BARBARA)["id"] != made["id"]


def test_a_deleted_member_is_gone_from_its_groups(idp: Idp) -> None:
    leaver, stayer = idp.user()["id"], idp.user()["id"]
    group = idp.group("Tour Guides", leaver, stayer)["id"]
    idp.delete(f"/Users/{leaver}")
    assert idp.members(group) == {stayer}


def test_groups_of_a_user_are_read_only_7643_4_1_2(idp: Idp) -> None:
    user = idp.user("bjensen", groups=[{"value": str(uuid4())}])
    assert "groups" not in user
    inner = idp.group("Tour Guides", user["id"])
    outer = idp.group("Employees", inner["id"])
    expected = [
        {"value": inner["id"], "$ref": inner["meta"]["location"], "display": "Tour Guides", "type": "direct"},
        {"value": outer["id"], "$ref": outer["meta"]["location"], "display": "Employees", "type": "indirect"},
    ]
    assert idp.get(f"/Users/{user['id']}")["groups"] == expected
    again = idp.put(f"/Users/{user['id']}", {**user, "groups": []})
    assert again["groups"] == expected
    explicit = {"op": "replace", "path": "groups", "value": []}
    assert idp.try_patch(f"/Users/{user['id']}", explicit).error == (400, "mutability")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/Users/2819c223-7f76-453a-919d-413861904646", 404),
        ("GET", "/Users/not-an-id", 404),
        ("GET", f"/{NOBODY}", 404),
        ("GET", "/Schemas/urn:nobody:knows", 404),
        ("GET", "/ResourceTypes/Device", 404),
        ("POST", "/ServiceProviderConfig", 405),
        ("PUT", "/Schemas", 405),
        ("PATCH", "/ResourceTypes", 405),
        ("DELETE", f"/Schemas/{USER}", 405),
        ("PATCH", "/Users", 405),
        ("POST", f"/Groups/{NOBODY}", 405),
        ("GET", "/Bulk", 405),
        ("GET", "/.search", 405),
    ],
)
def test_errors_of_the_router_are_scim_errors_7644_3_12(idp: Idp, method: str, target: str, status: int) -> None:
    answer = idp.send(method, target, {} if method in ("POST", "PUT", "PATCH") else None)
    assert answer.error == (status, None)
    if status == 405:
        assert answer.headers["Allow"]


@pytest.mark.parametrize("token", ["", "non-token", "Basic YWJjOmRlZg==", "Bearer nobody"])
def test_without_a_good_token_everything_is_401(idp: Idp, token: str) -> None:
    for method, target in (("GET", "/Users"), ("GET", "/ServiceProviderConfig"), ("POST", "/Schemas"), ("GET", "/x")):
        answer = idp.send(method, target, Authorization=token)
        assert answer.error == (401, None)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("target", ["/Me"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
def test_me_is_an_honest_501_7644_3_11(idp: Idp, method: str, target: str) -> None:
    assert idp.send(method, target, {} if method in ("POST", "PUT", "PATCH") else None).status == 501


def test_discovery_7644_4(idp: Idp) -> None:
    config = idp.get("/ServiceProviderConfig")
    assert {name: config[name]["supported"] for name in ("patch", "bulk", "filter", "sort", "etag")} == dict.fromkeys(
        ("patch", "bulk", "filter", "sort", "etag"), True
    )
    assert config["changePassword"] == {"supported": False}
    assert (config["bulk"]["maxOperations"], config["bulk"]["maxPayloadSize"]) == (1000, 2_097_152)
    assert config["authenticationSchemes"][0]["type"] == "oauthbearertoken"
    assert config["meta"]["resourceType"] == "ServiceProviderConfig"
    types = idp.get("/ResourceTypes")
    assert types["schemas"] == [LIST]
    assert [(one["id"], one["endpoint"]) for one in types["Resources"]] == [("User", "/Users"), ("Group", "/Groups")]
    for one in types["Resources"]:
        assert idp.get(f"/ResourceTypes/{one['id']}") == one
    schemas = idp.get("/Schemas")
    assert {one["id"] for one in schemas["Resources"]} == {USER, GROUP, ENTERPRISE}
    assert schemas["totalResults"] == 3
    for one in schemas["Resources"]:
        assert idp.get(f"/Schemas/{one['id']}") == one


def test_every_attribute_that_is_answered_is_advertised(idp: Idp) -> None:
    boss = idp.user()
    user = idp.post("/Users", {**ENTERPRISE_USER, "manager": boss["id"]})
    idp.group("Tour Guides", user["id"])
    schemas = {one["id"]: one for one in idp.get("/Schemas")["Resources"]}
    stored = idp.get(f"/Users/{user['id']}")
    _all_known({name: value for name, value in stored.items() if name != ENTERPRISE}, schemas[USER])
    _all_known(stored[ENTERPRISE], schemas[ENTERPRISE])


def _all_known(values: Json, schema: Json) -> None:
    known: dict[str, Any] = {one["name"]: one for one in schema["attributes"]}
    for name in values.keys() - {"schemas", "id", "externalId", "meta"}:
        assert name in known
        subs = {one["name"] for one in known[name].get("subAttributes", [])}
        for element in values[name] if isinstance(values[name], list) else [values[name]]:
            if isinstance(element, dict):
                assert element.keys() <= subs, name
