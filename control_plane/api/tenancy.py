"""muster.tenancy.v1: tenants, tokens and targets. Thin: translate, call, translate."""

import asyncio
from collections.abc import AsyncIterator

from control_plane.api import convert, convert_tenants
from control_plane.api.convert import tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TargetId, TenantId, TokenId, parse_id
from control_plane.domain.targets import TargetState
from control_plane.domain.tokens import Scope
from control_plane.services.targets import TargetChange, TargetService
from control_plane.services.tenants import TenantService
from control_plane.services.tokens import TokenService, TokenWatch
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2_grpc as rpc

HEARTBEAT_S = 1.0
MASK_FIELDS = ("display_name", "scim.base_url", "scim.bearer_token")


class TenantServicer(rpc.TenantServiceServicer):
    """muster.tenancy.v1.TenantService."""

    def __init__(self, service: TenantService, pages: PageTokens) -> None:
        self._service, self._pages = service, pages

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Context) -> pb.CreateTenantResponse:
        """Create a tenant."""
        provider = convert_tenants.identity_provider(request.identity_provider)
        created = await self._service.create(caller(), request.display_name, provider)
        return pb.CreateTenantResponse(tenant=convert_tenants.tenant(created))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
        """Read one tenant."""
        return pb.GetTenantResponse(tenant=convert_tenants.tenant(await self._service.get(tenant_id(request.id))))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """List tenants."""
        size = page_size(request.page_size)
        after = self._pages.read(request.page_token, "tenants")
        found = await self._service.list(TenantId(after) if after else None, size)
        return pb.ListTenantsResponse(
            tenants=[convert_tenants.tenant(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, "tenants") if len(found) == size else "",
        )

    async def UpdateTenant(self, request: pb.UpdateTenantRequest, context: Context) -> pb.UpdateTenantResponse:
        """Change what the mask names."""
        change = convert_tenants.tenant_change(request)
        updated = await self._service.update(caller(), tenant_id(request.tenant.id), change)
        return pb.UpdateTenantResponse(tenant=convert_tenants.tenant(updated))


class TokenServicer(rpc.TokenServiceServicer):
    """muster.tenancy.v1.TokenService."""

    def __init__(self, service: TokenService, watch: TokenWatch, pages: PageTokens) -> None:
        self._service, self._watch, self._pages = service, watch, pages

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        """Generate a token."""
        token, secret = await self._service.create(
            caller(),
            tenant_id(request.tenant_id),
            request.label,
            [Scope(scope) for scope in request.scopes],
            convert.span(request.ttl) if request.HasField("ttl") else None,
        )
        return pb.CreateTokenResponse(token=convert.token(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """List a tenant's tokens."""
        size, asked = page_size(request.page_size), f"tokens {request.tenant_id}"
        before = self._pages.read(request.page_token, asked)
        found = await self._service.list(tenant_id(request.tenant_id), TokenId(before) if before else None, size)
        return pb.ListTokensResponse(
            tokens=[convert.token(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, asked) if len(found) == size else "",
        )

    async def RotateToken(self, request: pb.RotateTokenRequest, context: Context) -> pb.RotateTokenResponse:
        """Make a successor."""
        new, secret, replaced = await self._service.rotate(
            caller(),
            tenant_id(request.tenant_id),
            TokenId(parse_id(request.id, "token")),
            convert.span(request.overlap) if request.HasField("overlap") else None,
        )
        return pb.RotateTokenResponse(token=convert.token(new), secret=secret, replaced=convert.token(replaced))

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        """Revoke at once."""
        token_id = TokenId(parse_id(request.id, "token"))
        revoked = await self._service.revoke(caller(), tenant_id(request.tenant_id), token_id)
        return pb.RevokeTokenResponse(token=convert.token(revoked))

    async def VerifyToken(self, request: pb.VerifyTokenRequest, context: Context) -> pb.VerifyTokenResponse:
        """Tell a gateway whose token it holds."""
        token = await self._service.verify(request.presented)
        return pb.VerifyTokenResponse(
            tenant_id=str(token.tenant),
            token_id=str(token.id),
            key_id=token.key_id,
            scopes=[pb.Scope.ValueType(scope) for scope in token.scopes],
            expire_time=convert.timestamp(token.expires_at),
        )

    async def WatchTokens(
        self, request: pb.WatchTokensRequest, context: Context
    ) -> AsyncIterator[pb.WatchTokensResponse]:
        """Pass changes on to a gateway, with a heartbeat each second."""
        with self._watch.watch() as next_change:
            while not self._watch.is_closed:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        changed = await next_change()
                except TimeoutError:
                    # Silence tells the gateway to trust its cache no longer than a second.
                    if self._watch.is_live():
                        yield pb.WatchTokensResponse(heartbeat=True)
                    continue
                yield (
                    pb.WatchTokensResponse(reset=True) if changed is None else pb.WatchTokensResponse(token_id=changed)
                )


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
