"""Row 21: secrets and personal values are sent wherever they can be sent, right and wrong; nothing repeats them.

Searched: the logs and metrics of all processes, the audit trail as the database's superuser sees it, its export without
personal values in each format, and every error's body and text. An error may name the user it is about to the very
client that sent the name ("userName 'ada' is already in use"), but no secret. A key id is public, and no canary;
neither is the name of an unknown attribute, which the trail tells for whoever wonders where it went.
"""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import grpc
import psycopg
import pytest
from psycopg import sql

from protos.audit.v1 import audit_pb2
from protos.audit.v1.audit_pb2_grpc import AuditServiceStub
from tests.conformance.client import BULK, PATCH_OP, USER, Idp
from tests.conformance.service import ADMIN, GATEWAY, Service
from tests.fixtures.postgres import PostgresServer
from tests.hardening.calls import Said, call
from tests.hardening.conftest import DATABASE
from tests.hardening.sockets import until
from tests.hardening.test_operators import wrong

Record = Callable[[str, object], None]
TENANCY, DIRECTORY, IDENTITY = "/muster.tenancy.v1.", "/muster.directory.v1.DirectoryService/", "/muster.identity.v1."
AUDIT_TABLES = ("audit_events", "audit_pending", "audit_chain", "audit_heads")
FORMATS = (audit_pb2.EXPORT_FORMAT_JSONL, audit_pb2.EXPORT_FORMAT_CSV, audit_pb2.EXPORT_FORMAT_OCSF)
# Long enough to be found by no accident, and nothing that a rule for tokens or addresses would know.
PERSONAL = ("username", "familyname", "title", "filter")
SECRET = ("password", "bearer")


def user(canary: dict[str, str], **attributes: Any) -> dict[str, Any]:
    return {
        "schemas": [USER],
        "userName": canary["username"],
        "password": canary["password"],
        "name": {"familyName": canary["familyname"]},
        "emails": [{"value": canary["email"], "type": "work"}],
        "title": canary["title"],
        "unknownAttribute": canary["title"],
        **attributes,
    }


def over_http(idp: Idp, canary: dict[str, str]) -> list[str]:
    """Send canaries in good requests and in all kinds of bad ones; return what was answered to the bad ones."""
    made = idp.send("POST", "/Users", user(canary)).ok(201)
    name, email, password = canary["username"], canary["email"], canary["password"]
    place = f"/Users/{made['id']}"
    change = [{"op": "replace", "path": "name.familyName", "value": canary["familyname"]}]
    idp.send("PATCH", place, {"schemas": [PATCH_OP], "Operations": change}).ok()
    idp.send("PUT", place, user(canary)).ok()
    value_filter = f'emails[value eq "{email}" and nosuch eq "{password}"]'
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": user(canary)},
        {"method": "PUT", "path": f"/Users/{name}", "data": user(canary)},
        {"method": "PATCH", "path": place, "data": {"Operations": [{"op": "remove", "path": value_filter}]}},
    ]
    tried: list[tuple[str, str, Any]] = [
        ("POST", "/Users", user(canary)),
        ("POST", "/Users", user(canary, active=email)),
        ("POST", "/Users", user(canary, emails=[{"value": 7, "type": email}])),
        ("POST", "/Users", f'{{"userName": "{name}", "password": "{password}", '),
        ("POST", "/Users", f'{{"password": "{password}", "password": "{email}"}}'),
        ("POST", "/Groups", {"displayName": canary["title"], "members": [{"value": email}]}),
        ("PATCH", place, {"schemas": [PATCH_OP], "Operations": [{"op": password, "path": email, "value": name}]}),
        ("PATCH", place, {"schemas": [PATCH_OP], "Operations": [{"op": "remove", "path": value_filter}]}),
        ("PUT", f"/Users/{name}", user(canary)),
        ("GET", f"/Users/{email}", None),
        ("GET", f"/Users?filter=nosuch%20eq%20%22{canary['filter']}%22%20and%20(", None),
        ("GET", f"/Users?cursor={canary['filter']}&sortBy={canary['filter']}", None),
        ("GET", f"/{email}?token={idp.token}", None),
        ("POST", "/Bulk", {"schemas": [BULK], "Operations": operations}),
    ]
    texts = []
    for method, target, content in tried:
        answer = idp.send(method, target, content)
        assert answer.status >= 400 or target == "/Bulk", (method, target, answer.status)
        texts.append(answer.body.decode())
    bad = (idp.token[:-1], wrong(idp.token), canary["bearer"], f"{idp.token} x")
    texts += [idp.send("GET", "/Users", Authorization=f"Bearer {one}").body.decode() for one in bad]
    idp.send("DELETE", place).ok(204)
    return texts


