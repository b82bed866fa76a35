"""The bulk planner by rule: what is refused, what refers to what, and in which order."""

from typing import Any

import pytest

from control_plane.scim import bulk
from control_plane.scim.bulk import BulkOperation
from control_plane.scim.errors import InvalidSyntax, InvalidValue, PayloadTooLarge, ScimError
from control_plane.scim.limits import MAX_BULK_OPERATIONS

ID = "2819c223-7f76-453a-919d-413861904646"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def user(bulk_id: str, **data: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": {"userName": bulk_id, **data}}


def group(bulk_id: str, *members: str, **data: Any) -> dict[str, Any]:
    body = {"displayName": bulk_id, "members": [{"value": f"bulkId:{one}"} for one in members], **data}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": body}


def patch(path: str, *operations: dict[str, Any]) -> dict[str, Any]:
    return {"method": "PATCH", "path": path, "data": {"Operations": list(operations)}}


def delete(path: str) -> dict[str, Any]:
    return {"method": "DELETE", "path": path}


def report(bulk_id: str, manager: str) -> dict[str, Any]:
    return user(bulk_id, **{ENTERPRISE: {"manager": {"value": f"bulkId:{manager}"}}})


def planned(*operations: Any, **fields: Any) -> bulk.Plan:
    return bulk.plan({"Operations": list(operations), **fields})


def only(operation: Any) -> BulkOperation:
    return planned(operation).operations[0]


def test_an_operation_is_read_whole() -> None:
    found = only({"method": "PUT", "path": f"/Users/{ID}", "version": 'W/"3"', "bulkId": "b", "data": {"x": 1}})
    assert (found.method, found.type_name, found.id, found.if_match) == ("PUT", "User", ID, 'W/"3"')
    assert (found.bulk_id, found.data, found.error) == ("b", {"x": 1}, None)


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_a_method_is_taken_in_any_case(method: str) -> None:
    assert only({**user("a"), "method": method}).method == "POST"


def test_names_are_taken_in_any_case_and_unknown_ones_ignored() -> None:
    body = {"operations": [{"Method": "POST", "PATH": "/Users", "BulkID": "a", "Data": {}, "note": 1}], "x": 2}
    found = bulk.plan(body).operations[0]
    assert (found.error, found.bulk_id) == (None, "a")


@pytest.mark.parametrize(
    ("path", "type_name", "id_"),
    [
        (f"/Users/{ID}", "User", ID),
        (f"Users/{ID}", "User", ID),
        (f"/users/{ID}/", "User", ID),
        ("/Groups/x", "Group", "x"),
    ],
)
def test_a_path_names_type_and_id(path: str, type_name: str, id_: str) -> None:
    found = only(delete(path))
    assert (found.type_name, found.id, found.error) == (type_name, id_, None)


@pytest.mark.parametrize(
    ("operation", "status", "said"),
    [
        ({**user("a"), "method": "GET"}, 400, '"method" must be'),
        ({**user("a"), "method": 1}, 400, '"method" must be'),
        ({**user("a"), "method": None}, 400, '"method" must be'),
        ({"method": "POST", "path": "/Users", "data": {}}, 400, "must have a bulkId"),
        ({**user("a"), "bulkId": 7}, 400, '"bulkId" must be a string'),
        ({**user("a"), "path": None}, 400, 'must have a "path"'),
        ({**user("a"), "path": 1}, 400, '"path" must be a string'),
        ({**user("a"), "path": f"/Users/{ID}"}, 400, "must be an endpoint"),
        ({**user("a"), "path": "https://example.com/v2/Users"}, 400, "must be relative"),
        ({**user("a"), "path": "//example.com/Users"}, 400, "must be relative"),
        ({**user("a"), "path": "/Devices"}, 404, "must begin with /Users or /Groups"),
        ({**user("a"), "path": "/Bulk"}, 404, "must begin with /Users or /Groups"),
        ({**user("a"), "data": None}, 400, 'must have "data"'),
        ({**user("a"), "data": []}, 400, 'must have "data"'),
        ({"method": "PUT", "path": f"/Users/{ID}"}, 400, 'must have "data"'),
        ({"method": "PATCH", "path": f"/Users/{ID}", "data": "x"}, 400, 'must have "data"'),
        ({"method": "PUT", "path": "/Users", "data": {}}, 400, "must name a resource"),
        (delete("/Users/"), 400, "must name a resource"),
        (delete("/Users/a/b"), 404, "no such User"),
        (delete("/Users/a?b=c"), 404, "no such User"),
        (delete("/Groups/" + "x" * 201), 404, "no such Group"),
        ({**delete(f"/Users/{ID}"), "version": 3}, 400, '"version" must be a string'),
        (delete("/Users/bulkId:nobody"), 409, "bulkId 'nobody'"),
        (group("a", "nobody"), 409, "bulkId 'nobody'"),
    ],
)
def test_a_wrong_operation_says_what_is_wrong_and_leaves_the_others(operation: Any, status: int, said: str) -> None:
    found = planned(user("before"), operation, user("after"))
    errors = [one.error for one in found.operations]
    assert (errors[0], errors[2]) == (None, None)
    assert errors[1] is not None
    assert (errors[1].status, said in errors[1].detail) == (status, True), errors[1].detail
    assert found.steps == ((0,), (1,), (2,))


def test_a_refused_operation_still_tells_its_bulk_id_and_method() -> None:
    found = only({"method": "options", "bulkId": "b"})
    assert (found.method, found.bulk_id) == ("OPTIONS", "b")


def test_a_bulk_id_on_two_posts_fails_both_for_nobody_knows_which_is_meant() -> None:
    found = planned(user("a"), user("a"), user("b"), {**delete(f"/Users/{ID}"), "bulkId": "b"})
    assert [one.error is None for one in found.operations] == [False, False, True, True]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, InvalidSyntax),
        ({"Operations": {}}, InvalidSyntax),
        ({"Operations": []}, InvalidSyntax),
        ({"Operations": [user("a"), "text"]}, InvalidSyntax),
        ({"Operations": [user("a")], "operations": []}, InvalidSyntax),
        ({"Operations": [{**user("a"), "METHOD": "DELETE"}]}, InvalidSyntax),
        ({"Operations": [user("a")], "failOnErrors": 0}, InvalidValue),
        ({"Operations": [user("a")], "failOnErrors": True}, InvalidValue),
        ({"Operations": [user("a")], "failOnErrors": "1"}, InvalidValue),
        ({"Operations": [delete(f"/Users/{ID}")] * (MAX_BULK_OPERATIONS + 1)}, PayloadTooLarge),
    ],
)
def test_a_request_that_is_no_bulk_request_is_refused_whole(body: dict[str, Any], refusal: type[ScimError]) -> None:
    with pytest.raises(refusal):
        bulk.plan(body)


