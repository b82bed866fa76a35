"""muster.identity.v1.ApiKeyService. Thin: translate, call, translate."""

from control_plane.api import convert_identity as convert
from control_plane.api.interceptors.auth import caller, identity
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.api.policy import SCOPES
from control_plane.domain.identities import Role
from control_plane.domain.ids import ApiKeyId, parse_id
from control_plane.services.api_keys import ApiKeyService
from protos.identity.v1 import identity_pb2 as pb
from protos.identity.v1 import identity_pb2_grpc as rpc


class ApiKeyServicer(rpc.ApiKeyServiceServicer):
    """muster.identity.v1.ApiKeyService."""

    def __init__(self, service: ApiKeyService, pages: PageTokens) -> None:
        self._service, self._pages = service, pages

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        """Generate a key."""
        key, secret = await self._service.create(caller(), identity(), convert.wanted_key(request))
        return pb.CreateApiKeyResponse(api_key=convert.api_key(key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        """List the keys that the caller may see."""
        me, size = identity(), page_size(request.page_size)
        # All owners see the same list; everybody else a list of their own.
        asked = "api keys" if me.role is Role.OWNER else f"api keys {me.id}"
        before = self._pages.read(request.page_token, asked)
        found = await self._service.list(me, ApiKeyId(before) if before else None, size)
        return pb.ListApiKeysResponse(
            api_keys=[convert.api_key(one) for one in found],
            next_page_token=self._pages.make(found[-1].id, asked) if len(found) == size else "",
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        """Revoke at once."""
        revoked = await self._service.revoke(caller(), identity(), ApiKeyId(parse_id(request.id, "API key")))
        return pb.RevokeApiKeyResponse(api_key=convert.api_key(revoked))

    async def ListScopes(self, request: pb.ListScopesRequest, context: Context) -> pb.ListScopesResponse:
        """Name the scopes."""
        return pb.ListScopesResponse(scopes=SCOPES)
