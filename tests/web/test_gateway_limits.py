"""What a tenant may use, and what stands before it: networks, suspension, rates, sizes; and what is told of tokens."""

import re

import grpc
import orjson
import pytest

from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, TENANT_STATE_ACTIVE, TENANT_STATE_SUSPENDED, TenantLimits
from scim_gateway.questions import OF_SOURCE
from tests.fakes.control_plane import OTHER_TENANT, TENANT, Fault, token_text
from tests.fixtures.gateway import Answer, RunningGateway, StartGateway, eventually

HERE = "127.0.0.1/32"
USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada"}
BULK = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": []}


def assert_scim(answer: Answer, status: int) -> None:
    assert (answer.status, answer.json["status"]) == (status, str(status))
    assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"


async def test_a_token_from_a_wrong_network_gets_the_same_401(gateway: RunningGateway) -> None:
    bound = gateway.control_plane.issue("bound", networks=["192.0.2.0/24"])
    refused = await gateway.send("GET", "/Users", token=bound)
    assert_scim(refused, 401)
    assert refused.body == (await gateway.send("GET", "/Users", token=None)).body
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert gateway.metric("scim_auth_failure_total", tenant=TENANT, reason="network") == 1


async def test_networks_are_looked_at_on_every_request(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_trusted_proxies=HERE)
    bound = gateway.control_plane.issue("bound", networks=["192.0.2.0/24", "2001:db8::/32"])
    table = [
        ("192.0.2.1", 200), ("198.51.100.1", 401), ("198.51.100.7, 192.0.2.9", 200), ("192.0.2.7, 198.51.100.1", 401),
        ("2001:db8::1", 200), ("2001:db9::1", 401), ("", 401), ("192.0.2.1", 200),
    ]  # fmt: skip
    for said, status in table:
        assert (await gateway.send("GET", "/Users", token=bound, X_Forwarded_For=said)).status == status, said
    assert len(gateway.control_plane.calls("VerifyToken")) == 1
    assert gateway.control_plane.calls("VerifyToken")[0].message.address == "192.0.2.1"


async def test_a_suspended_tenant_is_403_everywhere_before_any_body(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "/Users")).status == 200
    other = gateway.control_plane.issue("other", tenant=OTHER_TENANT)
    gateway.control_plane.change_tenant(TENANT, TENANT_STATE_SUSPENDED)
    while (await gateway.send("GET", "/Users")).status == 200:
        pass  # until the event arrives; the test's own time limit bounds it

    for method, path in (
        ("GET", "/Users/1"), ("PUT", "/Groups/1"), ("POST", "/Bulk"), ("POST", "/.search"), ("GET", "/Schemas"),
        ("GET", "/ServiceProviderConfig"), ("GET", "/nowhere"), ("GET", "/Me"),
    ):  # fmt: skip
        answer = await gateway.send(method, path, b"not json" if method != "GET" else None, Expect="100-continue")
        assert_scim(answer, 403)
        assert answer.json["detail"] == "this tenant is suspended"
    assert (await gateway.send("GET", "/Users", token=other)).status == 200
    assert (await gateway.send("GET", "/Users", token=token_text("nobodys"))).status == 401
    gateway.control_plane.change_tenant(TENANT, TENANT_STATE_ACTIVE)
    await eventually(lambda: gateway.gateway.verifier.is_watched)
    while (await gateway.send("GET", "/Users")).status == 403:
        pass


