"""Row 10: with tenant A's credential nothing of tenant B can be told from what does not exist.

Over HTTP with a SCIM token, over gRPC with a service's API key that is good for tenant A alone: every method, the same
status, the same body, the same class of time.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import pytest

from control_plane.api.policy import POLICY, SCOPES
from control_plane.domain.identities import Role
from tests.conformance.client import GROUP, PATCH_OP, Idp, a_user
from tests.conformance.service import ADMIN, Service
from tests.hardening.calls import Said, call

Record = Callable[[str, object], None]
T = "/muster.tenancy.v1."
D = "/muster.directory.v1."
A = "/muster.audit.v1.AuditService/"
SCHEMA = {
    "resourceType": "RESOURCE_TYPE_USER",
    "name": "X",
    "attributes": [{"name": "a", "type": "ATTRIBUTE_TYPE_STRING"}],
}
USERS = {"type": "RESOURCE_TYPE_USER"}

# A valid request of each RPC that names a tenant, but for the tenant: <tenant>, and the id: <id>.
TENANT_WIDE: dict[str, dict[str, Any]] = {
    T + "TenantService/GetTenant": {"id": "<tenant>"},
    T + "TenantService/UpdateTenant": {"tenant": {"id": "<tenant>", "displayName": "x"}, "updateMask": "displayName"},
    T + "TenantService/SuspendTenant": {"id": "<tenant>"},
    T + "TenantService/ResumeTenant": {"id": "<tenant>"},
    T + "TenantService/DeleteTenant": {"id": "<tenant>", "confirmDisplayName": "x"},
    T + "TenantService/RestoreTenant": {"id": "<tenant>"},
    T + "TokenService/CreateToken": {"tenantId": "<tenant>"},
    T + "TokenService/ListTokens": {"tenantId": "<tenant>"},
    T + "TargetService/CreateTarget": {
        "tenantId": "<tenant>",
        "displayName": "x",
        "scim": {"baseUrl": "http://127.0.0.1:9/scim", "bearerToken": "x"},
    },
    T + "TargetService/ListTargets": {"tenantId": "<tenant>"},
    D + "DirectoryService/CreateResource": {
        "tenantId": "<tenant>",
        **USERS,
        "document": json.dumps(a_user("isolation")),
    },
    D + "DirectoryService/ListResources": {"tenantId": "<tenant>", **USERS},
    D + "DirectoryService/BulkWrite": {"tenantId": "<tenant>", "document": '{"Operations":[]}'},
    D + "SchemaService/CreateSchema": {"schema": {"tenantId": "<tenant>", "id": "urn:x:y:1.0:User", **SCHEMA}},
    D + "SchemaService/ListSchemas": {"tenantId": "<tenant>"},
    D + "SchemaService/GetDiscovery": {"tenantId": "<tenant>", "kind": "DISCOVERY_KIND_SCHEMAS"},
    A + "ListAuditEvents": {"tenantId": "<tenant>"},
    A + "TailAuditEvents": {"tenantId": "<tenant>"},
    A + "ExportAuditEvents": {"tenantId": "<tenant>"},
    A + "VerifyAuditTrail": {"tenantId": "<tenant>"},
}
# RPCs about one thing of a tenant: the request, and which of B's things <id> is.
THINGS: dict[str, tuple[dict[str, Any], str]] = {
    T + "TokenService/RotateToken": ({}, "token"),
    T + "TokenService/RevokeToken": ({}, "token"),
    T + "TargetService/GetTarget": ({}, "target"),
    T + "TargetService/UpdateTarget": ({"displayName": "stolen", "updateMask": "displayName"}, "target"),
    T + "TargetService/ActivateTarget": ({}, "target"),
    T + "TargetService/PauseTarget": ({}, "target"),
    T + "TargetService/GetTargetStatus": ({}, "target"),
    D + "DirectoryService/GetResource": (USERS, "user"),
    D + "DirectoryService/ReplaceResource": ({**USERS, "document": json.dumps(a_user("stolen"))}, "user"),
    D + "DirectoryService/PatchResource": (
        {**USERS, "document": json.dumps({"schemas": [PATCH_OP], "Operations": [{"op": "remove", "path": "title"}]})},
        "user",
    ),
    D + "DirectoryService/DeleteResource": (USERS, "user"),
    D + "DirectoryService/StreamMembers": ({}, "group"),
    D + "SchemaService/GetSchema": ({}, "schema"),
    D + "SchemaService/DeleteSchema": ({}, "schema"),
    D + "SchemaService/UpdateSchema": ({"schema": {"tenantId": "<tenant>", "id": "<id>", **SCHEMA}}, "schema"),
}
# They name no tenant: a key that is good for some tenants only may not call them.
OTHERS = {
    T + "TenantService/CreateTenant": {"displayName": "x"},
    T + "TenantService/ListTenants": {},
    A + "GetCheckpointKey": {},
}
# Says who calls, and of nobody else.
HARMLESS = {"/muster.identity.v1.OperatorService/GetCaller"}


@dataclass(frozen=True)
class World:
    """Tenant A with a key of its own; tenant B with one thing of each kind."""

    channel: grpc.Channel
    key: str
    mine: Idp
    theirs: Idp
    things: dict[str, str]

    def ask(self, name: str, request: dict[str, Any], tenant: str, thing: str = "") -> Said:
        """Call with A's key."""
        text = json.dumps(request).replace("<tenant>", tenant).replace("<id>", thing)
        return call(self.channel, name, self.key, json.loads(text))


