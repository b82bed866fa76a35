"""Discovery over HTTP (RFC 7644 section 4): what the tenant of the token has, as the control plane tells it."""

import pytest

from control_plane.scim.registry import SchemaRegistry, default_registry
from protos.directory.v1 import directory_pb2 as wire
from tests.fakes.control_plane import OTHER_TENANT, TENANT
from tests.fixtures.gateway import RunningGateway

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CONFIG = wire.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG
TYPES, SCHEMAS = wire.DISCOVERY_KIND_RESOURCE_TYPES, wire.DISCOVERY_KIND_SCHEMAS


@pytest.mark.parametrize(
    ("path", "kind", "wanted"),
    [
        ("/ServiceProviderConfig", CONFIG, ""),
        ("/ServiceProviderConfig/?", CONFIG, ""),
        ("/Schemas", SCHEMAS, ""),
        ("/Schemas/", SCHEMAS, ""),
        (f"/Schemas/{USER}", SCHEMAS, USER),
        (f"/Schemas/{USER.replace(':', '%3A')}/", SCHEMAS, USER),
        ("/ResourceTypes", TYPES, ""),
        ("/ResourceTypes/Group", TYPES, "Group"),
    ],
)
async def test_the_control_plane_is_asked_on_behalf_of_the_tenant(
    gateway: RunningGateway, path: str, kind: int, wanted: str
) -> None:
    answer = await gateway.send("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    assert answer.headers["X-Request-Id"]
    (call,) = gateway.control_plane.calls("GetDiscovery")
    assert (call.message.tenant_id, call.message.kind, call.message.id) == (TENANT, kind, wanted)
    assert call.message.reference_base == gateway.base


async def test_each_tenant_sees_its_own_schemas(gateway: RunningGateway) -> None:
    plain = default_registry()
    users_only = [kind for kind in plain.resource_types if kind.name == "User"]
    gateway.control_plane.state.registries[OTHER_TENANT] = SchemaRegistry(plain.schemas, users_only)
    other = gateway.control_plane.issue("other", tenant=OTHER_TENANT)
    for token, total, status in (("", 2, 200), (other, 1, 404)):
        assert (await gateway.send("GET", "/ResourceTypes", token=token)).json["totalResults"] == total
        assert (await gateway.send("GET", "/ResourceTypes/Group", token=token)).status == status


async def test_locations_are_urls_of_this_gateway(gateway: RunningGateway) -> None:
    user_type = (await gateway.send("GET", "/ResourceTypes/User")).json
    assert user_type["meta"]["location"] == f"{gateway.base}/ResourceTypes/User"
