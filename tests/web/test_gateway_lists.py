"""Lists over HTTP: filters, sorting, pages by index and by cursor, ``.search``, and the root."""

from typing import Any

import pytest

from protos.directory.v1 import directory_pb2 as wire
from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, SCOPE_SCIM_WRITE
from scim_gateway.handlers.lists import MAX_SEARCH_BYTES
from tests.fixtures.gateway import Answer, RunningGateway, StartGateway

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com", "active": True}
SEARCH = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]}


def error(answer: Answer) -> tuple[int, str | None]:
    """Return status and scimType of an answer that must be a SCIM error."""
    assert answer.json["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert answer.json["status"] == str(answer.status)
    return answer.status, answer.json.get("scimType")


async def users(gateway: RunningGateway, count: int) -> None:
    """Create u0, u1, ..."""
    for number in range(count):
        assert (await gateway.send("POST", "/Users", {**USER, "userName": f"u{number}"})).status == 201


def sent(gateway: RunningGateway) -> Any:
    """Return the last list request that reached the control plane."""
    return gateway.control_plane.calls("ListResources")[-1].message


async def test_lists_always_have_all_their_fields(gateway: RunningGateway) -> None:
    empty = await gateway.send("GET", "/Users")
    assert empty.json == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 0,
        "startIndex": 1,
        "itemsPerPage": 0,
        "Resources": [],
    }
    await users(gateway, 5)
    page = (await gateway.send("GET", "/Users?startIndex=2&count=2")).json
    assert [user["userName"] for user in page["Resources"]] == ["u1", "u2"]
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (5, 2, 2)
    none = (await gateway.send("GET", "/Users?count=0")).json
    assert (none["totalResults"], none["itemsPerPage"], none["Resources"]) == (5, 0, [])


@pytest.mark.parametrize(
    "path",
    [
        "/Users?filter=userName%20eq%20%22ada@example.com%22",
        "/Users?filter=userName+eq+%22ada@example.com%22&",
        "/Users/?filter=userName+eq+%22ADA@example.com%22",
        "/Users?&filter=userName+eq+%22ada%40example.com%22&startIndex=1&count=100",
        "/Users?filter=userName+eq+%22ada@example.com%22&sortBy=userName&unknown=1&",
    ],
)
async def test_spellings_of_a_filter(gateway: RunningGateway, path: str) -> None:
    await gateway.send("POST", "/Users", USER)
    await gateway.send("POST", "/Users", {**USER, "userName": "eve"})
    answer = await gateway.send("GET", path)
    assert (answer.status, answer.json["totalResults"]) == (200, 1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("startIndex=x", (400, "invalidValue")),
        ("count=1.5", (400, "invalidValue")),
        ("count=", (400, "invalidValue")),
        ("count=%D9%A3", (400, "invalidValue")),  # an Arabic digit
        ("filter=" + "a" * 2_049, (400, "invalidFilter")),
        ("filter=id%20pr&filter=title%20pr", (400, "invalidFilter")),
        ("count=1&count=2", (400, "invalidValue")),
        ("sortBy=userName&sortBy=title", (400, "invalidValue")),
        ("sortBy=userName&sortOrder=upwards", (400, "invalidValue")),
        ("sortBy=" + "a" * 1_025, (400, "invalidValue")),
        ("cursor=&count=x", (400, "invalidCount")),
        ("cursor=forged", (400, "invalidCursor")),
        ("filter=&filter=&count=1&count=1", (200, None)),  # the same twice is said once
        ("filter=title+eq+%22%ED%A0%80%22", (400, "invalidFilter")),
        ("filter=title+eq+%22%00%22", (400, "invalidFilter")),
        ("sortBy=%FF", (400, "invalidValue")),
        ("attributes=a%00b", (400, "invalidValue")),
    ],
)
async def test_wrong_queries(gateway: RunningGateway, query: str, expected: tuple[int, str | None]) -> None:
    answer = await gateway.send("GET", "/Users?" + query)
    if expected[0] == 200:
        assert answer.status == 200
    else:
        assert error(answer) == expected


@pytest.mark.parametrize(
    ("query", "start", "count"),
    [
        ("startIndex=0&count=-3", 0, -3),
        ("startIndex=-5", -5, None),
        ("count=1000000000", 1, 1_000_000_000),
        ("count=" + "9" * 60, 1, 10**18),
    ],
)
async def test_numbers_out_of_range_are_no_error(
    gateway: RunningGateway, query: str, start: int, count: int | None
) -> None:
    assert (await gateway.send("GET", "/Users?" + query)).status == 200
    message = gateway.control_plane.calls("ListResources")[0].message
    assert message.start_index == start
    assert (message.count if message.HasField("count") else None) == count


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sortBy=userName", ["u0", "u1", "u2"]),
        ("sortBy=userName&sortOrder=Descending", ["u2", "u1", "u0"]),
        ("sortOrder=descending", ["u0", "u1", "u2"]),
    ],
)
async def test_sorting(gateway: RunningGateway, query: str, names: list[str]) -> None:
    await users(gateway, 3)
    answer = await gateway.send("GET", "/Users?" + query)
    assert [user["userName"] for user in answer.json["Resources"]] == names


