"""muster.tenancy.v1.TokenService. Thin: translate, call, translate."""

import asyncio
from collections.abc import AsyncIterator

from control_plane.api import convert_tokens
from control_plane.api.convert import tenant_id
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.ids import TokenId, parse_id
from control_plane.services.token_checks import TokenChecks
from control_plane.services.token_reports import TokenReports
from control_plane.services.token_watch import TokenWatch
from control_plane.services.tokens import TokenService
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2_grpc as rpc

# Gateways trust what they know for less than a second after the last one (scim_gateway/token_verifier.py).
HEARTBEAT_S = 0.3


class TokenServicer(rpc.TokenServiceServicer):
    """muster.tenancy.v1.TokenService."""

    def __init__(
        self, service: TokenService, checks: TokenChecks, reports: TokenReports, watch: TokenWatch, pages: PageTokens
    ) -> None:
        self._service, self._checks, self._reports = service, checks, reports
        self._watch, self._pages = watch, pages

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        """Generate a token."""
        wish = convert_tokens.wish(request)
        token, secret = await self._service.create(caller(), tenant_id(request.tenant_id), wish)
        return pb.CreateTokenResponse(token=convert_tokens.token(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """List a tenant's tokens."""
        size, asked = page_size(request.page_size), f"tokens {request.tenant_id}"
        before = self._pages.read(request.page_token, asked)
        found = await self._service.list(tenant_id(request.tenant_id), TokenId(before) if before else None, size)
        return pb.ListTokensResponse(
            tokens=[convert_tokens.token(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, asked) if len(found) == size else "",
        )

    async def RotateToken(self, request: pb.RotateTokenRequest, context: Context) -> pb.RotateTokenResponse:
        """Make a successor."""
        overlap = convert_tokens.overlap(request)
        tenant, token_id = tenant_id(request.tenant_id), TokenId(parse_id(request.id, "token"))
        new, secret, replaced = await self._service.rotate(caller(), tenant, token_id, overlap)
        return pb.RotateTokenResponse(
            token=convert_tokens.token(new), secret=secret, replaced=convert_tokens.token(replaced)
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        """Revoke at once."""
        token_id = TokenId(parse_id(request.id, "token"))
        revoked = await self._service.revoke(caller(), tenant_id(request.tenant_id), token_id)
        return pb.RevokeTokenResponse(token=convert_tokens.token(revoked))

    async def VerifyToken(self, request: pb.VerifyTokenRequest, context: Context) -> pb.VerifyTokenResponse:
        """Tell a gateway whose token it holds."""
        return convert_tokens.verified(await self._checks.verify(request.presented, request.address))

    async def ReportTokenUse(self, request: pb.ReportTokenUseRequest, context: Context) -> pb.ReportTokenUseResponse:
        """Note what a gateway saw of tokens."""
        uses = [convert_tokens.use(one) for one in request.uses]
        await self._reports.take(uses, [convert_tokens.refusal(one) for one in request.refusals])
        return pb.ReportTokenUseResponse()

    async def WatchTokens(
        self, request: pb.WatchTokensRequest, context: Context
    ) -> AsyncIterator[pb.WatchTokensResponse]:
        """Pass changes on to a gateway, and heartbeats in between."""
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
                yield convert_tokens.change(changed)
