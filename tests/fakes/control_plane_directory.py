"""DirectoryService and SchemaService of the fake control plane.

No second implementation of SCIM: documents are taken as they come, and what is shown of them is decided by
``control_plane/scim``.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import orjson

from control_plane.scim import discovery, etag
from control_plane.scim import errors as scim
from control_plane.scim.projection import Projection, compile_projection
from control_plane.scim.rules import ScimRules
from protos.directory.v1 import directory_pb2 as directory
from protos.directory.v1.directory_pb2_grpc import DirectoryServiceServicer, SchemaServiceServicer
from tests.fakes.control_plane_state import CREATED, Context, State, abort, scim_abort

INLINE_MEMBERS = 1_000
NAMES: dict[int, str] = {directory.RESOURCE_TYPE_USER: "User", directory.RESOURCE_TYPE_GROUP: "Group"}
DISCOVERY = {
    directory.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG: "ServiceProviderConfig",
    directory.DISCOVERY_KIND_RESOURCE_TYPES: "ResourceTypes",
    directory.DISCOVERY_KIND_SCHEMAS: "Schemas",
}


class Directory(DirectoryServiceServicer):
    """Users and groups in a dict."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def CreateResource(self, request: Any, context: Context) -> directory.CreateResourceResponse:
        await self._state.enter("CreateResource", request, context)
        projection = await self._projection(request, request.type, context)
        document = await _parsed(request.document, context)
        name = document.get("userName", "").lower()
        for (tenant, _), other in self._state.resources.items():
            if tenant == request.tenant_id and name and other.user_name.lower() == name:
                await scim_abort(context, scim.Uniqueness("the userName is taken"))
        members = document.pop("members", [])
        resource = new_resource(request.type, document)
        self._state.resources[request.tenant_id, resource.id] = resource
        self._state.members[resource.id] = members
        return directory.CreateResourceResponse(resource=self._shown(resource, request, projection))

    async def GetResource(self, request: Any, context: Context) -> directory.GetResourceResponse:
        await self._state.enter("GetResource", request, context)
        projection = await self._projection(request, request.type, context)
        resource = await self._find(request, context)
        return directory.GetResourceResponse(resource=self._shown(resource, request, projection))

    async def ListResources(self, request: Any, context: Context) -> AsyncIterator[directory.ListResourcesResponse]:
        await self._state.enter("ListResources", request, context)
        if self._state.faults.lists_silent:
            await asyncio.Event().wait()
        kinds = [request.type] if request.type else list(NAMES)
        projections = {kind: await self._projection(request, kind, context) for kind in kinds}
        found = [
            resource
            for (tenant, _), resource in self._state.resources.items()
            if tenant == request.tenant_id and resource.type in kinds and _matches(resource, request.filter)
        ]
        if request.sort_by:
            found.sort(key=lambda resource: resource.user_name, reverse=request.descending)
        start = await self._start(request, context)
        count = max(0, min(200, request.count)) if request.HasField("count") else 100
        page = found[start - 1 : start - 1 + count]
        is_more = request.HasField("cursor") and len(found) >= start + count
        yield directory.ListResourcesResponse(
            total_results=len(found), start_index=start, next_cursor=f'from "{start + count}"' if is_more else ""
        )
        for resource in page:
            yield directory.ListResourcesResponse(
                resources=[self._shown(resource, request, projections[resource.type])]
            )

    async def ReplaceResource(self, request: Any, context: Context) -> directory.ReplaceResourceResponse:
        await self._state.enter("ReplaceResource", request, context)
        projection = await self._projection(request, request.type, context)
        resource = await self._find_to_change(request, context)
        document = await _parsed(request.document, context)
        self._state.members[resource.id] = document.pop("members", [])
        self._store(resource, document)
        return directory.ReplaceResourceResponse(resource=self._shown(resource, request, projection))

    async def PatchResource(self, request: Any, context: Context) -> directory.PatchResourceResponse:
        """Merge the values of path-less operations: enough to see that something changed."""
        await self._state.enter("PatchResource", request, context)
        projection = await self._projection(request, request.type, context)
        resource = await self._find_to_change(request, context)
        document = orjson.loads(resource.document)
        for operation in (await _parsed(request.document, context)).get("Operations", []):
            document |= operation["value"]
        self._store(resource, document)
        return directory.PatchResourceResponse(resource=self._shown(resource, request, projection), changed=True)

    async def DeleteResource(self, request: Any, context: Context) -> directory.DeleteResourceResponse:
        await self._state.enter("DeleteResource", request, context)
        resource = await self._find_to_change(request, context)
        del self._state.resources[request.tenant_id, resource.id]
        return directory.DeleteResourceResponse()

    async def BulkWrite(self, request: Any, context: Context) -> directory.BulkWriteResponse:
        """Answer what the test wants."""
        await self._state.enter("BulkWrite", request, context)
        await _parsed(request.document, context)
        return directory.BulkWriteResponse(results=self._state.bulk)

    async def StreamMembers(self, request: Any, context: Context) -> AsyncIterator[directory.StreamMembersResponse]:
        await self._state.enter("StreamMembers", request, context)
        projection = await self._projection(request, directory.RESOURCE_TYPE_GROUP, context)
        if self._state.faults.members_gone:
            await scim_abort(context, scim.ResourceNotFound("resource not found"))
        members = self._state.members[request.id]
        for piece, start in enumerate(range(0, len(members), 2_000)):
            if piece == self._state.faults.members_after:
                await abort(context, grpc.StatusCode.UNAVAILABLE, "secret internals", "UNAVAILABLE")
            shown = projection.apply({"members": members[start : start + 2_000]}).get("members", [])
            yield directory.StreamMembersResponse(members=orjson.dumps(shown)[1:-1].decode())

    async def _projection(self, request: Any, kind: int, context: Context) -> Projection:
        registry = self._state.registry(request.tenant_id)
        try:
            return compile_projection(NAMES[kind], request.attributes, request.excluded_attributes, registry)
        except scim.ScimError as err:
            await scim_abort(context, err)

    async def _find(self, request: Any, context: Context) -> directory.Resource:
        resource = self._state.resources.get((request.tenant_id, request.id))
        if resource is None or resource.type != request.type:
            await scim_abort(context, scim.ResourceNotFound("resource not found"))
        return resource

    async def _find_to_change(self, request: Any, context: Context) -> directory.Resource:
        resource = await self._find(request, context)
        try:
            etag.check(resource.version, request.etag, request.none_match_etag)
        except scim.ScimError as err:
            await scim_abort(context, err)
        return resource

    async def _start(self, request: Any, context: Context) -> int:
        if not request.cursor:
            return 1 if request.HasField("cursor") else max(1, request.start_index)
        if not request.cursor.startswith('from "'):
            await scim_abort(context, scim.InvalidCursor("the cursor was not made here"))
        return int(request.cursor[6:-1])

    def _store(self, resource: directory.Resource, document: dict[str, Any]) -> None:
        resource.document = orjson.dumps(document).decode()
        resource.user_name = document.get("userName", "")
        resource.version += 1

    def _shown(self, resource: directory.Resource, request: Any, projection: Projection) -> directory.Resource:
        """Return what travels: the stored document with members and groups, or what is selected of it."""
        shown = directory.Resource()
        shown.CopyFrom(resource)
        members = self._state.members.get(resource.id, []) if projection.wants_members else []
        groups = self._state.groups.get(resource.id, []) if projection.wants_groups else []
        is_inline = len(members) <= INLINE_MEMBERS
        shown.member_count = min(len(members), INLINE_MEMBERS + 1)
        if projection.is_identity:
            shown.members = orjson.dumps(members).decode() if members and is_inline else ""
            shown.groups = orjson.dumps(groups).decode() if groups else ""
            return shown
        name = NAMES[resource.type]
        location = f"{request.reference_base}/{name}s/{resource.id}"
        meta = {"resourceType": name, "location": location, "version": f'W/"{resource.version}"'}
        whole: dict[str, Any] = {"id": resource.id, "meta": meta, **orjson.loads(resource.document)}
        whole |= {"members": members} if members and is_inline else {}
        whole |= {"groups": groups} if groups else {}
        shown.document, shown.selected = "", orjson.dumps(projection.apply(whole)).decode()
        shown.member_count = 0 if is_inline else shown.member_count
        return shown


