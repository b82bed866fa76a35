"""Bearer tokens at the gateway: one answer for every cause, revocation at once, closed when nobody can be asked."""

import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, SCOPE_SCIM_WRITE
from tests.fakes.control_plane import TENANT, Fault, token_text
from tests.fixtures.gateway import RunningGateway, StartGateway, eventually

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada"}
UNISSUED = token_text("n" * 12)
EXPIRED = token_text("e" * 12)


async def test_one_and_the_same_401_for_every_cause(gateway: RunningGateway) -> None:
    revoked = gateway.control_plane.issue("revoked")
    gateway.control_plane.revoke(revoked)
    gateway.control_plane.state.refusals[EXPIRED] = ("expired", TENANT)
    headers = [
        None,
        "",
        "Bearer",
        "Bearer ",
        "non-token",
        "Basic YTpi",
        f"Basic {gateway.token}",
        f"Bearer {UNISSUED}",
        f"Bearer {UNISSUED}x y",
        "Bearer muster_test_" + "a" * 5_000,
        "Bearer other_prefix_" + "a" * 49,
        f"Bearer {revoked}",
        f"Bearer {EXPIRED}",
        f"Bearer {UNISSUED[:-1]}",
        f"Bearer {UNISSUED[:-1]}~",
        f"Bearer {gateway.token}\N{LATIN SMALL LETTER E WITH ACUTE}",
    ]
    bodies = set()
    for header in headers:
        for method, path in (("GET", "/Users"), ("POST", "/Groups"), ("GET", "/Schemas"), ("GET", "/nowhere")):
            given = {} if header is None else {"Authorization": header}
            answer = await gateway.send(method, path, token=None, **given)
            assert answer.status == 401, header
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"
            bodies.add(answer.body)
    assert len(bodies) == 1
    reasons = {"missing": 4, "revoked": 4, "expired": 4, "unknown": 4}
    for reason, count in reasons.items():
        tenant = TENANT if reason in ("revoked", "expired") else "unknown"
        assert gateway.metric("scim_auth_failure_total", tenant=tenant, reason=reason) == count
    assert gateway.metric("scim_auth_failure_total", tenant="unknown", reason="malformed") == 4 * 12


async def test_two_authorization_headers_are_one_too_many(gateway: RunningGateway) -> None:
    pair = [("Authorization", f"Bearer {gateway.token}")] * 2
    async with gateway.session.get(f"{gateway.base}/Users", headers=pair) as response:
        assert response.status in (400, 401)  # aiohttp's parser refuses the pair itself


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_case_insensitive(gateway: RunningGateway, scheme: str) -> None:
    answer = await gateway.send("GET", "/Users", token=None, Authorization=f"{scheme} {gateway.token}")
    assert answer.status == 200


async def test_scopes(gateway: RunningGateway) -> None:
    reader = gateway.control_plane.issue("reader", scopes=(SCOPE_SCIM_READ,))
    writer = gateway.control_plane.issue("writer", scopes=(SCOPE_SCIM_WRITE,))
    table = [
        (reader, "GET", "/Users", None, 200),
        (reader, "GET", "/ServiceProviderConfig", None, 200),
        (reader, "POST", "/Users", USER, 403),
        (reader, "PUT", "/Users/1", USER, 403),
        (reader, "PATCH", "/Users/1", USER, 403),
        (reader, "DELETE", "/Users/1", None, 403),
        (writer, "POST", "/Users", USER, 201),
        (writer, "GET", "/Users", None, 403),
    ]
    for token, method, path, body, status in table:
        answer = await gateway.send(method, path, body, token=token)
        assert answer.status == status, (method, path)
        if status == 403:
            assert answer.json["status"] == "403"
            assert answer.headers["Content-Type"].startswith("application/scim+json")
    assert gateway.metric("scim_auth_failure_total", tenant=TENANT, reason="scope") == 5


async def test_a_verified_token_is_asked_about_once(gateway: RunningGateway) -> None:
    for _ in range(10):
        assert (await gateway.send("GET", "/Users")).status == 200
    assert len(gateway.control_plane.calls("VerifyToken")) == 1
    assert gateway.metric("scim_token_cache_hits_total") == 9
    assert gateway.metric("scim_token_cache_misses_total") == 1


async def test_revocation_works_at_once(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "/Users")).status == 200
    gateway.control_plane.revoke(gateway.token)
    revoked_at = time.monotonic()
    while (await gateway.send("GET", "/Users")).status != 401:
        assert time.monotonic() - revoked_at < 1
    other = gateway.control_plane.issue("other")
    assert (await gateway.send("GET", "/Users", token=other)).status == 200


