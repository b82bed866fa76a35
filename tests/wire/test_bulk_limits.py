"""The operations of a bulk request that a tenant may send: advertised, and held to."""

import orjson

from protos.directory.v1 import directory_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2 as tenancy
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.test_bulk import Bulk, user
from tests.wire.test_tenants import create, update


async def advertised(plane: Plane, tenant: str) -> tuple[int, int]:
    request = pb.GetDiscoveryRequest(
        tenant_id=tenant, kind=pb.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG, reference_base="https://x/scim/v2"
    )
    answer = await plane.gateway.schemas.GetDiscovery(request, metadata=plane.gateway.metadata())
    bulk = orjson.loads(answer.document)["bulk"]
    return bulk["maxOperations"], bulk["maxPayloadSize"]


async def test_a_tenants_own_limits_are_advertised_and_held_to(plane: Plane, database: Database) -> None:
    limits = tenancy.TenantLimits(max_bulk_operations=2, max_bulk_bytes=5_000)
    bulk = Bulk(plane, (await create(plane, limits=limits)).id, database)
    assert await advertised(plane, bulk.tenant) == (2, 5_000)
    refusal = await refused(bulk.send(user("a"), user("b"), user("c")))
    assert refusal.info.metadata["status"] == "413"
    assert len(await bulk.send(user("a"), user("b"))) == 2
    await update(plane, tenancy.Tenant(id=bulk.tenant), "limits")
    assert await advertised(plane, bulk.tenant) == (1_000, 2_097_152)
    assert len(await bulk.send(user("d"), user("e"), user("f"))) == 3
