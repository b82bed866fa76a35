"""Rows 16 to 18, 20, 24, 28 and 30: what is not there cannot be attacked; and what a stranger finds."""

import asyncio
import csv
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from psycopg import sql

from protos.audit.v1 import audit_pb2
from protos.audit.v1.audit_pb2_grpc import AuditServiceStub
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1.tenancy_pb2_grpc import TokenServiceStub
from tests.conformance.client import Idp, a_user
from tests.conformance.service import ADMIN, Service
from tests.fixtures.postgres import PostgresServer
from tests.hardening.conftest import DATABASE
from tests.hardening.sockets import request, say, until

ROOT = Path(__file__).resolve().parents[2]
Record = Callable[[str, object], None]
OPTIONS: dict[str, Any] = {"metadata": (("authorization", f"Bearer {ADMIN}"),), "timeout": 10}

XXE = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "http://127.0.0.1:%d/"><!ENTITY f SYSTEM "file:///etc/passwd">
<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><r>&x;&f;&c;</r>"""


@pytest.mark.row(16)
@pytest.mark.parametrize("media_type", ["application/xml", "text/xml", "application/scim+xml", "application/samlp+xml"])
async def test_xml_is_not_read(site: Service, idp: Idp, media_type: str) -> None:
    met = asyncio.Event()

    async def trap(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        writer.close()

    async with await asyncio.start_server(trap, "127.0.0.1", 0) as server:
        body = XXE % server.sockets[0].getsockname()[1]
        for target in ("/scim/v2/Users", "/scim/v2/Bulk", "/scim/v2/.search", "/saml/acs"):
            heads = (f"Content-Type: {media_type}", f"Content-Length: {len(body)}", "Connection: close")
            heard = await say(site.origin, request(idp.token, "POST", target, *heads, body=body))
            assert heard.statuses[0] in (404, 415), target
            assert b"root:" not in heard.raw
    assert not met.is_set()


@pytest.mark.row(16)
def test_no_xml_parser_is_even_loaded() -> None:
    """As long as there is no SAML, which comes with the portal and its own attacks."""
    code = "import scim_gateway.app, sys; print([m for m in sys.modules if m.split('.')[0] in ('lxml','pyexpat')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout == b"[]\n"


@pytest.mark.row(17)
async def test_a_foreign_page_gets_no_leave(site: Service, idp: Idp) -> None:
    origin = ("Origin: https://evil.test", "Sec-Fetch-Site: cross-site", "Connection: close")
    preflight = await say(
        site.origin, request(idp.token, "OPTIONS", "/scim/v2/Users", "Access-Control-Request-Method: POST", *origin)
    )
    # What a page may send without a preflight: no credential of ours can be in it, and its media type is no JSON.
    body = json.dumps(a_user()).encode()
    plain = ("Content-Type: text/plain", f"Content-Length: {len(body)}")
    simple = await say(site.origin, request(idp.token, "POST", "/scim/v2/Users", *plain, *origin, body=body))
    for heard in (preflight, simple):
        assert b"access-control-allow" not in heard.raw.lower()
    assert preflight.statuses == [405]
    assert simple.statuses == [415]


# What a read may change: who used which token when, and the trail itself.
MOVING = {"tokens", "api_keys", "audit_events", "audit_pending", "audit_chain", "audit_heads", "audit_checkpoints"}


def state_of(server: PostgresServer) -> dict[str, tuple[int, str]]:
    """Return the number of rows and a digest of each table."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    digest = "SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {} t"
    with psycopg.connect(server.engine.superuser_url(DATABASE)) as connection:
        names = [str(row[0]) for row in connection.execute(tables)]
        found = {}
        for name in names:
            if name not in MOVING:
                row = connection.execute(sql.SQL(digest).format(sql.Identifier(name))).fetchone()
                assert row is not None
                found[name] = (int(row[0]), str(row[1]))
    return found


@pytest.mark.row(17)
def test_get_changes_nothing(site: Service, idp: Idp, postgres_server: PostgresServer) -> None:
    user, group = idp.user()["id"], idp.group()["id"]
    before = state_of(postgres_server)
    assert before["resources"][0] >= 2
    targets = ["/", "/Users", "/Groups", "/Schemas", "/ResourceTypes", "/ServiceProviderConfig", "/Me", "/Bulk"]
    targets += [
        f"/Users/{user}",
        f"/Groups/{group}",
        f"/Users/{user}?active=false",
        "/Users/.search",
        "/Users?filter=x",
    ]
    for target in targets:
        idp.send("GET", target)
    assert state_of(postgres_server) == before


@pytest.mark.row(18)
async def test_no_cookie_is_set_or_believed(site: Service, idp: Idp) -> None:
    """There are no sessions as long as there is no console: a bearer token is all that counts."""
    cookie = (f"Cookie: token={idp.token}; session={idp.token}; __Host-session={idp.token}", "Connection: close")
    sent = f"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\n{cookie[0]}\r\nConnection: close\r\n\r\n"
    heard = await say(site.origin, sent.encode())
    assert heard.statuses == [401]
    for target in ("/scim/v2/Users", "/nowhere", "/livez"):
        heard = await say(site.origin, request(idp.token, "GET", target, *cookie))
        assert b"set-cookie" not in heard.raw.lower()