async def test_revocation_works_within_a_second_with_the_stream_cut(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "/Users")).status == 200
    gateway.control_plane.sever_watch(refuse_new=True)
    await eventually(lambda: not gateway.gateway.verifier.is_watched)
    assert gateway.metric("scim_watch_stream_connected") == 0
    assert (await gateway.send("GET", "/Users")).status == 200
    gateway.control_plane.revoke(gateway.token)
    revoked_at = time.monotonic()
    while (await gateway.send("GET", "/Users")).status != 401:
        assert time.monotonic() - revoked_at < 1


async def test_the_stream_comes_back_and_makes_the_gateway_ready_again(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "//readyz", token=None)).status == 200
    gateway.control_plane.sever_watch(refuse_new=True)
    await eventually(lambda: not gateway.gateway.verifier.is_watched)
    assert (await gateway.send("GET", "//readyz", token=None)).status == 503
    assert (await gateway.send("GET", "//livez", token=None)).status == 200
    gateway.control_plane.state.faults.watch_refused = False
    await eventually(lambda: gateway.gateway.verifier.is_watched)
    assert (await gateway.send("GET", "//readyz", token=None)).status == 200
    assert gateway.metric("scim_watch_stream_connected") == 1


async def test_a_revocation_missed_while_cut_is_noticed_on_reconnect(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "/Users")).status == 200
    # Refused until the revocation is done: a stream that is back within a poll would not be seen to have gone.
    gateway.control_plane.sever_watch(refuse_new=True)
    await eventually(lambda: not gateway.gateway.verifier.is_watched)
    gateway.control_plane.revoke(gateway.token)
    gateway.control_plane.state.faults.watch_refused = False
    await eventually(lambda: gateway.gateway.verifier.is_watched)
    assert (await gateway.send("GET", "/Users")).status == 401


async def test_closed_but_never_401_when_the_control_plane_is_gone(gateway: RunningGateway) -> None:
    assert (await gateway.send("GET", "/Users")).status == 200
    await gateway.control_plane.stop()
    await eventually(lambda: not gateway.gateway.verifier.is_watched)
    unseen = gateway.control_plane.issue("unseen")
    for token in (gateway.token, unseen):
        answer = await gateway.send("GET", "/Users", token=token)
        assert (answer.status, answer.json["status"]) == (503, "503")
        assert answer.headers["Retry-After"] == "1"
    assert (await gateway.send("GET", "/Schemas", token=unseen)).status == 503
    assert (await gateway.send("GET", "/Users", token=None)).status == 401
    assert not [
        sample
        for metric in gateway.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "scim_auth_failure_total" and sample.labels["reason"] != "missing"
    ]


async def test_it_serves_again_when_the_control_plane_is_back(gateway: RunningGateway) -> None:
    await gateway.control_plane.stop()
    assert (await gateway.send("GET", "/Users")).status == 503
    await gateway.control_plane.start()
    await eventually(lambda: gateway.gateway.verifier.is_watched)
    assert (await gateway.send("GET", "/Users")).status == 200


async def test_an_expiry_is_looked_at_on_every_hit(gateway: RunningGateway) -> None:
    soon = gateway.control_plane.issue("soon", expires_at=datetime.now(UTC) + timedelta(seconds=0.3))
    assert (await gateway.send("GET", "/Users", token=soon)).status == 200
    del gateway.control_plane.state.tokens[soon]
    gateway.control_plane.state.refusals[soon] = ("expired", TENANT)
    began = time.monotonic()
    while (await gateway.send("GET", "/Users", token=soon)).status != 401:
        assert time.monotonic() - began < 1
    assert gateway.metric("scim_auth_failure_total", tenant=TENANT, reason="expired") == 1


async def test_too_many_verifications_at_the_control_plane_are_429(gateway: RunningGateway) -> None:
    gateway.control_plane.state.faults.call = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2)
    answer = await gateway.send("GET", "/Users")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2")


async def test_a_gateway_with_a_wrong_credential_blames_itself(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_token="wrong", wait_ready=False)
    answer = await gateway.send("GET", "/Users")
    assert answer.status == 500
    assert answer.headers["X-Request-Id"] in answer.json["detail"]
    assert (await gateway.send("GET", "//readyz", token=None)).status == 503