@pytest.fixture
def world(site: Service, new_idp: Callable[[], Idp]) -> Iterator[World]:
    mine, theirs = new_idp(), new_idp()
    with grpc.insecure_channel(site.control_plane) as channel:

        def admin(name: str, request: dict[str, Any]) -> Any:
            said = call(channel, name, ADMIN, request)
            assert said.code is grpc.StatusCode.OK, (name, said)
            return said.response

        key = {"service": "isolation", "scopes": list(SCOPES), "tenantIds": [mine.tenant]}
        secret = admin("/muster.identity.v1.ApiKeyService/CreateApiKey", key).secret
        target = json.loads(
            json.dumps(TENANT_WIDE[T + "TargetService/CreateTarget"]).replace("<tenant>", theirs.tenant)
        )
        urn = f"urn:b:{uuid4().hex}:1.0:User"
        admin(D + "SchemaService/CreateSchema", {"schema": {"tenantId": theirs.tenant, "id": urn, **SCHEMA}})
        user = theirs.user()["id"]
        things = {
            "user": user,
            "group": theirs.group("crew", user)["id"],
            "token": admin(T + "TokenService/CreateToken", {"tenantId": theirs.tenant}).token.id,
            "target": admin(T + "TargetService/CreateTarget", target).target.id,
            "schema": urn,
        }
        yield World(channel, secret, mine, theirs, things)


def random_one(kind: str) -> str:
    return f"urn:b:{uuid4().hex}:1.0:User" if kind == "schema" else str(uuid4())


@pytest.mark.row(10)
def test_the_walk_leaves_no_rpc_out() -> None:
    walked = TENANT_WIDE.keys() | THINGS.keys() | OTHERS.keys() | HARMLESS
    assert walked == {name for name, rule in POLICY.items() if Role.SERVICE in rule.roles}


@pytest.mark.row(10)
def test_another_tenants_things_are_like_things_that_do_not_exist(world: World) -> None:
    for name, (fields, kind) in THINGS.items():
        request = {"tenantId": "<tenant>", "id": "<id>", **fields} if "schema" not in fields else fields
        nobody = random_one(kind)
        theirs = world.ask(name, request, world.mine.tenant, world.things[kind])
        random = world.ask(name, request, world.mine.tenant, nobody)
        assert theirs.code is grpc.StatusCode.NOT_FOUND, (name, theirs)
        assert theirs.neutral(world.things[kind]) == random.neutral(nobody), name


@pytest.mark.row(10)
def test_another_tenant_is_like_a_tenant_that_does_not_exist(world: World) -> None:
    for name, request in TENANT_WIDE.items():
        nobody = str(uuid4())
        theirs = world.ask(name, request, world.theirs.tenant)
        random = world.ask(name, request, nobody)
        assert theirs.code is grpc.StatusCode.PERMISSION_DENIED, (name, theirs)
        assert theirs.neutral(world.theirs.tenant) == random.neutral(nobody), name
    for name, request in OTHERS.items():
        assert world.ask(name, request, "").code is grpc.StatusCode.PERMISSION_DENIED, name
    # The key is good: what is refused is refused for the tenant's sake.
    assert world.ask(T + "TenantService/GetTenant", {"id": "<tenant>"}, world.mine.tenant).code is grpc.StatusCode.OK


@pytest.mark.row(10)
def test_nothing_of_the_other_tenant_was_changed(world: World) -> None:
    before = (world.theirs.get("/Users"), world.theirs.get("/Groups"))
    test_another_tenants_things_are_like_things_that_do_not_exist(world)
    test_another_tenant_is_like_a_tenant_that_does_not_exist(world)
    assert (world.theirs.get("/Users"), world.theirs.get("/Groups")) == before


SCIM_METHODS = [
    (method, f"/{kind}/<id>{tail}")
    for kind in ("Users", "Groups")
    for method in ("GET", "PUT", "PATCH", "DELETE", "POST")
    for tail in ("", "?attributes=id", "?excludedAttributes=members")
]


@pytest.mark.row(10)
def test_over_http_as_well(world: World, record_property: Record) -> None:
    whole = {"Users": a_user("stolen"), "Groups": {"schemas": [GROUP], "displayName": "stolen"}}
    patch = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": "displayName", "value": "x"}]}
    for method, target in SCIM_METHODS:
        kind = target.split("/")[1]
        thing = world.things["user" if kind == "Users" else "group"]
        body = {"PUT": whole[kind], "POST": whole[kind], "PATCH": patch}.get(method)
        answers = []
        for one in (thing, str(uuid4())):
            answer = world.mine.send(method, target.replace("<id>", one), body)
            answers.append((answer.status, answer.body.decode().replace(one, "<id>")))
        assert answers[0] == answers[1], (method, target)
        assert answers[0][0] in (404, 405), (method, target)
    medians = {}
    for name, ids in (("theirs", [world.things["user"]] * 30), ("random", [str(uuid4()) for _ in range(30)])):
        medians[name] = statistics.median(timed(world.mine, one) for one in ids) * 1000
    record_property("figure", ", ".join(f"{name} {ms:.2f} ms" for name, ms in medians.items()))


def timed(idp: Idp, thing: str) -> float:
    began = time.perf_counter()
    idp.send("GET", f"/Users/{thing}")
    return time.perf_counter() - began
