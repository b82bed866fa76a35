"""Users and Groups over HTTP: what goes to the control plane, and what the client gets back."""

from typing import Any

import grpc
import orjson
import pytest

from protos.directory.v1 import directory_pb2 as wire
from scim_gateway.responses import SPOOL_BYTES
from tests.fakes.control_plane import OTHER_TENANT, TENANT, Fault
from tests.fixtures.gateway import Answer, RunningGateway, StartGateway

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com", "active": True}
GROUP = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Crew"}
PATCH = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]}


def patch(value: dict[str, Any]) -> dict[str, Any]:
    return {**PATCH, "Operations": [{"op": "replace", "value": value}]}


def error(answer: Answer) -> tuple[int, str | None]:
    """Return status and scimType of an answer that must be a SCIM error."""
    assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    assert answer.json["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert answer.json["status"] == str(answer.status)
    assert answer.json["detail"]
    return answer.status, answer.json.get("scimType")


async def test_a_user_lives_from_post_to_delete(gateway: RunningGateway) -> None:
    created = await gateway.send("POST", "/Users", USER, Content_Type="application/scim+json")
    assert created.status == 201
    path = f"/Users/{created.json['id']}"
    assert created.headers["Location"] == created.json["meta"]["location"] == gateway.base + path
    assert created.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    assert created.json["meta"]["created"] == "2026-03-01T09:30:00.123Z"
    assert (await gateway.send("GET", path)).json == created.json

    replaced = await gateway.send("PUT", path, {**USER, "displayName": "Ada"}, Content_Type="application/json")
    assert (replaced.status, replaced.json["meta"]["version"]) == (200, 'W/"2"')
    patched = await gateway.send("PATCH", path, patch({"active": False}))
    assert (patched.status, patched.json["active"], patched.json["displayName"]) == (200, False, "Ada")
    gone = await gateway.send("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    assert error(await gateway.send("GET", path)) == (404, None)
    assert error(await gateway.send("DELETE", path)) == (404, None)


async def test_the_control_plane_learns_who_acts(gateway: RunningGateway) -> None:
    await gateway.send("POST", "/Users", USER, X_Request_Id="from-the-idp-7")
    call = gateway.control_plane.calls("CreateResource")[0]
    assert call.metadata["x-request-id"] == "from-the-idp-7"
    assert call.metadata["muster-actor-id"] == "00000default"
    assert call.metadata["muster-actor-address"] == "127.0.0.1"
    assert call.message.tenant_id == TENANT
    assert call.message.reference_base == gateway.base


async def test_the_body_is_forwarded_as_it_is(gateway: RunningGateway) -> None:
    body = b'{"userName" :"z\\u00e9", "userName":"twice", "n":1.0}'
    await gateway.send("POST", "/Users", body)
    assert gateway.control_plane.calls("CreateResource")[0].message.document == body.decode()


@pytest.mark.parametrize(("method", "call"), [("PUT", "Replace"), ("PATCH", "Patch"), ("DELETE", "Delete")])
async def test_if_match_decides_in_the_control_plane(gateway: RunningGateway, method: str, call: str) -> None:
    path = "/Users/" + (await gateway.send("POST", "/Users", USER)).json["id"]
    body = None if method == "DELETE" else USER if method == "PUT" else patch({"active": False})
    assert error(await gateway.send(method, path, body, If_Match='W/"8"')) == (412, None)
    assert gateway.control_plane.calls(f"{call}Resource")[0].message.etag == 'W/"8"'
    assert (await gateway.send(method, path, body, If_Match='W/"1"')).status in (200, 204)


async def test_no_etag_header_since_it_is_not_advertised(gateway: RunningGateway) -> None:
    assert "ETag" not in (await gateway.send("POST", "/Users", USER)).headers


async def test_another_tenants_resource_is_answered_like_one_that_does_not_exist(gateway: RunningGateway) -> None:
    theirs = gateway.control_plane.add_group(1, tenant=OTHER_TENANT)
    for method, body in (("GET", None), ("PUT", GROUP), ("PATCH", patch({"x": 1})), ("DELETE", None)):
        foreign = await gateway.send(method, f"/Groups/{theirs}", body)
        missing = await gateway.send(method, "/Groups/018f0000-0000-7000-8000-00000000dead", body)
        assert error(foreign) == (404, None)
        assert foreign.body == missing.body


async def test_a_taken_name_is_409(gateway: RunningGateway) -> None:
    await gateway.send("POST", "/Users", USER)
    assert error(await gateway.send("POST", "/Users", {**USER, "userName": "ADA@example.com"})) == (409, "uniqueness")


async def test_lists_always_have_all_their_fields(gateway: RunningGateway) -> None:
    empty = await gateway.send("GET", "/Users")
    assert empty.json == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 0,
        "startIndex": 1,
        "itemsPerPage": 0,
        "Resources": [],
    }
    for number in range(5):
        await gateway.send("POST", "/Users", {**USER, "userName": f"u{number}"})
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
        "/Users?filter=userName+eq+%22ada@example.com%22&sortBy=userName&unknown=1",
    ],
)
async def test_spellings_of_a_filter(gateway: RunningGateway, path: str) -> None:
    await gateway.send("POST", "/Users", USER)
    await gateway.send("POST", "/Users", {**USER, "userName": "eve"})
    answer = await gateway.send("GET", path)
    assert (answer.status, answer.json["totalResults"]) == (200, 1)


