"""muster.tenancy.v1.TenantService. Thin: translate, call, translate."""

from control_plane.api import convert_tenants
from control_plane.api.convert import duration, tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.ids import TenantId
from control_plane.domain.tenants import Limits, Tenant
from control_plane.services.permits import PermitService
from control_plane.services.tenants import TenantService
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2_grpc as rpc


class TenantServicer(rpc.TenantServiceServicer):
    """muster.tenancy.v1.TenantService."""

    def __init__(self, service: TenantService, permits: PermitService, pages: PageTokens, limits: Limits) -> None:
        """``limits`` are the installation's, which every tenant follows that has none of its own."""
        self._service, self._permits, self._pages, self._limits = service, permits, pages, limits

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Context) -> pb.CreateTenantResponse:
        """Create a tenant."""
        created = await self._service.create(caller(), convert_tenants.new_tenant(request))
        return pb.CreateTenantResponse(tenant=self._wire(created))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
        """Read one tenant."""
        return pb.GetTenantResponse(tenant=self._wire(await self._service.get(tenant_id(request.id))))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """List tenants."""
        size = page_size(request.page_size)
        after = self._pages.read(request.page_token, "tenants")
        found = await self._service.list(TenantId(after) if after else None, size, deleted=request.show_deleted)
        return pb.ListTenantsResponse(
            tenants=[self._wire(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, "tenants") if len(found) == size else "",
        )

    async def UpdateTenant(self, request: pb.UpdateTenantRequest, context: Context) -> pb.UpdateTenantResponse:
        """Change what the mask names."""
        change = convert_tenants.tenant_change(request)
        updated = await self._service.update(caller(), tenant_id(request.tenant.id), change)
        return pb.UpdateTenantResponse(tenant=self._wire(updated))

    async def SuspendTenant(self, request: pb.SuspendTenantRequest, context: Context) -> pb.SuspendTenantResponse:
        """Stop serving a tenant."""
        suspended = await self._service.suspend(caller(), tenant_id(request.id), request.reason)
        return pb.SuspendTenantResponse(tenant=self._wire(suspended))

    async def ResumeTenant(self, request: pb.ResumeTenantRequest, context: Context) -> pb.ResumeTenantResponse:
        """Serve a tenant again."""
        return pb.ResumeTenantResponse(tenant=self._wire(await self._service.resume(caller(), tenant_id(request.id))))

    async def DeleteTenant(self, request: pb.DeleteTenantRequest, context: Context) -> pb.DeleteTenantResponse:
        """Delete a tenant after a grace period."""
        grace, confirmed = convert_tenants.grace(request), request.confirm_display_name
        deleted = await self._service.delete(caller(), tenant_id(request.id), grace, confirmed)
        return pb.DeleteTenantResponse(tenant=self._wire(deleted))

    async def RestoreTenant(self, request: pb.RestoreTenantRequest, context: Context) -> pb.RestoreTenantResponse:
        """Take a deletion back."""
        return pb.RestoreTenantResponse(tenant=self._wire(await self._service.restore(caller(), tenant_id(request.id))))

    async def TakePermits(self, request: pb.TakePermitsRequest, context: Context) -> pb.TakePermitsResponse:
        """Take permits for SCIM requests."""
        taken = await self._permits.take(tenant_id(request.tenant_id), request.want)
        return pb.TakePermitsResponse(
            granted=taken.granted,
            valid_for=duration(taken.valid_for_s),
            retry_after=None if taken.granted else duration(taken.retry_after_s),
        )

    def _wire(self, one: Tenant) -> pb.Tenant:
        return convert_tenants.tenant(one, self._limits)
