"""muster.identity.v1.OperatorService. Thin: translate, call, translate."""

from control_plane.api import convert_identity as convert
from control_plane.api.interceptors.auth import caller, identity
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.api.policy import methods_of
from control_plane.domain.audit import ActorType
from control_plane.domain.ids import OperatorId
from control_plane.domain.operators import OperatorRole
from control_plane.services.operators import OperatorService
from protos.identity.v1 import identity_pb2 as pb
from protos.identity.v1 import identity_pb2_grpc as rpc


class OperatorServicer(rpc.OperatorServiceServicer):
    """muster.identity.v1.OperatorService."""

    def __init__(self, service: OperatorService, pages: PageTokens) -> None:
        self._service, self._pages = service, pages

    async def CreateOperator(self, request: pb.CreateOperatorRequest, context: Context) -> pb.CreateOperatorResponse:
        """Create an operator."""
        created = await self._service.create(
            caller(), request.email, request.display_name, OperatorRole(request.role), convert.oidc_subject(request)
        )
        return pb.CreateOperatorResponse(operator=convert.operator(created))

    async def GetOperator(self, request: pb.GetOperatorRequest, context: Context) -> pb.GetOperatorResponse:
        """Read one operator."""
        found = await self._service.get(convert.operator_id(request.id))
        return pb.GetOperatorResponse(operator=convert.operator(found))

    async def ListOperators(self, request: pb.ListOperatorsRequest, context: Context) -> pb.ListOperatorsResponse:
        """List operators."""
        size = page_size(request.page_size)
        after = self._pages.read(request.page_token, "operators")
        found = await self._service.list(OperatorId(after) if after else None, size)
        return pb.ListOperatorsResponse(
            operators=[convert.operator(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, "operators") if len(found) == size else "",
        )

    async def UpdateOperator(self, request: pb.UpdateOperatorRequest, context: Context) -> pb.UpdateOperatorResponse:
        """Change what the mask names."""
        change = convert.operator_change(request)
        updated = await self._service.update(caller(), convert.operator_id(request.operator.id), change)
        return pb.UpdateOperatorResponse(operator=convert.operator(updated))

    async def DeleteOperator(self, request: pb.DeleteOperatorRequest, context: Context) -> pb.DeleteOperatorResponse:
        """Delete an operator with every key."""
        await self._service.delete(caller(), convert.operator_id(request.id))
        return pb.DeleteOperatorResponse()

    async def GetCaller(self, request: pb.GetCallerRequest, context: Context) -> pb.GetCallerResponse:
        """Say who calls."""
        me = identity()
        answer = pb.GetCallerResponse(
            role=me.role.value,
            actor_id=me.id,
            scopes=sorted(me.scopes),
            tenant_ids=sorted(str(each) for each in me.tenants or ()),
            methods=[name.removeprefix("/") for name in methods_of(me)],
        )
        if me.actor_type is ActorType.OPERATOR:
            answer.operator.CopyFrom(convert.operator(await self._service.get(convert.operator_id(me.id))))
        return answer
