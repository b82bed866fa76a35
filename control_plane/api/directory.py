"""muster.directory.v1.DirectoryService: users and groups. Thin: translate, call, translate."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

from control_plane.api import convert
from control_plane.api.convert import tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.domain.resources import ResourceType
from control_plane.services.bulk import BulkService
from control_plane.services.directory import Asked, Conditions, DirectoryService
from control_plane.services.queries import QueryService, Question
from control_plane.services.rendering import Selection
from protos.directory.v1 import directory_pb2 as pb
from protos.directory.v1 import directory_pb2_grpc as rpc

# A list is sent in messages of about this size, far below gRPC's limit.
CHUNK_BYTES = 256 * 1024


class _Selecting(Protocol):
    """A request that names attributes."""

    tenant_id: str
    attributes: str
    excluded_attributes: str
    reference_base: str


def _asked(request: _Selecting, kind: ResourceType, *, with_members: bool = True) -> Asked:
    selection = Selection(request.attributes, request.excluded_attributes)
    return Asked(tenant_id(request.tenant_id), kind, request.reference_base, selection, with_members)


class DirectoryServicer(rpc.DirectoryServiceServicer):
    """muster.directory.v1.DirectoryService."""

    def __init__(self, directory: DirectoryService, queries: QueryService, bulk: BulkService) -> None:
        self._directory, self._queries, self._bulk = directory, queries, bulk

    async def CreateResource(self, request: pb.CreateResourceRequest, context: Context) -> pb.CreateResourceResponse:
        """Create a resource."""
        asked = _asked(request, convert.resource_type(request.type))
        created = await self._directory.create(caller(), asked, request.document)
        return pb.CreateResourceResponse(resource=convert.resource(created))

    async def GetResource(self, request: pb.GetResourceRequest, context: Context) -> pb.GetResourceResponse:
        """Read one resource."""
        asked = _asked(request, convert.resource_type(request.type), with_members=request.with_members)
        return pb.GetResourceResponse(resource=convert.resource(await self._directory.get(asked, request.id)))

    async def ListResources(
        self, request: pb.ListResourcesRequest, context: Context
    ) -> AsyncIterator[pb.ListResourcesResponse]:
        """List resources, in messages of bounded size."""
        listing = await self._queries.search(
            Question(
                tenant=tenant_id(request.tenant_id),
                type=convert.resource_type(request.type) if request.type else None,
                filter=request.filter,
                sort_by=request.sort_by,
                descending=request.descending,
                start_index=request.start_index,
                count=request.count if request.HasField("count") else None,
                cursor=request.cursor if request.HasField("cursor") else None,
                selection=Selection(request.attributes, request.excluded_attributes),
                reference_base=request.reference_base,
                with_members=request.with_members,
            )
        )
        chunk = pb.ListResourcesResponse(
            total_results=listing.total, start_index=listing.start_index, next_cursor=listing.next_cursor
        )
        size = 0
        for one in listing.resources:
            chunk.resources.append(convert.resource(one))
            size += len(one.document) + len(one.members) + len(one.groups) + len(one.selected)
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = pb.ListResourcesResponse(), 0
        if chunk.resources or chunk.start_index:
            yield chunk

    async def ReplaceResource(self, request: pb.ReplaceResourceRequest, context: Context) -> pb.ReplaceResourceResponse:
        """Replace a resource."""
        asked, conditions = _asked(request, convert.resource_type(request.type)), _conditions(request)
        replaced = await self._directory.replace(caller(), asked, request.id, request.document, conditions)
        return pb.ReplaceResourceResponse(resource=convert.resource(replaced))

    async def PatchResource(self, request: pb.PatchResourceRequest, context: Context) -> pb.PatchResourceResponse:
        """Apply a PatchOp."""
        asked, conditions = _asked(request, convert.resource_type(request.type)), _conditions(request)
        patched = await self._directory.patch(caller(), asked, request.id, request.document, conditions)
        return pb.PatchResourceResponse(resource=convert.resource(patched.resource), changed=patched.changed)

    async def DeleteResource(self, request: pb.DeleteResourceRequest, context: Context) -> pb.DeleteResourceResponse:
        """Delete a resource."""
        asked = Asked(tenant_id(request.tenant_id), convert.resource_type(request.type))
        await self._directory.delete(caller(), asked, request.id, _conditions(request))
        return pb.DeleteResourceResponse()

    async def BulkWrite(self, request: pb.BulkWriteRequest, context: Context) -> pb.BulkWriteResponse:
        """Carry out a BulkRequest."""
        results = await self._bulk.write(caller(), tenant_id(request.tenant_id), request.document)
        return pb.BulkWriteResponse(results=[convert.bulk_result(one) for one in results])

    async def StreamMembers(
        self, request: pb.StreamMembersRequest, context: Context
    ) -> AsyncIterator[pb.StreamMembersResponse]:
        """Stream a group's members."""
        asked = _asked(request, ResourceType.GROUP)
        async with aclosing(self._directory.stream_members(asked, request.id)) as pieces:
            async for piece in pieces:
                yield pb.StreamMembersResponse(members=piece)


def _conditions(
    request: pb.ReplaceResourceRequest | pb.PatchResourceRequest | pb.DeleteResourceRequest,
) -> Conditions:
    return Conditions(request.etag, request.none_match_etag)