@pytest.mark.parametrize("who_notices", ["permits", "call"])
async def test_a_tenant_deleted_a_moment_ago_gets_the_same_401(gateway: RunningGateway, who_notices: str) -> None:
    """The token is remembered as good: its tenant's state has changed, and the gateway has not heard of it yet."""
    good = gateway.control_plane.issue("good")
    for method, path in (("GET", "/Users"), ("POST", "/Bulk"), ("GET", "/Schemas"), ("DELETE", "/Users/1")):
        gone = Fault(grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")
        if who_notices == "call":
            await gateway.gateway.verifier.verify(good, "127.0.0.1")
            gateway.control_plane.state.faults.call = gone
        else:
            gateway.control_plane.state.faults.permits = gone
        refused = await gateway.send(method, path, BULK if method == "POST" else None, token=good)
        assert_scim(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.body == (await gateway.send("GET", "/Users", token=None)).body
    assert gateway.metric("scim_auth_failure_total", tenant=TENANT, reason="tenant_deleted") == 4


async def test_beyond_its_rate_a_tenant_is_429_and_others_are_not(gateway: RunningGateway) -> None:
    other = gateway.control_plane.issue("other", tenant=OTHER_TENANT)
    gateway.control_plane.state.permits[TENANT] = 3
    answers = [await gateway.send("GET", "/Users") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert_scim(answers[-1], 429)
    assert re.fullmatch(r"[1-9][0-9]*", answers[-1].headers["Retry-After"])
    assert gateway.metric("scim_rate_limited_total", tenant=TENANT) == 2
    assert (await gateway.send("GET", "/Users", token=other)).status == 200
    assert gateway.control_plane.state.permits_asked[0] == (TENANT, 100)


async def test_most_requests_cost_no_call_for_permits(gateway: RunningGateway) -> None:
    for _ in range(20):
        assert (await gateway.send("GET", "/Users")).status == 200
    assert len(gateway.control_plane.state.permits_asked) == 1


async def test_without_the_shared_limit_this_gateway_holds_to_it_alone(gateway: RunningGateway) -> None:
    gateway.control_plane.state.limits.CopyFrom(TenantLimits(requests_per_second=1, burst=2))
    small = gateway.control_plane.issue("small", tenant=OTHER_TENANT)
    gateway.control_plane.state.faults.permits = Fault(grpc.StatusCode.UNAVAILABLE)
    assert [(await gateway.send("GET", "/Users", token=small)).status for _ in range(3)] == [200, 200, 429]


async def test_bodies_are_limited_by_the_tenant_and_never_above_the_gateway(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_body_bytes=3_000)
    limits = {"max_body_bytes": 2_000, "max_bulk_bytes": 4_000}
    gateway.control_plane.state.limits.MergeFrom(TenantLimits(**limits))
    small = gateway.control_plane.issue("small", tenant=OTHER_TENANT)
    for token, path, body, size, status in (
        (small, "/Users", USER, 1_900, 201), (small, "/Users", USER, 2_100, 413), (small, "/.search", {}, 2_100, 413),
        (small, "/Bulk", BULK, 3_900, 200), (small, "/Bulk", BULK, 4_100, 413),
        (gateway.token, "/Users", USER, 2_100, 201), (gateway.token, "/Users", USER, 3_100, 413),
    ):  # fmt: skip
        padding = size - len(orjson.dumps({**body, "x": ""}))
        answer = await gateway.send("POST", path, {**body, "x": "y" * padding}, token=token)
        assert answer.status == status, (path, size)
        if status == 413:
            assert_scim(answer, 413)


async def test_bogus_tokens_are_429_before_the_control_plane_is_asked(gateway: RunningGateway) -> None:
    for number in range(OF_SOURCE.burst):
        assert (await gateway.send("GET", "/Users", token=token_text(f"bogus{number}"))).status == 401
    asked = len(gateway.control_plane.calls("VerifyToken"))
    throttled = [await gateway.send("GET", "/Users", token=token_text(f"more{number}")) for number in range(20)]
    assert_scim(throttled[-1], 429)
    assert int(throttled[-1].headers["Retry-After"]) >= 1
    # A few permits come while the test sends.
    assert len(gateway.control_plane.calls("VerifyToken")) - asked < 10
    assert gateway.metric("scim_auth_failure_total", tenant="unknown", reason="throttled") > 10


async def test_garbage_is_never_asked_about(gateway: RunningGateway) -> None:
    for number in range(OF_SOURCE.burst * 2):
        right = token_text(f"{number}")
        wrong = right[:-1] + ("1" if right.endswith("0") else "0")
        assert (await gateway.send("GET", "/Users", token=wrong)).status == 401
    assert gateway.control_plane.calls("VerifyToken") == []
    assert (await gateway.send("GET", "/Users")).status == 200


async def test_uses_and_refusals_are_told(gateway: RunningGateway) -> None:
    reader = gateway.control_plane.issue("reader", scopes=(SCOPE_SCIM_READ,))
    revoked = gateway.control_plane.issue("revoked")
    gateway.control_plane.revoke(revoked)
    for _ in range(3):
        await gateway.send("GET", "/Users", token=reader, User_Agent="okta/1 \N{SNOWMAN}")
    await gateway.send("POST", "/Users", USER, token=reader)
    await gateway.send("GET", "/Users", token=revoked)
    await gateway.send("GET", "/Users", token=token_text("nobodys"))
    assert await gateway.gateway.reports.run_once() == 3
    (report,) = gateway.control_plane.state.reports
    (use,) = report.uses
    assert (use.tenant_id, use.count, use.address) == (TENANT, 3, "127.0.0.1")
    assert re.fullmatch(r"okta/1 \?+", use.user_agent)
    told = {(refusal.key_id, refusal.cause, refusal.count) for refusal in report.refusals}
    assert told == {("000000reader", "scope", 1), ("00000revoked", "revoked", 1)}


async def test_what_was_counted_is_told_at_the_end(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    gateway.control_plane.state.faults.reports = Fault(grpc.StatusCode.UNAVAILABLE)
    await gateway.send("GET", "/Users")
    assert await gateway.gateway.reports.run_once() == 0
    gateway.control_plane.state.faults.reports = None
    await gateway.gateway.reports.finish()
    assert [use.count for report in gateway.control_plane.state.reports for use in report.uses] == [1]


async def test_each_call_says_who_acts_in_a_trace_of_our_own(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_trusted_proxies=HERE)
    public = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"User_Agent": "entra/" + "2" * 300, "X_Forwarded_For": "192.0.2.1", "traceparent": public}
    for _ in range(2):
        assert (await gateway.send("GET", "/Users", **headers)).status == 200
    calls = [call.metadata for call in gateway.control_plane.calls("ListResources")]
    parents = [re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", call["traceparent"]) for call in calls]
    assert len({parent[1] for parent in parents if parent}) == 2
    assert "0af7651916cd43dd8448eb211c80319c" not in calls[0]["traceparent"]
    assert calls[0]["muster-actor-agent"] == "entra/" + "2" * 194
    assert calls[0]["muster-actor-address"] == "192.0.2.1"
    assert calls[0]["muster-actor-id"] == "00000default"
    verify = gateway.control_plane.calls("VerifyToken")[0].metadata
    assert verify["traceparent"][:35] == calls[0]["traceparent"][:35]


@pytest.mark.parametrize("said", ['for="192.0.2.1', "for=192.0.2.1;;=x"])
async def test_a_malformed_word_of_a_trusted_proxy_is_400(start_gateway: StartGateway, said: str) -> None:
    gateway = await start_gateway(gateway_trusted_proxies=HERE)
    assert_scim(await gateway.send("GET", "/Users", Forwarded=said), 400)
