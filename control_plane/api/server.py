"""Builds the gRPC server: services, interceptors, health, reflection, limits, graceful stop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from control_plane.api.audit import AuditServicer
from control_plane.api.directory import DirectoryServicer
from control_plane.api.interceptors.auth import AuthInterceptor
from control_plane.api.interceptors.errors import ErrorsInterceptor
from control_plane.api.interceptors.metrics import MetricsInterceptor
from control_plane.api.interceptors.policy import PolicyInterceptor
from control_plane.api.interceptors.request_id import RequestIdInterceptor
from control_plane.api.interceptors.validation import ValidationInterceptor
from control_plane.api.leases import LeaseServicer
from control_plane.api.policy import Role
from control_plane.api.schemas import SchemaServicer
from control_plane.api.tenancy import TargetServicer, TenantServicer, TokenServicer
from control_plane.client.names import MAX_MESSAGE_BYTES
from control_plane.metrics import Metrics
from control_plane.runtime.logs import get_logger
from protos.audit.v1 import audit_pb2, audit_pb2_grpc
from protos.directory.v1 import directory_pb2, directory_pb2_grpc
from protos.lease.v1 import lease_pb2, lease_pb2_grpc
from protos.tenancy.v1 import tenancy_pb2, tenancy_pb2_grpc

log = get_logger(__name__)

MAX_CONCURRENT_RPCS = 1_000
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 500),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping each 20 s (client/channel.py); stricter servers answer GOAWAY too_many_pings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Bandwidth probes count as pings too, so that even obedient clients were sent away now and then.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)
SERVICES = tuple(
    descriptor.full_name
    for file in (tenancy_pb2, directory_pb2, audit_pb2, lease_pb2)
    for descriptor in file.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True, slots=True)
class Servicers:
    """One servicer for each service."""

    tenants: TenantServicer
    tokens: TokenServicer
    targets: TargetServicer
    directory: DirectoryServicer
    schemas: SchemaServicer
    audit: AuditServicer
    leases: LeaseServicer


class Server:
    """The gRPC server of one process."""

    def __init__(
        self, servicers: Servicers, metrics: Metrics, tokens: Mapping[Role, str], *, with_reflection: bool
    ) -> None:
        """``tokens`` are the service tokens by role."""
        self._server = grpc.aio.server(
            interceptors=[
                RequestIdInterceptor(),
                MetricsInterceptor(metrics),
                ErrorsInterceptor(),
                AuthInterceptor(dict(tokens)),
                PolicyInterceptor(),
                ValidationInterceptor(),
            ],
            options=list(OPTIONS),
            maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
        )
        self._health = HealthServicer()
        tenancy_pb2_grpc.add_TenantServiceServicer_to_server(servicers.tenants, self._server)
        tenancy_pb2_grpc.add_TokenServiceServicer_to_server(servicers.tokens, self._server)
        tenancy_pb2_grpc.add_TargetServiceServicer_to_server(servicers.targets, self._server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(servicers.directory, self._server)
        directory_pb2_grpc.add_SchemaServiceServicer_to_server(servicers.schemas, self._server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(servicers.audit, self._server)
        lease_pb2_grpc.add_LeaseServiceServicer_to_server(servicers.leases, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            _add_reflection(self._server)

    async def start(self, address: str) -> int:
        """Listen on ``address`` (host:port; port 0 takes a free one) in plaintext and return the port."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        await self.set_serving(serving=True)
        return port

    async def set_serving(self, *, serving: bool) -> None:
        """Say SERVING or NOT_SERVING for every service and for the whole."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new calls, let those in flight finish for ``grace_s`` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        # The server's own tasks end one turn of the loop later.
        await asyncio.sleep(0)


def _add_reflection(server: grpc.aio.Server) -> None:
    """Serve one reflection servicer as v1 and v1alpha: grpcio-reflection ships v1alpha only (grpc/grpc#38576)."""
    names = (*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
    servicer = ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME):
        generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((generic,))