@pytest.mark.parametrize("is_search", [False, True])
async def test_pages_by_cursor_until_there_is_no_next(gateway: RunningGateway, is_search: bool) -> None:
    await users(gateway, 5)
    cursor, names, pages = "", [], []
    for _ in range(3):
        if is_search:
            page = (await gateway.send("POST", "/Users/.search", {**SEARCH, "cursor": cursor, "count": 2})).json
        else:
            query = {"cursor": cursor, "count": "2"}
            async with gateway.session.get(
                f"{gateway.base}/Users", params=query, headers={"Authorization": f"Bearer {gateway.token}"}
            ) as response:
                page = await response.json(content_type=None)
        assert "startIndex" not in page
        names += [user["userName"] for user in page["Resources"]]
        pages.append((page["totalResults"], page["itemsPerPage"], "nextCursor" in page))
        cursor = page.get("nextCursor", "")
    assert names == ["u0", "u1", "u2", "u3", "u4"]
    assert pages == [(5, 2, True), (5, 2, True), (5, 1, False)]


async def test_without_a_cursor_there_is_no_next_cursor(gateway: RunningGateway) -> None:
    await users(gateway, 3)
    page = (await gateway.send("GET", "/Users?count=1")).json
    assert page.keys() == {"schemas", "totalResults", "startIndex", "itemsPerPage", "Resources"}
    assert not sent(gateway).HasField("cursor")


@pytest.mark.parametrize("path", ["", "/", "?", "?attributes="])
async def test_the_root_lists_both_types_each_in_its_own_form(gateway: RunningGateway, path: str) -> None:
    await users(gateway, 1)
    group = gateway.control_plane.add_group(1_500)
    answer = await gateway.send("GET", path)
    assert sent(gateway).type == wire.RESOURCE_TYPE_UNSPECIFIED
    user, listed = answer.json["Resources"]
    assert (user["meta"]["resourceType"], listed["meta"]["resourceType"]) == ("User", "Group")
    assert user["meta"]["location"] == f"{gateway.base}/Users/{user['id']}"
    assert listed["meta"]["location"] == f"{gateway.base}/Groups/{group}"
    assert len(listed["members"]) == 1_500


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/.search", wire.RESOURCE_TYPE_UNSPECIFIED),
        ("/Users/.search", wire.RESOURCE_TYPE_USER),
        ("/Groups/.search/", wire.RESOURCE_TYPE_GROUP),
    ],
)
async def test_search_asks_as_the_query_does(gateway: RunningGateway, path: str, kind: int) -> None:
    body = {
        **SEARCH,
        "attributes": ["userName", "members.value"],
        "filter": 'userName eq "u1"',
        "sortBy": "userName",
        "sortOrder": "descending",
        "startIndex": 2,
        "count": 10**17,
    }
    answer = await gateway.send("POST", path, body, Content_Type="application/scim+json")
    assert (answer.status, answer.json["Resources"]) == (200, [])
    message = sent(gateway)
    assert (message.type, message.filter, message.sort_by, message.descending) == (
        kind,
        'userName eq "u1"',
        "userName",
        True,
    )
    assert (message.attributes, message.start_index, message.count) == ("userName,members.value", 2, 10**17)
    assert message.reference_base == gateway.base


async def test_search_selects(gateway: RunningGateway) -> None:
    await users(gateway, 1)
    for body, shown in (
        ({"attributes": ["userName"]}, {"id", "schemas", "userName"}),
        ({"excludedAttributes": ["meta", "active"]}, {"id", "schemas", "userName"}),
    ):
        answer = await gateway.send("POST", "/Users/.search", {**SEARCH, **body})
        assert answer.json["Resources"][0].keys() == shown


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "invalidSyntax")),
        (b"[]", (400, "invalidSyntax")),
        (b'{"count":1,"count":2}', (400, "invalidSyntax")),
        ({"count": "x"}, (400, "invalidValue")),
        ({"filter": "a" * 2_049}, (400, "invalidFilter")),
        ({"filter": "\u00e9" * 1_025}, (400, "invalidFilter")),
        ({"sortBy": "a" * 1_025}, (400, "invalidValue")),
        ({"attributes": ["a" * 5_000, "b" * 5_000]}, (400, "invalidValue")),
        ({"attributes": ["userName"], "excludedAttributes": ["meta"]}, (400, "invalidValue")),
        ({"cursor": "a" * 8_193}, (400, "invalidCursor")),
        (b" " * (MAX_SEARCH_BYTES + 1), (413, None)),
    ],
)
async def test_wrong_searches(gateway: RunningGateway, body: Any, expected: tuple[int, str | None]) -> None:
    assert error(await gateway.send("POST", "/.search", body)) == expected


async def test_a_search_only_reads(gateway: RunningGateway) -> None:
    reader = gateway.control_plane.issue("reader", scopes=(SCOPE_SCIM_READ,))
    writer = gateway.control_plane.issue("writer", scopes=(SCOPE_SCIM_WRITE,))
    for path in ("/.search", "/Users/.search", "/Groups/.search", "/Groups/.search/"):
        assert (await gateway.send("POST", path, SEARCH, token=reader)).status == 200
        assert error(await gateway.send("POST", path, SEARCH, token=writer)) == (403, None)


async def test_a_hostile_cursor_from_the_control_plane_stays_a_string(gateway: RunningGateway) -> None:
    """The fake's cursors hold quotes."""
    await users(gateway, 2)
    page = (await gateway.send("GET", "/Users?cursor&count=1")).json
    assert page["nextCursor"] == 'from "2"'


async def test_a_list_that_does_not_begin_is_503_as_soon_as_any_call(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_rpc_timeout_s=0.2, gateway_stream_timeout_s=60.0)
    gateway.control_plane.state.faults.lists_silent = True
    answer = await gateway.send("GET", "/Users")
    assert error(answer) == (503, None)
    assert answer.headers["Retry-After"]