def over_grpc(channel: grpc.Channel, tenant: str, canary: dict[str, str], key: str) -> list[str]:
    """The same over gRPC, as an administrator; return what the refusals said."""

    def asked(name: str, request: dict[str, Any], token: str = ADMIN) -> Said:
        return call(channel, name, token, request)

    scim = {"baseUrl": f"http://127.0.0.1:9/{uuid4().hex}", "bearerToken": canary["bearer"]}
    here = {"tenantId": tenant}
    password, email = canary["password"], canary["email"]
    tried = [
        asked(TENANCY + "TargetService/CreateTarget", {**here, "scim": scim}),
        asked(TENANCY + "TargetService/CreateTarget", {**here, "displayName": "x", "scim": scim | {"baseUrl": "x:y"}}),
        asked(TENANCY + "TargetService/UpdateTarget", {**here, "id": str(uuid4()), "scim": scim, "updateMask": "scim"}),
        asked(TENANCY + "TokenService/VerifyToken", {"presented": wrong(key).replace("_op_", "_test_")}, GATEWAY),
        asked(TENANCY + "TokenService/VerifyToken", {"presented": canary["bearer"]}, GATEWAY),
        asked(TENANCY + "TenantService/ListTenants", {}, canary["bearer"]),
        asked(TENANCY + "TenantService/ListTenants", {}, wrong(key)),
        asked(TENANCY + "TenantService/ListTenants", {"pageToken": canary["filter"]}),
        asked(IDENTITY + "OperatorService/CreateOperator", {"email": password, "role": "OPERATOR_ROLE_OWNER"}),
        asked(IDENTITY + "ApiKeyService/CreateApiKey", {"service": password, "scopes": [email]}),
        asked(DIRECTORY + "CreateResource", {**here, "type": "RESOURCE_TYPE_USER", "document": f'{{"{password}": '}),
        asked(DIRECTORY + "GetResource", {**here, "type": "RESOURCE_TYPE_USER", "id": email}),
        asked(DIRECTORY + "CreateResource", {"tenantId": password, "type": "RESOURCE_TYPE_USER", "document": email}),
    ]
    assert not [one for one in tried if one.code is grpc.StatusCode.OK]
    return [one.message for one in tried]


