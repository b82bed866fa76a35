"""Permits for SCIM requests: shared by all gateways, and limited even without Redis."""

import pytest
import pytest_asyncio

from control_plane.domain.errors import NotFound, Unavailable
from control_plane.domain.ids import TenantId, parse_id
from control_plane.domain.tenants import Limits
from control_plane.queue.rates import Taken
from control_plane.services.permits import LEAVE_ALONE_S, LIMITS_FOR_S, PermitService
from control_plane.storage.engine import Storage
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fakes.clock import FakeClock
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database


async def limited_tenant(plane: Plane, per_second: int, burst: int) -> str:
    """Make a tenant with limits of its own."""
    limits = pb.TenantLimits(requests_per_second=per_second, burst=burst)
    request = pb.CreateTenantRequest(display_name="Acme", limits=limits)
    return (await plane.admin.tenants.CreateTenant(request, metadata=plane.admin.metadata())).tenant.id


async def test_permits_come_out_of_the_tenants_limit(plane: Plane) -> None:
    tenant = await limited_tenant(plane, 1, 5)

    async def take(want: int) -> pb.TakePermitsResponse:
        request = pb.TakePermitsRequest(tenant_id=tenant, want=want)
        return await plane.gateway.tenants.TakePermits(request, metadata=plane.gateway.metadata())

    first, second = await take(3), await take(3)
    assert (first.granted, second.granted) == (3, 2)
    assert first.valid_for.ToMilliseconds() == 1000
    none = await take(1)
    assert none.granted == 0
    assert 0 < none.retry_after.ToMilliseconds() <= 1000


class SwitchedRates:
    """Rates that are there or not."""

    def __init__(self) -> None:
        self.is_down, self.asked = True, 0

    async def take(self, tenant: TenantId, want: int, per_second: int, burst: int) -> Taken:
        self.asked += 1
        if self.is_down:
            raise Unavailable("the queue")
        return Taken(want, 0.0)


@pytest_asyncio.fixture
async def storage(database: Database) -> Storage:
    return await Storage.open(database.app_url, pool_size=1, timeout_s=5)


async def test_without_redis_a_tenant_has_its_rate_here(
    plane: Plane, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = TenantId(parse_id(await limited_tenant(plane, 2, 4), "tenant"))
    rates, clock = SwitchedRates(), FakeClock()
    permits = PermitService(storage, rates, clock, Limits())
    capsys.readouterr()
    assert (await permits.take(tenant, 3)).granted == 3
    assert (await permits.take(tenant, 3)).granted == 1
    assert (await permits.take(tenant, 1)).retry_after_s == 0.5
    assert rates.asked == 1  # it is left alone for a while
    clock.advance(LEAVE_ALONE_S)
    assert (await permits.take(tenant, 3)).granted == 2
    assert rates.asked == 2
    rates.is_down = False
    clock.advance(LEAVE_ALONE_S)
    assert (await permits.take(tenant, 3)).granted == 3
    assert capsys.readouterr().out.count("rates are limited by each control plane alone") == 1
    await storage.close()


async def test_a_changed_limit_is_in_force_after_a_second(plane: Plane, storage: Storage) -> None:
    tenant = await limited_tenant(plane, 1, 1)
    clock = FakeClock()
    permits = PermitService(storage, SwitchedRates(), clock, Limits())
    assert (await permits.take(TenantId(parse_id(tenant, "tenant")), 9)).granted == 1
    request = pb.UpdateTenantRequest(
        tenant=pb.Tenant(id=tenant, limits=pb.TenantLimits(requests_per_second=7, burst=7))
    )
    request.update_mask.paths.append("limits")
    await plane.admin.tenants.UpdateTenant(request, metadata=plane.admin.metadata())
    clock.advance(LIMITS_FOR_S)
    assert (await permits.take(TenantId(parse_id(tenant, "tenant")), 9)).granted == 7
    with pytest.raises(NotFound):
        await permits.take(TenantId(parse_id("01890000-0000-7000-8000-000000000000", "tenant")), 1)
    await storage.close()
