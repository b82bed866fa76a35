"""Rows 8, 9, 11, 12 and 13: rate limits, bogus tokens, suspended tenants, refusals, revocation."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import aiohttp
import grpc
import orjson
import pytest

from control_plane.scim.bearer import compose
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1.tenancy_pb2_grpc import TenantServiceStub, TokenServiceStub
from tests.conformance.client import Idp, a_user
from tests.conformance.service import ADMIN, Service
from tests.fixtures.proxy import Proxy
from tests.hardening.sockets import until

Record = Callable[[str, object], None]
WITHIN_S = 1.0
ATTACK_PER_S, ATTACK_S = 1_000, 20


class Tenancy:
    """The admin API, as an operator's script calls it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.tenants, self.tokens = TenantServiceStub(channel), TokenServiceStub(channel)
        self.options: dict[str, Any] = {"metadata": (("authorization", f"Bearer {ADMIN}"),), "timeout": 10}

    def limit(self, tenant: str, **limits: int) -> None:
        """Set limits of a tenant."""
        request = pb.UpdateTenantRequest(tenant=pb.Tenant(id=tenant, limits=pb.TenantLimits(**limits)))
        request.update_mask.paths.extend(f"limits.{name}" for name in limits)
        self.tenants.UpdateTenant(request, **self.options)

    def token(self, tenant: str, **fields: Any) -> pb.CreateTokenResponse:
        """Make one more token."""
        made: pb.CreateTokenResponse = self.tokens.CreateToken(
            pb.CreateTokenRequest(tenant_id=tenant, **fields), **self.options
        )
        return made

    def revoke(self, tenant: str, token: str) -> None:
        """Revoke a token."""
        self.tokens.RevokeToken(pb.RevokeTokenRequest(tenant_id=tenant, id=token), **self.options)


@pytest.fixture
def tenancy(site: Service) -> Iterator[Tenancy]:
    with grpc.insecure_channel(site.control_plane) as channel:
        yield Tenancy(channel)


@contextmanager
def holders(site: Service, token: str, *origins: str) -> Iterator[list[Idp]]:
    """Give one client for each gateway."""
    ones = [Idp(f"{origin}/scim/v2", token) for origin in origins or site.origins[:2]]
    yield ones
    for one in ones:
        one.close()