@contextmanager
def echo() -> Iterator[str]:
    """A target that answers every request with 400, the credential and the body, as some do in their errors."""

    class Echo(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self.send_response(400, self.headers.get("Authorization"))
            self.end_headers()
            self.wfile.write(f'{{"detail": "{self.headers.get("Authorization")}", "sent": {sent or "0"}}}'.encode())

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/scim"
        server.shutdown()


def at_a_target(channel: grpc.Channel, idp: Idp, canary: dict[str, str], url: str) -> list[str]:
    """Let the worker fail at a target that repeats what it is sent; return what is told of it."""
    here = {"tenantId": idp.tenant}

    def asked(name: str, **request: Any) -> Any:
        said = call(channel, f"{TENANCY}TargetService/{name}", ADMIN, here | request)
        assert said.code is grpc.StatusCode.OK, said
        return said.response

    scim = {"baseUrl": url, "bearerToken": canary["bearer"]}
    made = asked("CreateTarget", displayName="echo", scim=scim).target.id
    asked("ActivateTarget", id=made)
    idp.send("POST", "/Users", user(canary)).ok(201)
    until(lambda: asked("GetTargetStatus", id=made).failing > 0, limit_s=15)
    told = [str(asked(name, id=made)) for name in ("GetTargetStatus", "GetTarget", "PauseTarget")]
    return [*told, str(asked("ListTargets"))]


def tables(server: PostgresServer) -> Iterator[tuple[str, str]]:
    """Yield the audit tables as text; what is bytes reads as both hexadecimal and Latin-1."""
    text = "SELECT coalesce(string_agg(t::text, '|'), '') FROM {} t"
    with psycopg.connect(server.engine.superuser_url(DATABASE)) as connection:
        for name in AUDIT_TABLES:
            row = connection.execute(sql.SQL(text).format(sql.Identifier(name))).fetchone()
            assert row is not None
            yield name, row[0]
        sealed = "SELECT coalesce(string_agg(encode(personal, 'escape'), '|'), '') FROM audit_events"
        row = connection.execute(sealed).fetchone()
        assert row is not None
        yield "personal", row[0]


def exports(channel: grpc.Channel, tenant: str) -> Iterator[tuple[str, str]]:
    """Yield the trail in each format, without personal values."""
    for form in FORMATS:
        request = audit_pb2.ExportAuditEventsRequest(tenant_id=tenant, format=form)
        metadata = (("authorization", f"Bearer {ADMIN}"),)
        pieces = AuditServiceStub(channel).ExportAuditEvents(request, metadata=metadata, timeout=20)
        yield f"export {form}", b"".join(piece.data for piece in pieces).decode()


@pytest.mark.row(21)
def test_no_canary_sings(
    site: Service, idp: Idp, worker: str, postgres_server: PostgresServer, record_property: Record
) -> None:
    canary = {word: f"canary-{word}-{uuid4().hex}" for word in PERSONAL + SECRET}
    canary["email"] = f"canary-{uuid4().hex}@example.com"
    with grpc.insecure_channel(site.control_plane) as channel, echo() as url:
        service = {"service": "canary", "scopes": ["audit:read"]}
        made: Any = call(channel, IDENTITY + "ApiKeyService/CreateApiKey", ADMIN, service).response
        key: str = made.secret
        replies = over_http(idp, canary) + over_grpc(channel, idp.tenant, canary, key)
        replies += at_a_target(channel, idp, canary, url)
        until(lambda: sealed(channel, idp.tenant))
        places = dict(exports(channel, idp.tenant))
        personal = audit_pb2.ListAuditEventsRequest(tenant_id=idp.tenant, page_size=1000, include_personal=True)
        metadata = (("authorization", f"Bearer {ADMIN}"),)
        told = str(AuditServiceStub(channel).ListAuditEvents(personal, metadata=metadata, timeout=20))
    secrets = [*(canary[word] for word in SECRET), idp.token[-49:-6], key[-49:-6], ADMIN, GATEWAY]
    for name, address in site.metrics_urls.items():
        with urlopen(address, timeout=5) as page:
            places[f"metrics of {name}"] = page.read().decode()
    places |= {f"log of {name}": text for name, text in site.logs.items()} | dict(tables(postgres_server))
    hits = [(place, one) for place, text in places.items() for one in {*secrets, *canary.values()} if one in text]
    hits += [("an answer", one) for text in replies for one in secrets if one in text]
    searched = len(places) + len(replies)
    record_property("figure", f"{len({*secrets, *canary.values()})} canaries, {searched} places: {len(hits)} hits")
    assert hits == []
    # They were really there: who may see personal values and asks for them gets the name, and never the password.
    assert canary["username"] in told
    assert canary["password"] not in told
    assert "user.create" in places["audit_events"]


def sealed(channel: grpc.Channel, tenant: str) -> bool:
    """Tell whether all of a tenant's events have their place in the chain, so that an export has them."""
    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, page_size=1000)
    metadata = (("authorization", f"Bearer {ADMIN}"),)
    events = AuditServiceStub(channel).ListAuditEvents(request, metadata=metadata, timeout=10).events
    return all(one.seq for one in events)
