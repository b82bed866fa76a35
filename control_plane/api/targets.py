"""muster.tenancy.v1.TargetService. Thin: translate, call, translate."""

from control_plane.api import convert
from control_plane.api.convert import tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TargetId, parse_id
from control_plane.domain.targets import TargetState
from control_plane.services.targets import TargetChange, TargetService
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2_grpc as rpc

MASK_FIELDS = ("display_name", "scim.base_url", "scim.bearer_token")


class TargetServicer(rpc.TargetServiceServicer):
    """muster.tenancy.v1.TargetService."""

    def __init__(self, service: TargetService, pages: PageTokens) -> None:
        self._service, self._pages = service, pages

    async def CreateTarget(self, request: pb.CreateTargetRequest, context: Context) -> pb.CreateTargetResponse:
        """Create a paused target."""
        created = await self._service.create(
            caller(),
            tenant_id(request.tenant_id),
            request.display_name,
            request.scim.base_url,
            request.scim.bearer_token,
        )
        return pb.CreateTargetResponse(target=convert.target(created))

    async def GetTarget(self, request: pb.GetTargetRequest, context: Context) -> pb.GetTargetResponse:
        """Read one target."""
        found = await self._service.get(tenant_id(request.tenant_id), TargetId(parse_id(request.id, "target")))
        return pb.GetTargetResponse(target=convert.target(found))

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Context) -> pb.ListTargetsResponse:
        """List a tenant's targets."""
        size, asked = page_size(request.page_size), f"targets {request.tenant_id}"
        after = self._pages.read(request.page_token, asked)
        found = await self._service.list(tenant_id(request.tenant_id), TargetId(after) if after else None, size)
        return pb.ListTargetsResponse(
            targets=[convert.target(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, asked) if len(found) == size else "",
        )

    async def UpdateTarget(self, request: pb.UpdateTargetRequest, context: Context) -> pb.UpdateTargetResponse:
        """Change what the mask names."""
        paths = set(request.update_mask.paths)
        if not paths or not paths <= set(MASK_FIELDS):
            raise InvalidArgument("update_mask", f"names one or more of {', '.join(MASK_FIELDS)}")
        change = TargetChange(
            display_name=request.display_name if "display_name" in paths else None,
            base_url=request.scim.base_url if "scim.base_url" in paths else None,
            secret=request.scim.bearer_token if "scim.bearer_token" in paths else None,
        )
        target_id = TargetId(parse_id(request.id, "target"))
        updated = await self._service.update(caller(), tenant_id(request.tenant_id), target_id, change)
        return pb.UpdateTargetResponse(target=convert.target(updated))

    async def ActivateTarget(self, request: pb.ActivateTargetRequest, context: Context) -> pb.ActivateTargetResponse:
        """Start writing."""
        target_id = TargetId(parse_id(request.id, "target"))
        changed = await self._service.set_state(caller(), tenant_id(request.tenant_id), target_id, TargetState.ACTIVE)
        return pb.ActivateTargetResponse(target=convert.target(changed))

    async def PauseTarget(self, request: pb.PauseTargetRequest, context: Context) -> pb.PauseTargetResponse:
        """Stop writing."""
        target_id = TargetId(parse_id(request.id, "target"))
        changed = await self._service.set_state(caller(), tenant_id(request.tenant_id), target_id, TargetState.PAUSED)
        return pb.PauseTargetResponse(target=convert.target(changed))

    async def GetTargetStatus(self, request: pb.GetTargetStatusRequest, context: Context) -> pb.GetTargetStatusResponse:
        """Tell how far a target is behind."""
        status = await self._service.status(tenant_id(request.tenant_id), TargetId(parse_id(request.id, "target")))
        return pb.GetTargetStatusResponse(
            total=status.total,
            pending=status.pending,
            failing=status.failing,
            oldest_pending_time=convert.timestamp(status.oldest_pending_at),
            last_error=status.last_error,
        )
