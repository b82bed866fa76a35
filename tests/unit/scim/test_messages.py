"""ListResponse and PatchOp."""

from typing import Any

import pytest

from control_plane.scim.errors import InvalidSyntax, InvalidValue, ScimError, TooMany
from control_plane.scim.messages import MAX_OPERATIONS, PATCH_OP, Op, Operation, list_response, parse_patch


def test_list_response_has_resources_even_when_empty() -> None:
    assert list_response([], 0, 1) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 0,
        "startIndex": 1,
        "itemsPerPage": 0,
        "Resources": [],
    }
    assert list_response([{"id": "1"}], 7, 3)["itemsPerPage"] == 1


@pytest.mark.parametrize(
    ("item", "operation"),
    [
        ({"op": "add", "path": "title", "value": "x"}, Operation(Op.ADD, "title", "x")),
        ({"op": "Replace", "path": "title", "value": "x"}, Operation(Op.REPLACE, "title", "x")),
        ({"OP": "REMOVE", "Path": " title "}, Operation(Op.REMOVE, "title")),
        ({"op": "replace", "value": {"active": False}}, Operation(Op.REPLACE, None, {"active": False})),
        ({"op": "replace", "path": None, "value": None}, Operation(Op.REPLACE, None)),
        ({"op": "add", "path": " ", "value": 1, "name": "addMember"}, Operation(Op.ADD, None, 1)),
    ],
)
def test_operations(item: dict[str, Any], operation: Operation) -> None:
    assert parse_patch({"schemas": [PATCH_OP], "Operations": [item]}) == [operation]


def test_missing_schemas_foreign_keys_and_any_case_are_accepted() -> None:
    assert parse_patch({"id": "1", "operations": [{"op": "remove", "path": "a"}]}) == [Operation(Op.REMOVE, "a")]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, InvalidSyntax),
        ({"Operations": []}, InvalidSyntax),
        ({"Operations": {"op": "add"}}, InvalidSyntax),
        ({"Operations": ["add"]}, InvalidSyntax),
        ({"Operations": [{"path": "a", "value": 1}]}, InvalidSyntax),
        ({"Operations": [{"op": "move", "path": "a", "value": 1}]}, InvalidSyntax),
        ({"Operations": [{"op": 5, "path": "a", "value": 1}]}, InvalidSyntax),
        ({"Operations": [{"op": "add", "OP": "remove", "path": "a", "value": 1}]}, InvalidSyntax),
        ({"Operations": [{"op": "add", "path": 5, "value": 1}]}, InvalidSyntax),
        ({"Operations": [{"op": "add", "path": "a"}]}, InvalidValue),
        ({"Operations": [{"op": "replace", "path": "a"}]}, InvalidValue),
        ({"Operations": [{"op": "remove", "path": "a"}] * (MAX_OPERATIONS + 1)}, TooMany),
    ],
)
def test_refused(body: dict[str, Any], error: type[ScimError]) -> None:
    with pytest.raises(error):
        parse_patch(body)


def test_the_limit_of_operations_itself_is_allowed() -> None:
    assert len(parse_patch({"Operations": [{"op": "remove", "path": "a"}] * MAX_OPERATIONS})) == MAX_OPERATIONS
