"""Entity tags and preconditions over HTTP (RFC 7644 section 3.14, RFC 9110 section 13), and HEAD."""

import pytest

from scim_gateway.responses import SPOOL_BYTES
from tests.fixtures.gateway import RunningGateway

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com", "active": True}
PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "value": {"active": False}}],
}


async def path_of_a_user(gateway: RunningGateway) -> str:
    return f"/Users/{(await gateway.send('POST', '/Users', USER)).json['id']}"


async def test_every_answer_with_one_resource_has_its_version_as_etag(gateway: RunningGateway) -> None:
    created = await gateway.send("POST", "/Users", USER)
    path = "/Users/" + created.json["id"]
    answers = [
        created,
        await gateway.send("GET", path),
        await gateway.send("PUT", path, USER),
        await gateway.send("PATCH", path, PATCH),
        await gateway.send("GET", path + "?attributes=meta.version"),
    ]
    assert [answer.headers["ETag"] for answer in answers] == ['W/"1"', 'W/"1"', 'W/"2"', 'W/"3"', 'W/"3"']
    assert [answer.json["meta"]["version"] for answer in answers] == [answer.headers["ETag"] for answer in answers]
    large = await gateway.send("GET", f"/Groups/{gateway.control_plane.add_group(1_500)}")
    assert large.headers["ETag"] == large.json["meta"]["version"] == 'W/"1"'
    assert "ETag" not in (await gateway.send("GET", "/Users")).headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_None_Match": 'W/"1"'}, 304),
        ({"If_None_Match": '"1"'}, 304),
        ({"If_None_Match": 'W/"7", W/"1"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": 'W/"2"'}, 200),
        ({"If_Match": 'W/"1"'}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": 'W/"2"'}, 412),
        ({"If_Match": 'W/"2"', "If_None_Match": 'W/"1"'}, 412),  # RFC 9110 section 13.2.2: If-Match comes first
        ({"If_Match": 'W/"1"', "If_None_Match": 'W/"1"'}, 304),
        ({"If_None_Match": "1" * 1_001}, 400),
        ({"If_Match": "1" * 1_001}, 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditional_reads(gateway: RunningGateway, method: str, headers: dict[str, str], status: int) -> None:
    path = await path_of_a_user(gateway)
    answer = await gateway.send(method, path, **headers)
    assert answer.status == status
    if status == 304:
        assert (answer.headers["ETag"], answer.body) == ('W/"1"', b"")
        assert "Content-Type" not in answer.headers
    elif method == "GET" and status >= 400:
        assert answer.json["status"] == str(status)


async def test_a_condition_on_what_does_not_exist_is_404(gateway: RunningGateway) -> None:
    for headers in ({"If_Match": "*"}, {"If_None_Match": "*"}):
        assert (await gateway.send("GET", "/Users/018f0000-0000-7000-8000-00000000dead", **headers)).status == 404


@pytest.mark.parametrize(("method", "call"), [("PUT", "Replace"), ("PATCH", "Patch"), ("DELETE", "Delete")])
async def test_conditions_of_writes_are_decided_in_the_control_plane(
    gateway: RunningGateway, method: str, call: str
) -> None:
    path = await path_of_a_user(gateway)
    body = {"PUT": USER, "PATCH": PATCH, "DELETE": None}[method]
    for headers in ({"If_Match": 'W/"8"'}, {"If_None_Match": '"7", W/"1"'}, {"If_None_Match": "*"}):
        refused = await gateway.send(method, path, body, **headers)
        assert (refused.status, refused.json["status"]) == (412, "412")
    seen = [(one.message.etag, one.message.none_match_etag) for one in gateway.control_plane.calls(f"{call}Resource")]
    assert seen == [('W/"8"', ""), ("", '"7", W/"1"'), ("", "*")]
    assert (await gateway.send(method, path, body, If_Match='W/"1"', If_None_Match='"7"')).status in (200, 204)


async def test_head_is_get_without_its_body(gateway: RunningGateway) -> None:
    path = await path_of_a_user(gateway)
    paths = (path, path + "/?attributes=userName", "/Users", "", "/Schemas", "/ServiceProviderConfig", "/Users/nobody")
    for one in paths:
        get, head = await gateway.send("GET", one), await gateway.send("HEAD", one)
        assert (head.status, head.body) == (get.status, b"")
        for name in ("Content-Type", "Content-Length", "ETag", "Location"):
            assert head.headers.get(name) == get.headers.get(name), (one, name)
    health = await gateway.send("HEAD", "//livez", token=None)
    assert (health.status, health.body) == (200, b"")
    assert gateway.metric("scim_http_requests_total", route="/scim/v2/Users", method="HEAD", code="200") == 1


async def test_head_of_what_would_be_streamed_stops_early_and_leaves_the_connection_in_order(
    gateway: RunningGateway,
) -> None:
    group = gateway.control_plane.add_group(50_000)
    for path in (f"/Groups/{group}", "/Groups"):
        head = await gateway.send("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert not {"Content-Length", "Transfer-Encoding"} & head.headers.keys()
    whole = await gateway.send("GET", f"/Groups/{group}")
    assert len(whole.body) > SPOOL_BYTES
    assert len(whole.json["members"]) == 50_000