HOSTILE_TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "\u202egnp.exe",
    '=HYPERLINK("http://evil.test","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "%0d%0aSet-Cookie: a=b",
    "a\r\nX-Injected: 1",
)


@pytest.mark.row(20)
def test_hostile_text_stays_text(site: Service, idp: Idp) -> None:
    for text in HOSTILE_TEXTS:
        user = idp.user(displayName=text, title=text, externalId=text)
        answer = idp.send("GET", f"/Users/{user['id']}")
        assert answer.json["displayName"] == text
        assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"
        assert "X-Injected" not in answer.headers
        idp.group(text)
    # A line of a log is one line, whatever was sent.
    for line in site.log_of("gateway-1").splitlines():
        assert json.loads(line)["event"]


@pytest.mark.row(20)
def test_no_cell_of_an_export_begins_a_formula(site: Service, idp: Idp) -> None:
    for text in HOSTILE_TEXTS:
        idp.group(text)
        idp.user(text.strip() or "x", displayName=text)
    with grpc.insecure_channel(site.control_plane) as channel:
        # What is exported is sealed, a second after it happened at the latest.
        until(lambda: sealed(channel, idp.tenant) >= 2 * len(HOSTILE_TEXTS))
        asked = audit_pb2.ExportAuditEventsRequest(
            tenant_id=idp.tenant, format=audit_pb2.EXPORT_FORMAT_CSV, include_personal=True
        )
        pieces = AuditServiceStub(channel).ExportAuditEvents(asked, **OPTIONS)
        text = b"".join(piece.data for piece in pieces).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) > len(HOSTILE_TEXTS)
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")), cell


def sealed(channel: grpc.Channel, tenant: str) -> int:
    """Return how many of a tenant's events have their place in the chain."""
    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, page_size=1000)
    return sum(1 for event in AuditServiceStub(channel).ListAuditEvents(request, **OPTIONS).events if event.seq)


@pytest.mark.row(24)
def test_a_secret_is_shown_once_and_kept_nowhere(site: Service, idp: Idp, postgres_server: PostgresServer) -> None:
    """One-time setup links come with the console; until then a token's secret is what is shown once."""
    with grpc.insecure_channel(site.control_plane) as channel:
        stub = TokenServiceStub(channel)
        made = stub.CreateToken(pb.CreateTokenRequest(tenant_id=idp.tenant), **OPTIONS)
        listed = stub.ListTokens(pb.ListTokensRequest(tenant_id=idp.tenant), **OPTIONS)
    secret = made.secret.rpartition("_")[2]
    assert secret not in str(listed)
    dump = "SELECT coalesce(string_agg(t::text, '|'), '') FROM {} t"
    with psycopg.connect(postgres_server.engine.superuser_url(DATABASE)) as connection:
        for table in state_of(postgres_server).keys() | MOVING:
            row = connection.execute(sql.SQL(dump).format(sql.Identifier(table))).fetchone()
            assert row is not None
            assert secret not in row[0], table
            assert secret[:43] not in row[0], table


@pytest.mark.row(24)
async def test_a_token_in_a_url_is_no_token(site: Service, idp: Idp) -> None:
    target = f"/scim/v2/Users?access_token={idp.token}&token={idp.token}"
    heard = await say(site.origin, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert heard.statuses == [401]
    assert idp.token not in site.log_of("gateway-1")


@pytest.mark.row(28)
def test_every_requirement_is_locked_by_hash() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text()
        pins = re.findall(r"^([A-Za-z0-9_.\[\]-]+)==", text, re.MULTILINE)
        assert pins, file.name
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in re.sub(r"#.*", "", text), file.name


@pytest.mark.row(28)
@pytest.mark.harden
def test_the_bill_of_materials_names_every_package(record_property: Record) -> None:
    subprocess.run(["make", "-s", "sbom"], cwd=ROOT, check=True)
    bill = json.loads((ROOT / "sbom.cdx.json").read_text())
    named = {one["name"].lower().replace("_", "-") for one in bill["components"]}
    locked = re.findall(r"^([A-Za-z0-9_.-]+)", (ROOT / "requirements" / "base.txt").read_text(), re.MULTILINE)
    assert {one.lower().replace("_", "-") for one in locked} <= named
    record_property("figure", f"{len(named)} components in the SBOM")


@pytest.mark.row(30)
@pytest.mark.parametrize(
    "target", ["/metrics", "/debug", "/channelz", "/grpc.health.v1.Health/Check", "/.env", "/admin"]
)
async def test_nothing_of_the_inside_is_on_the_public_port(site: Service, idp: Idp, target: str) -> None:
    heard = await say(site.origin, request(idp.token, "GET", target, "Connection: close"))
    assert heard.statuses == [404]


@pytest.mark.row(30)
def test_health_moves_to_the_admin_port(site: Service) -> None:
    public = site.add_gateway(
        "gateway-admin",
        {"MUSTER_CONTROL_PLANE": site.control_plane, "MUSTER_GATEWAY_ADMIN_LISTEN": "127.0.0.1:0"},
    )
    admin_port = next(
        line["admin_port"]
        for line in map(json.loads, site.log_of("gateway-admin").splitlines())
        if line["event"] == "ready"
    )
    for path in ("/livez", "/readyz", "/startupz"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(public + path, timeout=5)
        assert refused.value.code in (401, 404)
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}{path}", timeout=5) as answer:
            assert answer.status == 200
