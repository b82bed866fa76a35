"""All services of the control plane behind one credential."""

from typing import TYPE_CHECKING

import grpc

from control_plane.client.names import ACTOR_ADDRESS_KEY, ACTOR_AGENT_KEY, ACTOR_ID_KEY, TRACEPARENT_KEY
from control_plane.runtime.context import REQUEST_ID_HEADER, request_id, traceparent
from protos.audit.v1.audit_pb2_grpc import AuditServiceStub
from protos.directory.v1.directory_pb2_grpc import DirectoryServiceStub, SchemaServiceStub
from protos.identity.v1.identity_pb2_grpc import ApiKeyServiceStub, OperatorServiceStub
from protos.keys.v1.keys_pb2_grpc import KeyServiceStub
from protos.lease.v1.lease_pb2_grpc import LeaseServiceStub
from protos.tenancy.v1.tenancy_pb2_grpc import TargetServiceStub, TenantServiceStub, TokenServiceStub

if TYPE_CHECKING:  # mypy-protobuf declares these for the types alone
    from protos.audit.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from protos.directory.v1.directory_pb2_grpc import DirectoryServiceAsyncStub, SchemaServiceAsyncStub
    from protos.identity.v1.identity_pb2_grpc import ApiKeyServiceAsyncStub, OperatorServiceAsyncStub
    from protos.keys.v1.keys_pb2_grpc import KeyServiceAsyncStub
    from protos.lease.v1.lease_pb2_grpc import LeaseServiceAsyncStub
    from protos.tenancy.v1.tenancy_pb2_grpc import TargetServiceAsyncStub, TenantServiceAsyncStub, TokenServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]


class ControlPlane:
    """Stubs of every service. Calls take ``metadata=cp.metadata()`` and ``timeout=`` seconds."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        """``token`` is the admin, gateway or worker token of the caller; empty: its certificate says who it is."""
        self.channel = channel
        self._authorization = (("authorization", f"Bearer {token}"),) if token else ()
        self.tenants: TenantServiceAsyncStub = TenantServiceStub(channel)
        self.tokens: TokenServiceAsyncStub = TokenServiceStub(channel)
        self.targets: TargetServiceAsyncStub = TargetServiceStub(channel)
        self.directory: DirectoryServiceAsyncStub = DirectoryServiceStub(channel)
        self.schemas: SchemaServiceAsyncStub = SchemaServiceStub(channel)
        self.audit: AuditServiceAsyncStub = AuditServiceStub(channel)
        self.operators: OperatorServiceAsyncStub = OperatorServiceStub(channel)
        self.api_keys: ApiKeyServiceAsyncStub = ApiKeyServiceStub(channel)
        self.keys: KeyServiceAsyncStub = KeyServiceStub(channel)
        self.leases: LeaseServiceAsyncStub = LeaseServiceStub(channel)

    def metadata(self, *, actor_id: str = "", actor_address: str = "", actor_agent: str = "") -> Metadata:
        """Return the metadata of a call: the credential, the context's request id and trace; from a gateway, who acts.

        gRPC carries printable ASCII only.
        """
        pairs = [*self._authorization]
        if current := request_id.get():
            pairs.append((REQUEST_ID_HEADER, current))
        if parent := traceparent():
            pairs.append((TRACEPARENT_KEY, parent))
        if actor_id:
            pairs.append((ACTOR_ID_KEY, actor_id))
        if actor_address:
            pairs.append((ACTOR_ADDRESS_KEY, actor_address))
        if actor_agent:
            pairs.append((ACTOR_AGENT_KEY, actor_agent))
        return tuple(pairs)