class Schemas(SchemaServiceServicer):
    """Discovery alone: gateways ask for nothing else."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def GetDiscovery(self, request: Any, context: Context) -> directory.GetDiscoveryResponse:
        await self._state.enter("GetDiscovery", request, context)
        rules = ScimRules(self._state.registry(request.tenant_id))
        try:
            body = discovery.body(DISCOVERY[request.kind], request.id, request.reference_base, rules)
        except scim.ScimError as err:
            await scim_abort(context, err)
        return directory.GetDiscoveryResponse(document=orjson.dumps(body).decode())

    async def _unused(self, request: Any, context: Context) -> Any:
        await abort(context, grpc.StatusCode.UNIMPLEMENTED, "the gateway does not call this", "UNIMPLEMENTED")

    CreateSchema = GetSchema = ListSchemas = UpdateSchema = DeleteSchema = _unused


def new_resource(kind: directory.ResourceType.ValueType, document: dict[str, Any]) -> directory.Resource:
    """Return a resource as stored, at version 1."""
    resource = directory.Resource(
        id=str(uuid4()),
        type=kind,
        version=1,
        user_name=document.get("userName", ""),
        display_name=document.get("displayName", ""),
        document=orjson.dumps(document).decode(),
    )
    resource.create_time.FromDatetime(CREATED)
    resource.update_time.FromDatetime(CREATED)
    return resource


def _matches(resource: directory.Resource, text: str) -> bool:
    """Know two filters: none, and userName eq "..."."""
    return not text or text.lower() == f'username eq "{resource.user_name.lower()}"'


async def _parsed(text: str, context: Context) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        await scim_abort(context, scim.InvalidSyntax("the body is not JSON"))
    return parsed
