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


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_the_body_is_forwarded_as_it_is_but_for_a_byte_order_mark(gateway: RunningGateway, mark: bytes) -> None:
    body = b'{"userName" :"z\\u00e9", "userName":"twice", "n":1.0}'
    await gateway.send("POST", "/Users", mark + body)
    assert gateway.control_plane.calls("CreateResource")[0].message.document == body.decode()


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


@pytest.mark.parametrize("suffix", ["?", "/", "/?"])
async def test_trailing_marks_are_accepted(gateway: RunningGateway, suffix: str) -> None:
    path = "/Users/" + (await gateway.send("POST", "/Users" + suffix, USER)).json["id"]
    assert (await gateway.send("PUT", path + suffix, USER)).status == 200


@pytest.mark.parametrize(
    ("query", "sent", "shown"),
    [
        ("", ("", ""), {"id", "meta", "schemas", "displayName", "members"}),
        ("?excludedAttributes=members", ("", "members"), {"id", "meta", "schemas", "displayName"}),
        ("?excludedAttributes=Members,displayName", ("", "Members,displayName"), {"id", "meta", "schemas"}),
        ("?attributes=displayName", ("displayName", ""), {"id", "schemas", "displayName"}),
        ("?attributes=meta&attributes=members", ("meta,members", ""), {"id", "schemas", "meta", "members"}),
    ],
)
async def test_selections_on_every_verb_that_answers_with_a_resource(
    gateway: RunningGateway, query: str, sent: tuple[str, str], shown: set[str]
) -> None:
    body = {**GROUP, "members": [{"value": "1"}]}
    created = await gateway.send("POST", f"/Groups{query}", body)
    path = f"/Groups/{created.json['id']}{query}"
    answers = [
        created,
        await gateway.send("GET", path),
        await gateway.send("PUT", path, body),
        await gateway.send("PATCH", path, patch({"displayName": "new"})),
    ]
    for answer in answers:
        assert answer.json.keys() == shown
        assert answer.headers["Location"] == gateway.base + path.partition("?")[0]
    assert (await gateway.send("GET", f"/Groups{query}")).json["Resources"][0].keys() == shown
    for method in ("Create", "Get", "Replace", "Patch"):
        (call,) = gateway.control_plane.calls(f"{method}Resource")
        assert (call.message.attributes, call.message.excluded_attributes) == sent
    (call,) = gateway.control_plane.calls("ListResources")
    assert (call.message.attributes, call.message.excluded_attributes, call.message.with_members) == (*sent, True)


@pytest.mark.parametrize(
    "query", ["attributes=userName&excludedAttributes=emails", "attributes=" + "a" * 7_900 + "&attributes=" + "b" * 300]
)
async def test_selections_that_cannot_be(start_gateway: StartGateway, query: str) -> None:
    gateway = await start_gateway(gateway_max_line_bytes=9_000)
    for method, path, body in (("GET", "/Users", None), ("POST", "/Users", USER), ("GET", "/", None)):
        assert error(await gateway.send(method, f"{path}?{query}", body)) == (400, "invalidValue")


async def test_groups_of_a_user_go_in_like_members(gateway: RunningGateway) -> None:
    path = "/Users/" + (await gateway.send("POST", "/Users", USER)).json["id"]
    groups = [{"value": "g", "display": "Crew", "type": "direct"}]
    gateway.control_plane.state.groups[path.rpartition("/")[2]] = groups
    assert (await gateway.send("GET", path)).json["groups"] == groups
    assert (await gateway.send("GET", path + "?attributes=groups.value")).json["groups"] == [{"value": "g"}]
    assert "groups" not in (await gateway.send("GET", path + "?excludedAttributes=groups")).json


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
    assert silent.headers["ETag"] == 'W/"2"'
    named = await gateway.send("PATCH", f"/Groups/{large}?attributes=displayName", body)
    assert (named.status, named.json["displayName"]) == (200, "renamed")
    assert "members" not in named.json
    whole = await gateway.send("PATCH", f"/Groups/{large}?attributes=members.value", body)
    assert (whole.status, len(whole.json["members"])) == (200, 1_001)


async def test_a_write_of_a_large_group_is_answered_without_its_members(gateway: RunningGateway) -> None:
    group = gateway.control_plane.add_group(0)
    body = {**GROUP, "members": [{"value": str(number)} for number in range(3_000)]}
    for method, path, status in (("PUT", f"/Groups/{group}", 200), ("POST", "/Groups", 201)):
        answer = await gateway.send(method, path, body)
        assert (answer.status, answer.json["displayName"]) == (status, body["displayName"])
        assert "members" not in answer.json
    asked = await gateway.send("PUT", f"/Groups/{group}?attributes=members", body)
    assert (asked.status, len(asked.json["members"])) == (200, 3_000)


async def test_a_write_never_looks_refused_because_members_cannot_be_read(gateway: RunningGateway) -> None:
    group = gateway.control_plane.add_group(3_000)
    gateway.control_plane.state.faults.members_after = 0
    rename = {"Operations": [{"op": "replace", "value": {"displayName": "New"}}]}
    answer = await gateway.send("PATCH", f"/Groups/{group}?attributes=displayName,members", rename)
    assert (answer.status, answer.json["displayName"], "members" in answer.json) == (200, "New", False)


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
