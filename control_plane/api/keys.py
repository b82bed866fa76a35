"""muster.keys.v1.KeyService. Thin: translate, call, translate."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from control_plane.api.convert import tenant_id, timestamp
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.services.keys import KeyService
from protos.keys.v1 import keys_pb2 as pb
from protos.keys.v1 import keys_pb2_grpc as rpc


class KeyServicer(rpc.KeyServiceServicer):
    """muster.keys.v1.KeyService."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    async def ListKeyEncryptionKeys(
        self, request: pb.ListKeyEncryptionKeysRequest, context: Context
    ) -> pb.ListKeyEncryptionKeysResponse:
        """List the key-encryption keys."""
        keys = [
            pb.KeyEncryptionKey(
                id=one.id, is_primary=one.is_primary, is_available=one.is_available, data_keys=one.data_keys
            )
            for one in await self._service.wrapping_keys()
        ]
        return pb.ListKeyEncryptionKeysResponse(keys=keys)

    async def ListDataKeys(self, request: pb.ListDataKeysRequest, context: Context) -> pb.ListDataKeysResponse:
        """List a tenant's data keys."""
        found = await self._service.data_keys(tenant_id(request.tenant_id))
        keys = [
            pb.DataKey(
                version=one.version,
                key_encryption_key_id=one.kek_id,
                create_time=timestamp(one.created_at),
                is_primary=one is found[0],
            )
            for one in found
        ]
        return pb.ListDataKeysResponse(keys=keys)

    async def RotateDataKey(
        self, request: pb.RotateDataKeyRequest, context: Context
    ) -> AsyncIterator[pb.RotateDataKeyResponse]:
        """Rotate a tenant's data key."""
        async with aclosing(self._service.rotate(caller(), tenant_id(request.tenant_id))) as steps:
            async for one in steps:
                yield pb.RotateDataKeyResponse(
                    resealed=one.count, total=one.total, is_done=one.is_done, version=one.version
                )

    async def RewrapDataKeys(
        self, request: pb.RewrapDataKeysRequest, context: Context
    ) -> AsyncIterator[pb.RewrapDataKeysResponse]:
        """Wrap every data key anew."""
        async with aclosing(self._service.rewrap(caller())) as steps:
            async for one in steps:
                yield pb.RewrapDataKeysResponse(rewrapped=one.count, total=one.total, is_done=one.is_done)
