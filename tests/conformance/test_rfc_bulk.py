"""RFC 7644 section 3.7: bulk, with the examples of 3.7.1 (circles), 3.7.2 (bulkId), 3.7.3 (several), 3.7.4 (limits)."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.client import BULK, BULK_RESPONSE, ENTERPRISE, GROUP, PATCH_OP, USER, Idp, Json


def bulk(idp: Idp, *operations: Json, **more: Any) -> list[Json]:
    """Send a BulkRequest and return the results; the answer must be a 200 BulkResponse."""
    answer = idp.send("POST", "/Bulk", {"schemas": [BULK], **more, "Operations": list(operations)}).ok()
    assert answer["schemas"] == [BULK_RESPONSE]
    for result in answer["Operations"]:
        assert isinstance(result["status"], str)
        assert result.get("response", {}).get("status", result["status"]) == result["status"]
    results: list[Json] = answer["Operations"]
    return results


def create(kind: str, bulk_id: str, **attributes: Any) -> Json:
    schema = {"Users": USER, "Groups": GROUP}[kind]
    return {"method": "POST", "path": f"/{kind}", "bulkId": bulk_id, "data": {"schemas": [schema], **attributes}}


def id_of(result: Json) -> str:
    return str(result["location"].rpartition("/")[2])


def test_group_with_a_new_user_3_7_2(idp: Idp) -> None:
    user, group = bulk(
        idp,
        {
            "method": "POST",
            "path": "/Users",
            "bulkId": "qwerty",
            "data": {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "Alice"},
        },
        {
            "method": "POST",
            "path": "/Groups",
            "bulkId": "ytrewq",
            "data": {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                "displayName": "Tour Guides",
                "members": [{"type": "User", "value": "bulkId:qwerty"}],
            },
        },
    )
    assert (user["bulkId"], user["method"], user["status"]) == ("qwerty", "POST", "201")
    assert (group["bulkId"], group["method"], group["status"]) == ("ytrewq", "POST", "201")
    assert user["location"] == f"{idp.base}/Users/{id_of(user)}"
    assert user["version"].startswith('W/"')
    stored = idp.get(f"/Groups/{id_of(group)}")
    assert [(one["value"], one["type"]) for one in stored["members"]] == [(id_of(user), "User")]
    assert stored["members"][0]["$ref"] == user["location"]


def test_manager_who_is_new_too_3_7_2(idp: Idp) -> None:
    alice, bob = bulk(
        idp,
        create("Users", "qwerty", userName="Alice"),
        {
            "method": "POST",
            "path": "/Users",
            "bulkId": "ytrewq",
            "data": {
                "schemas": [
                    "urn:ietf:params:scim:schemas:core:2.0:User",
                    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
                ],
                "userName": "Bob",
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
                    "employeeNumber": "11250",
                    "manager": {"value": "bulkId:qwerty"},
                },
            },
        },
    )
    assert (alice["status"], bob["status"]) == ("201", "201")
    assert idp.get(f"/Users/{id_of(bob)}")[ENTERPRISE]["manager"]["value"] == id_of(alice)


def test_circle_of_groups_3_7_1(idp: Idp) -> None:
    first, second = bulk(
        idp,
        create("Groups", "qwerty", displayName="Group A", members=[{"type": "Group", "value": "bulkId:ytrewq"}]),
        create("Groups", "ytrewq", displayName="Group B", members=[{"type": "Group", "value": "bulkId:qwerty"}]),
    )
    assert (first["status"], second["status"]) == ("201", "201")
    assert idp.members(id_of(first)) == {id_of(second)}
    assert idp.members(id_of(second)) == {id_of(first)}
    assert idp.get(f"/Groups/{id_of(first)}")["members"][0]["type"] == "Group"


def test_forward_reference(idp: Idp) -> None:
    group, user = bulk(
        idp,
        create("Groups", "g", displayName="Tour Guides", members=[{"value": "bulkId:u"}]),
        create("Users", "u", userName="Alice"),
    )
    assert idp.members(id_of(group)) == {id_of(user)}


def test_bulk_id_in_a_path(idp: Idp) -> None:
    _, patched = bulk(
        idp,
        create("Users", "u", userName="Alice"),
        {
            "method": "PATCH",
            "path": "/Users/bulkId:u",
            "data": {"schemas": [PATCH_OP], "Operations": [{"op": "add", "path": "title", "value": "Guide"}]},
        },
    )
    assert patched["status"] == "200"
    assert idp.names('title eq "Guide"') == {"Alice"}


def test_several_operations_3_7_3(idp: Idp) -> None:
    bob, dave, gone = idp.user("bob.old"), idp.user("dave.old", nickName="Davy"), idp.user("gone")
    results = bulk(
        idp,
        create("Users", "qwerty", userName="Alice"),
        {
            "method": "PUT",
            "path": f"/Users/{bob['id']}",
            "version": bob["meta"]["version"],
            "data": {"schemas": [USER], "id": bob["id"], "userName": "Bob"},
        },
        {
            "method": "PATCH",
            "path": f"/Users/{dave['id']}",
            "version": dave["meta"]["version"],
            "data": {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [
                    {"op": "remove", "path": "nickName"},
                    {"op": "add", "path": "userName", "value": "Dave"},
                ],
            },
        },
        {"method": "DELETE", "path": f"/Users/{gone['id']}", "version": gone["meta"]["version"]},
        failOnErrors=1,
    )
    assert [one["status"] for one in results] == ["201", "200", "200", "204"]
    assert [one["method"] for one in results] == ["POST", "PUT", "PATCH", "DELETE"]
    assert results[1]["location"] == bob["meta"]["location"]
    assert results[1]["version"] == idp.get(f"/Users/{bob['id']}")["meta"]["version"] != bob["meta"]["version"]
    assert idp.names("userName pr") == {"Alice", "Bob", "Dave"}
    assert "nickName" not in idp.get(f"/Users/{dave['id']}")


def test_an_old_version_is_412(idp: Idp) -> None:
    user = idp.user("bob")
    idp.patch(f"/Users/{user['id']}", {"op": "add", "path": "title", "value": "x"})
    (result,) = bulk(idp, {"method": "DELETE", "path": f"/Users/{user['id']}", "version": user["meta"]["version"]})
    assert result["status"] == "412"
    assert idp.names("userName pr") == {"bob"}


def test_errors_do_not_stop_the_others(idp: Idp) -> None:
    idp.user("Taken")
    results = bulk(
        idp,
        create("Users", "a", userName="taken"),
        create("Users", "b", displayName="nobody"),
        {"method": "DELETE", "path": f"/Users/{uuid4()}"},
        create("Users", "d", userName="Alice"),
    )
    assert [one["status"] for one in results] == ["409", "400", "404", "201"]
    assert results[0]["response"]["scimType"] == "uniqueness"
    assert results[0]["bulkId"] == "a"
    assert "location" not in results[0]
    assert results[1]["response"]["detail"]
    assert idp.names("userName pr") == {"Taken", "Alice"}


@pytest.mark.parametrize(("fail_on_errors", "tried"), [(1, 2), (2, 4), (3, 5)])
def test_fail_on_errors_stops_3_7(idp: Idp, fail_on_errors: int, tried: int) -> None:
    bad = {"method": "DELETE", "path": f"/Users/{uuid4()}"}
    good = [create("Users", str(number), userName=f"user{number}") for number in range(3)]
    results = bulk(idp, good[0], bad, good[1], bad, good[2], failOnErrors=fail_on_errors)
    assert len(results) == tried
    assert idp.list("Users")["totalResults"] == sum(one["status"] == "201" for one in results)


def test_a_reference_to_what_failed_fails_too(idp: Idp) -> None:
    idp.user("taken")
    user, group = bulk(
        idp,
        create("Users", "u", userName="taken"),
        create("Groups", "g", displayName="Tour Guides", members=[{"value": "bulkId:u"}]),
    )
    assert user["status"] == "409"
    assert group["status"] in ("409", "400", "412"), group
    assert idp.list("Groups")["totalResults"] == 0


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"method": "GET", "path": "/Users"}, "405"),
        ({"method": "POST", "path": "/Users", "data": {"userName": "no bulkId"}}, "400"),
        ({"method": "POST", "path": "/Devices", "bulkId": "x", "data": {}}, "404"),
        ({"method": "PUT", "path": "/Users", "data": {}}, "400"),
        ({"method": "PUT", "path": "/Users/bulkId:nobody", "data": {"userName": "x"}}, "404"),
        ({"method": "POST", "path": "/Users", "bulkId": "x"}, "400"),
    ],
)
def test_wrong_operations_fail_alone(idp: Idp, operation: Json, status: str) -> None:
    wrong, right = bulk(idp, operation, create("Users", "ok", userName="Alice"))
    assert wrong["status"][0] == status[0] == "4", wrong
    assert right["status"] == "201"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schemas": [BULK]},
        {"schemas": [BULK], "Operations": {}},
        {"schemas": [BULK], "Operations": [7]},
        {"schemas": [BULK], "Operations": [], "failOnErrors": "some"},
        [],
    ],
)
def test_what_is_no_bulk_request(idp: Idp, body: object) -> None:
    status, scim_type = idp.send("POST", "/Bulk", body).error
    assert (status, scim_type) in ((400, "invalidSyntax"), (400, "invalidValue"))


def test_a_bulk_id_given_twice(idp: Idp) -> None:
    answer = idp.send(
        "POST",
        "/Bulk",
        {"schemas": [BULK], "Operations": [create("Users", "a", userName="x"), create("Users", "a", userName="y")]},
    )
    if answer.status == 200:
        assert "400" in [one["status"] for one in answer.json["Operations"]]
    else:
        assert answer.status == 400


def test_more_than_the_advertised_operations_is_413_3_7_4(idp: Idp) -> None:
    limit = idp.get("/ServiceProviderConfig")["bulk"]["maxOperations"]
    operations = [create("Users", str(number), userName=f"u{number}") for number in range(limit + 1)]
    answer = idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
    assert answer.error[0] == 413
    assert str(limit) in answer.json["detail"]
    assert idp.list("Users")["totalResults"] == 0


def test_more_than_the_advertised_bytes_is_413_3_7_4(idp: Idp) -> None:
    limit = idp.get("/ServiceProviderConfig")["bulk"]["maxPayloadSize"]
    operation = create("Users", "a", userName="x", displayName="y" * limit)
    answer = idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": [operation]})
    assert answer.error[0] == 413
    assert idp.list("Users")["totalResults"] == 0


def test_a_full_bulk_request(idp: Idp) -> None:
    limit = idp.get("/ServiceProviderConfig")["bulk"]["maxOperations"]
    results = bulk(idp, *(create("Users", str(number), userName=f"u{number}") for number in range(limit)))
    assert {one["status"] for one in results} == {"201"}
    assert [one["bulkId"] for one in results] == [str(number) for number in range(limit)]
    assert idp.list("Users", count=0)["totalResults"] == limit
