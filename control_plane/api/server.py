"""Builds the gRPC server: services, interceptors, health, reflection, limits, graceful stop."""

import asyncio
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from control_plane.api.api_keys import ApiKeyServicer
from control_plane.api.audit import AuditServicer
from control_plane.api.directory import DirectoryServicer
from control_plane.api.interceptors.audit import AuditInterceptor
from control_plane.api.interceptors.auth import AuthInterceptor
from control_plane.api.interceptors.errors import ErrorsInterceptor
from control_plane.api.interceptors.metrics import MetricsInterceptor
from control_plane.api.interceptors.open_services import OpenInterceptor
from control_plane.api.interceptors.policy import PolicyInterceptor
from control_plane.api.interceptors.rates import RateInterceptor
from control_plane.api.interceptors.request_id import RequestIdInterceptor
from control_plane.api.interceptors.validation import ValidationInterceptor
from control_plane.api.interceptors.wrapping import Chain
from control_plane.api.keys import KeyServicer
from control_plane.api.leases import LeaseServicer
from control_plane.api.operators import OperatorServicer
from control_plane.api.schemas import SchemaServicer
from control_plane.api.targets import TargetServicer
from control_plane.api.tenants import TenantServicer
from control_plane.api.tls import Transport
from control_plane.api.tokens import TokenServicer
from control_plane.client.names import MAX_MESSAGE_BYTES
from control_plane.metrics import Metrics
from control_plane.runtime.logs import get_logger
from protos.audit.v1 import audit_pb2, audit_pb2_grpc
from protos.directory.v1 import directory_pb2, directory_pb2_grpc
from protos.identity.v1 import identity_pb2, identity_pb2_grpc
from protos.keys.v1 import keys_pb2, keys_pb2_grpc
from protos.lease.v1 import lease_pb2, lease_pb2_grpc
from protos.tenancy.v1 import tenancy_pb2, tenancy_pb2_grpc

log = get_logger(__name__)

MAX_CONCURRENT_RPCS = 1_000
HANDSHAKE = "grpc.server_handshake_timeout_ms"
OPTIONS = (
    # A connection that does not begin to speak TLS and HTTP/2 would be held for two minutes.
    (HANDSHAKE, 10_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 500),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping each 20 s (client/channel.py); stricter servers answer GOAWAY too_many_pings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Bandwidth probes count as pings too, so that even obedient clients were sent away now and then.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # Certificates are looked at when a connection begins, so none lasts for ever: after an hour it takes no new calls,
    # after another (the longest deadline in the policy table) its streams are cut. Clients go on with a new one.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 3_600_000),
    ("grpc.so_reuseport", 0),
)
SERVICES = tuple(
    descriptor.full_name
    for file in (tenancy_pb2, directory_pb2, audit_pb2, identity_pb2, keys_pb2, lease_pb2)
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
    operators: OperatorServicer
    api_keys: ApiKeyServicer
    keys: KeyServicer
    leases: LeaseServicer


@dataclass(frozen=True, slots=True)
class Guards:
    """The interceptors that know who calls."""

    auth: AuthInterceptor
    audit: AuditInterceptor
    rates: RateInterceptor


class Server:
    """The gRPC server of one process: on one port, and on a second one if reflection is to have its own."""

    def __init__(self, servicers: Servicers, metrics: Metrics, guards: Guards, *, with_reflection: bool) -> None:
        """Keep the parts; :meth:`start` builds from them and lets it listen."""
        self._servicers, self._metrics, self._guards = servicers, metrics, guards
        self._with_reflection = with_reflection
        self._health = HealthServicer()
        self._servers: list[grpc.aio.Server] = []

    async def start(self, address: str, admin_address: str, transport: Transport) -> tuple[int, int]:
        """Listen on ``address`` (host:port; port 0 takes a free one) and return the port.

        With an ``admin_address`` the same services are there too, and reflection is there only; its port is the second
        one, else 0.
        """
        ports = [await self._serve(address, transport, with_reflection=self._with_reflection and not admin_address)]
        if admin_address:
            ports.append(await self._serve(admin_address, transport, with_reflection=self._with_reflection))
        await self.set_serving(serving=True)
        return ports[0], ports[1] if admin_address else 0

    async def set_serving(self, *, serving: bool) -> None:
        """Say SERVING or NOT_SERVING for every service and for the whole."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new calls, let those in flight finish for ``grace_s`` seconds."""
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        # The servers' own tasks end one turn of the loop later.
        await asyncio.sleep(0)

    async def _serve(self, address: str, transport: Transport, *, with_reflection: bool) -> int:
        server = grpc.aio.server(
            interceptors=[
                Chain(
                    RequestIdInterceptor(),
                    MetricsInterceptor(self._metrics),
                    ErrorsInterceptor(),
                    OpenInterceptor(),
                    self._guards.auth,
                    self._guards.audit,
                    PolicyInterceptor(),
                    self._guards.rates,
                    ValidationInterceptor(),
                )
            ],
            options=list(OPTIONS),
            maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
        )
        self._servers.append(server)
        self._add_services(server)
        if with_reflection:
            _add_reflection(server)
        port = transport.add_port(server, address)
        await server.start()
        return port

    def _add_services(self, server: grpc.aio.Server) -> None:
        servicers = self._servicers
        tenancy_pb2_grpc.add_TenantServiceServicer_to_server(servicers.tenants, server)
        tenancy_pb2_grpc.add_TokenServiceServicer_to_server(servicers.tokens, server)
        tenancy_pb2_grpc.add_TargetServiceServicer_to_server(servicers.targets, server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(servicers.directory, server)
        directory_pb2_grpc.add_SchemaServiceServicer_to_server(servicers.schemas, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(servicers.audit, server)
        identity_pb2_grpc.add_OperatorServiceServicer_to_server(servicers.operators, server)
        identity_pb2_grpc.add_ApiKeyServiceServicer_to_server(servicers.api_keys, server)
        keys_pb2_grpc.add_KeyServiceServicer_to_server(servicers.keys, server)
        lease_pb2_grpc.add_LeaseServiceServicer_to_server(servicers.leases, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)


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
