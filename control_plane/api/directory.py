"""muster.directory.v1: users and groups. Thin: translate, call, translate."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from control_plane.api import convert
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.domain.ids import TenantId, parse_id
from control_plane.domain.resources import ResourceType
from control_plane.services.directory import Asked, DirectoryService
from protos.directory.v1 import directory_pb2 as pb
from protos.directory.v1 import directory_pb2_grpc as rpc

# A list is sent in messages of about this size, far below gRPC's limit.
CHUNK_BYTES = 256 * 1024


def _asked(tenant_id: str, kind: pb.ResourceType.ValueType, reference_base: str = "") -> Asked:
    return Asked(TenantId(parse_id(tenant_id, "tenant")), convert.resource_type(kind), reference_base)


class DirectoryServicer(rpc.DirectoryServiceServicer):
    """muster.directory.v1.DirectoryService."""

    def __init__(self, service: DirectoryService) -> None:
        self._service = service

    async def CreateResource(self, request: pb.CreateResourceRequest, context: Context) -> pb.CreateResourceResponse:
        """Create a resource."""
        asked = _asked(request.tenant_id, request.type, request.reference_base)
        created = await self._service.create(caller(), asked, request.document)
        return pb.CreateResourceResponse(resource=convert.resource(created))

    async def GetResource(self, request: pb.GetResourceRequest, context: Context) -> pb.GetResourceResponse:
        """Read one resource."""
        asked = _asked(request.tenant_id, request.type, request.reference_base)
        found = await self._service.get(asked, request.id, with_members=request.with_members)
        return pb.GetResourceResponse(resource=convert.resource(found))

    async def ListResources(
        self, request: pb.ListResourcesRequest, context: Context
    ) -> AsyncIterator[pb.ListResourcesResponse]:
        """List resources, in messages of bounded size."""
        asked = _asked(request.tenant_id, request.type, request.reference_base)
        count = request.count if request.HasField("count") else None
        page, start = await self._service.list(
            asked, request.filter, request.start_index, count, with_members=request.with_members
        )
        chunk = pb.ListResourcesResponse(total_results=page.total, start_index=start)
        size = 0
        for one in page.resources:
            chunk.resources.append(convert.resource(one))
            size += len(one.document) + len(one.members)
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = pb.ListResourcesResponse(), 0
        if chunk.resources or chunk.start_index:
            yield chunk

    async def ReplaceResource(self, request: pb.ReplaceResourceRequest, context: Context) -> pb.ReplaceResourceResponse:
        """Replace a resource."""
        asked = _asked(request.tenant_id, request.type, request.reference_base)
        replaced = await self._service.replace(caller(), asked, request.id, request.document, request.etag)
        return pb.ReplaceResourceResponse(resource=convert.resource(replaced))

    async def PatchResource(self, request: pb.PatchResourceRequest, context: Context) -> pb.PatchResourceResponse:
        """Apply a PatchOp."""
        asked = _asked(request.tenant_id, request.type, request.reference_base)
        patched = await self._service.patch(caller(), asked, request.id, request.document, request.etag)
        return pb.PatchResourceResponse(resource=convert.resource(patched.resource), changed=patched.changed)

    async def DeleteResource(self, request: pb.DeleteResourceRequest, context: Context) -> pb.DeleteResourceResponse:
        """Delete a resource."""
        await self._service.delete(caller(), _asked(request.tenant_id, request.type), request.id, request.etag)
        return pb.DeleteResourceResponse()

    async def StreamMembers(
        self, request: pb.StreamMembersRequest, context: Context
    ) -> AsyncIterator[pb.StreamMembersResponse]:
        """Stream a group's members."""
        tenant = TenantId(parse_id(request.tenant_id, "tenant"))
        asked = Asked(tenant, ResourceType.GROUP, request.reference_base)
        async with aclosing(self._service.stream_members(asked, request.id)) as pieces:
            async for piece in pieces:
                yield pb.StreamMembersResponse(members=piece)
