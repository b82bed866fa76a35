"""Calls to the control plane: deadline, credential, who acts; gRPC errors become exceptions again."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc

from control_plane.client.control_plane import ControlPlane, Metadata
from control_plane.client.errors import DeadlineExceeded, decode
from protos.directory.v1 import directory_pb2 as directory
from protos.tenancy.v1 import tenancy_pb2 as tenancy
from scim_gateway.caller import Caller, caller_of
from scim_gateway.requests import Actor

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each kind of call may take, in seconds."""

    rpc_s: float
    stream_s: float
    bulk_s: float


class DirectoryCalls:
    """The directory as handlers see it: one method per RPC, on behalf of an actor."""

    def __init__(self, control_plane: ControlPlane, deadlines: Deadlines) -> None:
        self._control_plane, self._deadlines = control_plane, deadlines
        self._stub = control_plane.directory

    async def create(self, actor: Actor, message: directory.CreateResourceRequest) -> directory.Resource:
        """Create a resource and return it as stored."""
        return (await self._unary(self._stub.CreateResource, message, actor)).resource

    async def get(self, actor: Actor, message: directory.GetResourceRequest) -> directory.Resource:
        """Return a resource; ResourceNotFound if the tenant has none of this type with this id."""
        return (await self._unary(self._stub.GetResource, message, actor)).resource

    async def replace(self, actor: Actor, message: directory.ReplaceResourceRequest) -> directory.Resource:
        """Replace a resource and return it as stored."""
        return (await self._unary(self._stub.ReplaceResource, message, actor)).resource

    async def patch(self, actor: Actor, message: directory.PatchResourceRequest) -> directory.Resource:
        """Apply a PatchOp and return the resource as stored."""
        return (await self._unary(self._stub.PatchResource, message, actor)).resource

    async def delete(self, actor: Actor, message: directory.DeleteResourceRequest) -> None:
        """Delete a resource."""
        await self._unary(self._stub.DeleteResource, message, actor)

    async def bulk(self, actor: Actor, message: directory.BulkWriteRequest) -> Sequence[directory.BulkResult]:
        """Carry out a BulkRequest and return what became of each operation."""
        return (await self._unary(self._stub.BulkWrite, message, actor, self._deadlines.bulk_s)).results

    async def discovery(self, actor: Actor, message: directory.GetDiscoveryRequest) -> str:
        """Return the body of a discovery endpoint; ResourceNotFound if the tenant has no such schema or type."""
        return (await self._unary(self._control_plane.schemas.GetDiscovery, message, actor)).document

    def list(
        self, actor: Actor, message: directory.ListResourcesRequest
    ) -> AsyncGenerator[directory.ListResourcesResponse, None]:
        """Yield the pieces of a list as they come."""
        return self._stream(self._stub.ListResources, message, actor)

    def members(
        self, actor: Actor, message: directory.StreamMembersRequest
    ) -> AsyncGenerator[directory.StreamMembersResponse, None]:
        """Yield the pieces of a group's members as they come."""
        return self._stream(self._stub.StreamMembers, message, actor)

    async def _unary(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Q, A]", message: Q, actor: Actor, timeout_s: float | None = None
    ) -> A:
        limit_s = self._deadlines.rpc_s if timeout_s is None else timeout_s
        try:
            return await method(message, metadata=self._metadata(actor), timeout=limit_s)
        except grpc.aio.AioRpcError as err:
            raise decode(err) from err

    async def _stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[Q, A]", message: Q, actor: Actor
    ) -> AsyncGenerator[A, None]:
        call = method(message, metadata=self._metadata(actor), timeout=self._deadlines.stream_s)
        pieces = aiter(call)
        try:
            # A control plane that says nothing at all is noticed as soon as with any other call.
            async with asyncio.timeout(self._deadlines.rpc_s):
                first = await anext(pieces, None)
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece
        except grpc.aio.AioRpcError as err:
            raise decode(err) from err
        except TimeoutError as err:
            raise DeadlineExceeded(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the control plane did not begin to answer"
            ) from err
        finally:
            call.cancel()

    def _metadata(self, actor: Actor) -> Metadata:
        client = actor.client
        return self._control_plane.metadata(
            actor_id=actor.key_id, actor_address=client.address, actor_agent=client.agent
        )


async def verify_token(control_plane: ControlPlane, presented: str, address: str, timeout_s: float) -> Caller:
    """Ask the control plane whose token this is; client.errors.TokenRefused if nobody's, or not from there."""
    message = tenancy.VerifyTokenRequest(presented=presented, address=address)
    try:
        answer = await control_plane.tokens.VerifyToken(message, metadata=control_plane.metadata(), timeout=timeout_s)
    except grpc.aio.AioRpcError as err:
        raise decode(err) from err
    return caller_of(answer)
