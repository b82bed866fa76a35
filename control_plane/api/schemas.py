"""muster.directory.v1.SchemaService: custom schemas and discovery. Thin: translate, call, translate."""

from control_plane.api import convert_schemas as convert
from control_plane.api.convert import tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.domain.errors import InvalidArgument
from control_plane.scim.schema import Schema
from control_plane.scim.schema_definition import MAX_TENANT_ATTRIBUTES, Extension
from control_plane.services.schemas import SchemaService
from protos.directory.v1 import directory_pb2 as pb
from protos.directory.v1 import directory_pb2_grpc as rpc

_KINDS: dict[pb.DiscoveryKind.ValueType, str] = {
    pb.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG: "ServiceProviderConfig",
    pb.DISCOVERY_KIND_RESOURCE_TYPES: "ResourceTypes",
    pb.DISCOVERY_KIND_SCHEMAS: "Schemas",
}


class SchemaServicer(rpc.SchemaServiceServicer):
    """muster.directory.v1.SchemaService."""

    def __init__(self, service: SchemaService) -> None:
        self._service = service

    async def CreateSchema(self, request: pb.CreateSchemaRequest, context: Context) -> pb.CreateSchemaResponse:
        """Create an extension."""
        tenant, resource_type = tenant_id(request.schema.tenant_id), convert.resource_type(request.schema)
        if resource_type is None:
            raise InvalidArgument("schema.resource_type", "must be given")
        extension = Extension(_described(request.schema), resource_type.scim_name)
        created = await self._service.create(caller(), tenant, extension)
        return pb.CreateSchemaResponse(schema=convert.schema(tenant, created))

    async def GetSchema(self, request: pb.GetSchemaRequest, context: Context) -> pb.GetSchemaResponse:
        """Read one extension."""
        tenant = tenant_id(request.tenant_id)
        return pb.GetSchemaResponse(schema=convert.schema(tenant, await self._service.get(tenant, request.id)))

    async def ListSchemas(self, request: pb.ListSchemasRequest, context: Context) -> pb.ListSchemasResponse:
        """List a tenant's extensions."""
        tenant = tenant_id(request.tenant_id)
        return pb.ListSchemasResponse(
            schemas=[convert.schema(tenant, each) for each in await self._service.list(tenant)]
        )

    async def UpdateSchema(self, request: pb.UpdateSchemaRequest, context: Context) -> pb.UpdateSchemaResponse:
        """Replace an extension."""
        tenant, resource_type = tenant_id(request.schema.tenant_id), convert.resource_type(request.schema)
        updated = await self._service.update(caller(), tenant, _described(request.schema), resource_type)
        return pb.UpdateSchemaResponse(schema=convert.schema(tenant, updated))

    async def DeleteSchema(self, request: pb.DeleteSchemaRequest, context: Context) -> pb.DeleteSchemaResponse:
        """Delete an extension that no resource uses."""
        await self._service.delete(caller(), tenant_id(request.tenant_id), request.id)
        return pb.DeleteSchemaResponse()

    async def GetDiscovery(self, request: pb.GetDiscoveryRequest, context: Context) -> pb.GetDiscoveryResponse:
        """Answer a discovery endpoint."""
        document = await self._service.discovery(
            tenant_id(request.tenant_id), _KINDS[request.kind], request.id, request.reference_base
        )
        return pb.GetDiscoveryResponse(document=document)


def _described(wire: pb.Schema) -> Schema:
    """Return what ``wire`` describes; InvalidArgument for so many attributes that reading them would take long."""
    level, count = list(wire.attributes), 0
    while level and count <= MAX_TENANT_ATTRIBUTES:
        count += len(level)
        level = [sub for attribute in level for sub in attribute.sub_attributes]
    if count > MAX_TENANT_ATTRIBUTES:
        said = (
            f"at most {MAX_TENANT_ATTRIBUTES} attributes and sub-attributes, those of all schemas of a tenant together"
        )
        raise InvalidArgument("schema.attributes", said)
    return convert.described(wire)