def p99_ms(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1000


async def timed(session: aiohttp.ClientSession, url: str, token: str, count: int) -> list[float]:
    """Send ``count`` requests one after the other; return the seconds that each took."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
            await answer.read()
        took.append(time.perf_counter() - began)
    return took


@pytest.mark.row(8)
def test_a_burst_is_429_over_all_gateways_together(
    site: Service, idp: Idp, new_idp: Callable[[], Idp], tenancy: Tenancy
) -> None:
    neighbour = new_idp()
    tenancy.limit(idp.tenant, requests_per_second=5, burst=10)
    with holders(site, idp.token) as (one, other):
        answers = [(one, other)[number % 2].send("GET", "/Users?count=0") for number in range(60)]
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 429}
    # The burst, what the bucket gained meanwhile, and what a gateway holds in advance.
    assert 10 <= statuses.count(200) <= 30
    refused = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert neighbour.send("GET", "/Users").status == 200


@pytest.mark.row(9)
@pytest.mark.harden
async def test_bogus_tokens_do_not_slow_a_valid_one(site: Service, idp: Idp, record_property: Record) -> None:
    """1,000 a second for 20 s, from 25 addresses: garbage, unknown, and wrong secrets for a key id that there is."""
    url, port = f"{site.origin}/scim/v2/Users?count=1", str(urlsplit(site.origin).port)
    command = (
        sys.executable,
        "-m",
        "tests.bench.bogus",
        port,
        idp.token.split("_")[2],
        str(ATTACK_PER_S),
        str(ATTACK_S),
    )
    async with aiohttp.ClientSession() as session:
        quiet = await timed(session, url, idp.token, 500)
        attacker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        attacked = []
        while attacker.returncode is None:
            attacked += await timed(session, url, idp.token, 20)
        output, _ = await attacker.communicate()
    answers = orjson.loads(output)
    beside = f"{sum(answers.values()) / ATTACK_S:.0f} bogus tokens/s; answers {answers}"
    record_property(
        "figure",
        f"p99 {p99_ms(quiet):.1f} ms alone, {p99_ms(attacked):.1f} ms beside {beside}",
    )
    assert answers.keys() <= {"401", "429", "503"}
    assert p99_ms(attacked) < 200


@pytest.mark.row(11)
def test_a_token_says_whose_it_is_and_nothing_else_does(site: Service, idp: Idp, new_idp: Callable[[], Idp]) -> None:
    other = new_idp()
    user = other.user()
    for target in (f"/Users/{user['id']}", f"/Users/{user['id']}?tenant={other.tenant}"):
        answer = idp.send("GET", target, X_Tenant=other.tenant, X_Muster_Tenant=other.tenant, Muster_Actor_Id="admin")
        assert answer.status == 404
    for target in (f"/{other.tenant}/Users", f"/../{other.tenant}/scim/v2/Users"):
        assert idp.send("GET", target).status in (400, 404)


@pytest.mark.row(11)
def test_a_suspended_tenant_is_403_and_a_deleted_one_401(
    site: Service, idp: Idp, admin: object, tenancy: Tenancy
) -> None:
    user = idp.user()
    with holders(site, idp.token) as ones:
        tenancy.tenants.SuspendTenant(pb.SuspendTenantRequest(id=idp.tenant, reason="unpaid"), **tenancy.options)
        until(lambda: {one.send("GET", "/Users").status for one in ones} == {403})
        for method, target, body in (("POST", "/Users", a_user()), ("GET", "/ServiceProviderConfig", None)):
            assert {one.send(method, target, body).status for one in ones} == {403}
        tenancy.tenants.ResumeTenant(pb.ResumeTenantRequest(id=idp.tenant), **tenancy.options)
        until(lambda: {one.send("GET", f"/Users/{user['id']}").status for one in ones} == {200})
        name = tenancy.tenants.GetTenant(pb.GetTenantRequest(id=idp.tenant), **tenancy.options).tenant.display_name
        request = pb.DeleteTenantRequest(id=idp.tenant, confirm_display_name=name)
        tenancy.tenants.DeleteTenant(request, **tenancy.options)
        until(lambda: {one.send("GET", "/Users").status for one in ones} == {401})
        tenancy.tenants.RestoreTenant(pb.RestoreTenantRequest(id=idp.tenant), **tenancy.options)
        # A refusal is remembered for a while.
        until(lambda: {one.send("GET", f"/Users/{user['id']}").status for one in ones} == {200}, limit_s=15)


@pytest.mark.row(12)
def test_one_same_401_for_every_bad_token(site: Service, idp: Idp, tenancy: Tenancy) -> None:
    revoked = tenancy.token(idp.tenant)
    tenancy.revoke(idp.tenant, revoked.token.id)
    elsewhere = tenancy.token(idp.tenant, allowed_networks=["192.0.2.0/24"])
    unknown = compose("test", os.urandom(48)).text
    bodies, heads = set(), set()
    for authorization in (
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        f"Bearer {unknown}",
        f"Bearer {unknown[:-1]}",
        f"Bearer {idp.token.replace('test', 'live')}",
        f"Bearer {unknown.replace(unknown.split('_')[2], idp.token.split('_')[2])}",
        f"Bearer {revoked.secret}",
        f"Bearer {elsewhere.secret}",
        f"Bearer {idp.token} {idp.token}",
    ):
        answer = idp.send("GET", "/Users", Authorization=authorization)
        assert answer.status == 401, authorization
        bodies.add(answer.body)
        heads.add(tuple(sorted(f"{name}: {value}" for name, value in answer.headers.items() if varies_not(name))))
    assert len(bodies) == len(heads) == 1
    assert "WWW-Authenticate: Bearer" in next(iter(heads))


def varies_not(header: str) -> bool:
    return header.lower() not in ("date", "x-request-id")


@pytest.mark.row(13)
def test_a_revoked_token_is_refused_within_a_second_on_every_gateway(
    site: Service, idp: Idp, tenancy: Tenancy, record_property: Record
) -> None:
    made = tenancy.token(idp.tenant)
    with holders(site, made.secret) as ones:
        for one in ones:
            assert one.send("GET", "/Users").status == 200
        tenancy.revoke(idp.tenant, made.token.id)
        took = until(lambda: {one.send("GET", "/Users").status for one in ones} == {401}, WITHIN_S)
    record_property("figure", f"refused by two gateways after {took * 1000:.0f} ms")


@pytest.mark.row(13)
async def test_also_when_the_watch_stream_is_cut(
    site: Service, idp: Idp, tenancy: Tenancy, make_proxy: Callable[[int], object], record_property: Record
) -> None:
    """A gateway that hears nothing any more asks again for each request, and answers 503 when nobody can be asked."""
    between: Proxy = await make_proxy(int(site.control_plane.rpartition(":")[2]))  # type: ignore[misc]  # a fixture's function
    # A list may take a minute by default, and then hangs as long on a connection that swallows everything.
    short = {"MUSTER_GATEWAY_RPC_TIMEOUT_S": "2", "MUSTER_GATEWAY_STREAM_TIMEOUT_S": "2"}
    origin = await asyncio.to_thread(
        site.add_gateway, "gateway-cut", {"MUSTER_CONTROL_PLANE": f"127.0.0.1:{between.port}", **short}
    )
    made = tenancy.token(idp.tenant)
    with holders(site, made.secret, origin) as (one,):
        assert (await asyncio.to_thread(one.send, "GET", "/Users")).status == 200
        between.blackhole()
        tenancy.revoke(idp.tenant, made.token.id)
        began = time.monotonic()
        statuses = set()
        while time.monotonic() - began < 8:
            statuses.add(await asyncio.to_thread(lambda: status(origin, made.secret)))
            if statuses & {401, 503}:
                break
        record_property("figure", f"with the stream swallowed: {statuses} after {time.monotonic() - began:.1f} s")
        assert 503 in statuses or 401 in statuses
        between.heal()
        await eventually_401(origin, made.secret)


def status(origin: str, token: str) -> int:
    """Return the status of one request, on a connection of its own."""
    one = Idp(f"{origin}/scim/v2", token)
    try:
        return one.send("GET", "/Users").status
    except AssertionError as err:
        return 503 if "503" in str(err) else 0
    finally:
        one.close()


async def eventually_401(origin: str, token: str) -> None:
    deadline = time.monotonic() + 20
    while await asyncio.to_thread(status, origin, token) != 401:
        assert time.monotonic() < deadline


@pytest.mark.row(9)
def test_no_label_holds_what_an_attacker_sent(site: Service) -> None:
    with urlopen(site.metrics_urls["gateway-1"], timeout=5) as page:
        text = page.read().decode()
    lines = [line for line in text.splitlines() if line.startswith("scim_auth_failure_total")]
    assert lines
    for line in lines:
        assert "muster_" not in line
        reason = line.partition('reason="')[2].partition('"')[0]
        assert reason.replace("_", "").isalpha()