def test_too_many_operations_are_413_and_name_the_limit() -> None:
    with pytest.raises(PayloadTooLarge, match=r"1001 operations.*maxOperations \(1000\)") as err:
        planned(*[delete(f"/Users/{ID}")] * (MAX_BULK_OPERATIONS + 1))
    assert err.value.status == 413


def test_a_tenant_may_be_allowed_fewer() -> None:
    body = {"Operations": [delete(f"/Users/{ID}")] * 3}
    assert len(bulk.plan(body, max_operations=3).operations) == 3
    with pytest.raises(PayloadTooLarge, match=r"3 operations.*maxOperations \(2\)"):
        bulk.plan(body, max_operations=2)


def test_as_many_operations_as_allowed_are_planned() -> None:
    assert len(planned(*[delete(f"/Users/{ID}")] * MAX_BULK_OPERATIONS).steps) == MAX_BULK_OPERATIONS


def test_the_bare_operations_of_a_patch_are_a_patch_op() -> None:
    bare = [{"op": "remove", "path": "nickName"}]
    assert only({"method": "PATCH", "path": f"/Users/{ID}", "data": bare}).data == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": bare,
    }


@pytest.mark.parametrize(
    ("data", "names", "after"),
    [
        ({"members": [{"value": "bulkId:x"}]}, {"x"}, {"members": [{"value": "ID-x"}]}),
        ({"members": ["bulkId:x", "bulkId:y"]}, {"x", "y"}, {"members": ["ID-x", "ID-y"]}),
        ({ENTERPRISE: {"manager": "bulkId:x"}}, {"x"}, {ENTERPRISE: {"manager": "ID-x"}}),
        ({"manager.value": "bulkId:x"}, {"x"}, {"manager.value": "ID-x"}),
        ({"$ref": "https://h/v2/Users/bulkId:x"}, {"x"}, {"$ref": "https://h/v2/Users/ID-x"}),
        ({"$REF": "../Users/bulkId:x"}, {"x"}, {"$REF": "../Users/ID-x"}),
        ({"$ref": "bulkId:x"}, {"x"}, {"$ref": "ID-x"}),
        (
            {"path": 'members[value eq "bulkId:x" or value eq "bulkId:y"]'},
            {"x", "y"},
            {"path": 'members[value eq "ID-x" or value eq "ID-y"]'},
        ),
        ({"value": "bulkId:with space/and:more"}, {"with space/and:more"}, {"value": "ID-with space/and:more"}),
        ({"title": "see bulkId:x"}, set(), {"title": "see bulkId:x"}),
        ({"title": "bulkid:x"}, set(), {"title": "bulkid:x"}),
        ({"title": "bulkId:"}, set(), {"title": "bulkId:"}),
        ({"profileUrl": "https://h/bulkId:x"}, set(), {"profileUrl": "https://h/bulkId:x"}),
        ({"bulkId:x": 1}, set(), {"bulkId:x": 1}),
    ],
)
def test_references_are_found_and_replaced(data: dict[str, Any], names: set[str], after: dict[str, Any]) -> None:
    found = only({"method": "PUT", "path": f"/Groups/{ID}", "data": data})
    assert found.references == names
    assert bulk.resolved(data, {name: f"ID-{name}" for name in names}) == after


