"""SearchRequest: RFC 7644 section 3.4.3, RFC 9865 section 2."""

from typing import Any

import pytest

from control_plane.scim.errors import InvalidCount, InvalidValue, ScimError
from control_plane.scim.messages import SearchRequest, parse_search, parse_sort_order


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        ({}, SearchRequest()),
        (
            {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
                "attributes": ["displayName", "userName"],
                "filter": 'displayName sw "smith"',
                "startIndex": 1,
                "count": 10,
            },
            SearchRequest("displayName,userName", filter='displayName sw "smith"', count=10),
        ),
        ({"ATTRIBUTES": "a,b", "SortBy": " name.familyName ", "sortorder": "DESCENDING"},
         SearchRequest("a,b", sort_by="name.familyName", descending=True)),
        ({"excludedAttributes": ["members", None, ""], "sortOrder": "ascending"}, SearchRequest(excluded="members")),
        ({"startIndex": "3", "count": " 0 ", "foreign": {}}, SearchRequest(start_index=3, count=0)),
        ({"startIndex": -5, "count": "-1"}, SearchRequest(start_index=-5, count=-1)),
        ({"cursor": "", "count": 5}, SearchRequest(cursor="", count=5)),
        ({"cursor": "abc", "filter": None, "count": None, "attributes": None, "sortOrder": None},
         SearchRequest(cursor="abc")),
    ],
)  # fmt: skip
def test_search_requests(body: dict[str, Any], request_: SearchRequest) -> None:
    assert parse_search(body) == request_


@pytest.mark.parametrize(
    ("body", "error", "name"),
    [
        ({"attributes": 5}, InvalidValue, "attributes"),
        ({"attributes": ["a", 5]}, InvalidValue, "attributes"),
        ({"excludedAttributes": {"a": 1}}, InvalidValue, "excludedAttributes"),
        ({"filter": ["a"]}, InvalidValue, "filter"),
        ({"sortBy": 5}, InvalidValue, "sortBy"),
        ({"sortOrder": "up"}, InvalidValue, "sortOrder"),
        ({"startIndex": "one"}, InvalidValue, "startIndex"),
        ({"startIndex": 1.5}, InvalidValue, "startIndex"),
        ({"startIndex": True}, InvalidValue, "startIndex"),
        ({"startIndex": "9" * 19}, InvalidValue, "startIndex"),
        ({"count": "many"}, InvalidValue, "count"),
        ({"count": "many", "cursor": ""}, InvalidCount, "count"),
        ({"cursor": 5}, InvalidValue, "cursor"),
    ],
)
def test_refused(body: dict[str, Any], error: type[ScimError], name: str) -> None:
    with pytest.raises(error, match=name) as caught:
        parse_search(body)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("text", "descending"), [("", False), ("Ascending", False), ("descending", True), (" DESCENDING ", True)]
)
def test_sort_order(text: str, descending: bool) -> None:
    assert parse_sort_order(text) is descending