@pytest.mark.parametrize("suffix", ["?", "/", "/?"])
async def test_trailing_marks_are_accepted(gateway: RunningGateway, suffix: str) -> None:
    path = "/Users/" + (await gateway.send("POST", "/Users" + suffix, USER)).json["id"]
    assert (await gateway.send("PUT", path + suffix, USER)).status == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("startIndex=x", (400, "invalidValue")),
        ("count=1.5", (400, "invalidValue")),
        ("count=", (400, "invalidValue")),
        ("count=%D9%A3", (400, "invalidValue")),  # an Arabic digit
        ("filter=" + "a" * 2_049, (400, "invalidFilter")),
        ("filter=%00" + "%FF", (200, None)),  # yarl keeps what is not UTF-8 escaped: the filter parser's matter
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
    ("query", "asked", "shown"),
    [
        ("", True, {"id", "meta", "schemas", "displayName", "members"}),
        ("?excludedAttributes=members", False, {"id", "meta", "schemas", "displayName"}),
        ("?excludedAttributes=Members,displayName", False, {"id", "meta", "schemas"}),
        ("?attributes=displayName", False, {"id", "schemas", "displayName"}),
        ("?attributes=members", True, {"id", "schemas", "members"}),
    ],
)
async def test_members_are_left_alone_unless_wanted(
    gateway: RunningGateway, query: str, asked: bool, shown: set[str]
) -> None:
    group = gateway.control_plane.add_group(2)
    one = await gateway.send("GET", f"/Groups/{group}{query}")
    listed = await gateway.send("GET", f"/Groups{query}")
    assert one.json.keys() == listed.json["Resources"][0].keys() == shown
    assert gateway.control_plane.calls("GetResource")[0].message.with_members is asked
    assert gateway.control_plane.calls("ListResources")[0].message.with_members is asked


async def test_a_large_group_is_streamed_alone_and_in_a_list(gateway: RunningGateway) -> None:
    before = gateway.control_plane.add_group(3, "before")
    large = gateway.control_plane.add_group(20_000, "large")
    after = gateway.control_plane.add_group(0, "after")
    alone = await gateway.send("GET", f"/Groups/{large}")
    assert len(alone.body) > SPOOL_BYTES
    assert "Content-Length" not in alone.headers
    assert len({member["value"] for member in alone.json["members"]}) == 20_000
    assert alone.json["meta"]["location"] == alone.headers["Location"] == f"{gateway.base}/Groups/{large}"
    listed = (await gateway.send("GET", "/Groups")).json
    assert [group["id"] for group in listed["Resources"]] == [before, large, after]
    assert [len(group.get("members", ())) for group in listed["Resources"]] == [3, 20_000, 0]
    assert listed["itemsPerPage"] == 3


async def test_a_selection_of_a_streamed_member_list(gateway: RunningGateway) -> None:
    large = gateway.control_plane.add_group(5_000)
    body = (await gateway.send("GET", f"/Groups/{large}?attributes=members.value")).json
    assert body.keys() == {"id", "schemas", "members"}
    assert len(body["members"]) == 5_000
    assert all(member.keys() == {"value"} for member in body["members"])


async def test_a_patch_of_a_large_group_is_204_unless_attributes_are_asked_for(gateway: RunningGateway) -> None:
    large = gateway.control_plane.add_group(1_001)
    small = gateway.control_plane.add_group(1_000)
    body = patch({"displayName": "renamed"})
    silent = await gateway.send("PATCH", f"/Groups/{large}", body)
    assert (silent.status, silent.body) == (204, b"")
    assert len((await gateway.send("PATCH", f"/Groups/{small}", body)).json["members"]) == 1_000
    named = await gateway.send("PATCH", f"/Groups/{large}?attributes=displayName", body)
    assert (named.status, named.json["displayName"]) == (200, "renamed")
    assert "members" not in named.json