def test_a_path_refers_to_a_creation() -> None:
    found = planned(user("x"), {"method": "PUT", "path": "/Users/bulkId:x", "data": {}}).operations[1]
    assert found.references == {"x"}
    assert bulk.resolved_id(found, {"x": "ID"}) == "ID"
    assert bulk.resolved_id(only(delete("/Users/y")), {}) == "y"


@pytest.mark.parametrize(
    ("operations", "steps"),
    [
        ([user("a"), delete(f"/Users/{ID}"), group("g", "a")], [(0,), (1,), (2,)]),
        # A creation is brought forward to the first that needs it; nothing else moves.
        ([user("a"), group("g", "b"), delete(f"/Users/{ID}"), user("b")], [(0,), (3,), (1,), (2,)]),
        ([group("g", "b", "a"), user("a"), user("b")], [(1,), (2,), (0,)]),
        ([patch("/Users/bulkId:a"), delete("/Users/bulkId:a"), user("a")], [(2,), (0,), (1,)]),
        ([report("a", "b"), report("b", "c"), user("c")], [(2,), (1,), (0,)]),
        # Circles: one step each, after what they need, before what needs them.
        ([group("a", "b"), group("b", "a")], [(0, 1)]),
        ([report("a", "b"), report("b", "c"), report("c", "a")], [(0, 1, 2)]),
        ([group("o", "a"), group("a", "b"), user("u"), group("b", "a", "u")], [(2,), (1, 3), (0,)]),
        ([group("a", "b"), group("b", "a"), group("c", "d"), group("d", "c", "a")], [(0, 1), (2, 3)]),
        # Who refers to itself is no circle.
        ([group("a", "a"), report("b", "b")], [(0,), (1,)]),
        # What will not be carried out needs nothing.
        ([group("a", "b", "nobody"), user("b")], [(0,), (1,)]),
    ],
)
def test_a_creation_comes_before_what_refers_to_it(
    operations: list[dict[str, Any]], steps: list[tuple[int, ...]]
) -> None:
    assert list(planned(*operations).steps) == steps


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_chain_as_long_as_the_request_is_planned_without_recursion(is_closed: bool) -> None:
    count = MAX_BULK_OPERATIONS
    chain = [report(f"u{at}", f"u{at + 1}") for at in range(count - 1)]
    last = report(f"u{count - 1}", "u0") if is_closed else user(f"u{count - 1}")
    steps = planned(*chain, last).steps
    assert steps == ((tuple(range(count)),) if is_closed else tuple((at,) for at in reversed(range(count))))


@pytest.mark.parametrize(
    ("members", "kept", "deferred"),
    [
        ([{"value": "bulkId:a"}, {"value": "x"}], [{"value": "x"}], [{"value": "bulkId:a"}]),
        (["bulkId:a", "bulkId:c"], ["bulkId:c"], ["bulkId:a"]),
        ({"value": "bulkId:a"}, [], [{"value": "bulkId:a"}]),
        ([{"value": "x", "$ref": "/Groups/bulkId:b"}], [], [{"value": "x", "$ref": "/Groups/bulkId:b"}]),
    ],
)
def test_members_in_a_circle_are_split_off(members: Any, kept: list[Any], deferred: list[Any]) -> None:
    body = {"displayName": "G", "Members": members}
    assert bulk.split_members(body, {"a", "b"}) == ({"displayName": "G", "Members": kept}, deferred)
    assert body["Members"] == members