async def test_put_of_a_large_group_streams_it_back(gateway: RunningGateway) -> None:
    group = gateway.control_plane.add_group(0)
    members = [{"value": str(number)} for number in range(3_000)]
    answer = await gateway.send("PUT", f"/Groups/{group}", {**GROUP, "members": members})
    assert (answer.status, len(answer.json["members"])) == (200, 3_000)


async def test_a_stream_that_fails_early_is_an_error_and_late_is_visibly_cut(gateway: RunningGateway) -> None:
    large = gateway.control_plane.add_group(20_000)
    faults = gateway.control_plane.state.faults
    faults.members_after = 0
    assert error(await gateway.send("GET", f"/Groups/{large}")) == (503, None)
    faults.members_after = 8
    with pytest.raises(Exception, match=r"(?i)payload|closed|reset|disconnect"):
        await gateway.send("GET", f"/Groups/{large}")


async def test_a_group_deleted_while_its_list_is_read_does_not_fail_the_list(gateway: RunningGateway) -> None:
    gateway.control_plane.add_group(1_500)
    gateway.control_plane.state.faults.members_gone = True
    listed = await gateway.send("GET", "/Groups")
    assert (listed.status, listed.json["Resources"][0]["members"]) == (200, [])


async def test_a_page_larger_than_the_spool_is_whole(gateway: RunningGateway) -> None:
    for number in range(40):
        await gateway.send("POST", "/Users", {**USER, "userName": f"u{number}", "title": "x" * 20_000})
    page = await gateway.send("GET", "/Users?count=40")
    assert len(page.body) > 3 * SPOOL_BYTES
    assert (len(page.json["Resources"]), page.json["itemsPerPage"]) == (40, 40)


@pytest.mark.parametrize("public", ["https://scim.example", "https://scim.example/", "https://example.com/gw/"])
async def test_urls_come_from_the_setting(start_gateway: StartGateway, public: str) -> None:
    gateway = await start_gateway(gateway_public_url=public)
    created = await gateway.send("POST", "/Users", USER, Host="evil.example")
    expected = f"{public.rstrip('/')}/scim/v2/Users/{created.json['id']}"
    assert created.json["meta"]["location"] == created.headers["Location"] == expected


async def test_urls_come_from_the_host_header_otherwise(gateway: RunningGateway) -> None:
    created = await gateway.send("POST", "/Users", USER, Host="scim.example:8443")
    assert created.headers["Location"] == f"http://scim.example:8443/scim/v2/Users/{created.json['id']}"
    assert created.json["meta"]["location"] == created.headers["Location"]
    for host in ('a"b', "a/b", "a b", "user@host", "ä"):
        assert (await gateway.send("POST", "/Users", USER, Host=host)).status == 400


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        ("UNAVAILABLE", 503, "4"),
        ("RESOURCE_EXHAUSTED", 429, "4"),
        ("DEADLINE_EXCEEDED", 503, "4"),
        ("INTERNAL", 500, None),
    ],
)
async def test_faults_of_the_control_plane(
    gateway: RunningGateway, fault: str, status: int, retry_after: str | None
) -> None:
    await gateway.send("GET", "/Users")  # the token is known from here on
    gateway.control_plane.state.faults.call = Fault(grpc.StatusCode[fault], retry_after_s=3.2)
    for method, path, body in (("POST", "/Users", USER), ("GET", "/Users/1", None), ("GET", "/Groups", None)):
        answer = await gateway.send(method, path, body)
        assert error(answer) == (status, None)
        assert answer.headers.get("Retry-After") == retry_after
        assert b"secret internals" not in answer.body


async def test_a_deadline_that_passes_is_503(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_rpc_timeout_s=0.1, gateway_stream_timeout_s=0.1)
    await gateway.send("GET", "/Users")
    gateway.control_plane.state.gate.clear()
    for path in ("/Users/1", "/Users"):
        answer = await gateway.send("GET", path)
        assert error(answer) == (503, None)
        assert answer.headers["Retry-After"] == "1"


async def test_what_the_fake_stores_is_json(gateway: RunningGateway) -> None:
    """Guards the fake: a resource it serves is what was sent."""
    await gateway.send("POST", "/Groups", {**GROUP, "members": [{"value": "1"}]})
    stored = next(iter(gateway.control_plane.state.resources.values()))
    assert stored.type == wire.RESOURCE_TYPE_GROUP
    assert orjson.loads(stored.document) == GROUP
