"""Who may call what: one row for each RPC. What is not listed is denied; a test walks the descriptors."""

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a caller proved to be by its bearer token."""

    ADMIN = "admin"
    GATEWAY = "gateway"
    WORKER = "worker"


class RateClass(Enum):
    """How an RPC will be limited per caller: the class is fixed here, the limits come with the limits per tenant."""

    ADMIN = "admin"
    READ = "read"
    WRITE = "write"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call, the deadline when the caller sets none (None: a long-lived stream), and the action in the audit."""

    roles: frozenset[Role]
    deadline_s: float | None
    rate_class: RateClass
    audit_action: str = ""


_ADMIN = frozenset({Role.ADMIN})
_DIRECTORY = frozenset({Role.ADMIN, Role.GATEWAY})
_GATEWAY = frozenset({Role.GATEWAY})
_WORKER = frozenset({Role.WORKER})

POLICY: dict[str, Rule] = {
    "/muster.tenancy.v1.TenantService/CreateTenant": Rule(_ADMIN, 10, RateClass.ADMIN, "tenant.create"),
    "/muster.tenancy.v1.TenantService/GetTenant": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.tenancy.v1.TenantService/ListTenants": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.tenancy.v1.TenantService/UpdateTenant": Rule(_ADMIN, 10, RateClass.ADMIN, "tenant.update"),
    "/muster.tenancy.v1.TokenService/CreateToken": Rule(_ADMIN, 10, RateClass.ADMIN, "token.create"),
    "/muster.tenancy.v1.TokenService/ListTokens": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.tenancy.v1.TokenService/RotateToken": Rule(_ADMIN, 10, RateClass.ADMIN, "token.rotate"),
    "/muster.tenancy.v1.TokenService/RevokeToken": Rule(_ADMIN, 10, RateClass.ADMIN, "token.revoke"),
    "/muster.tenancy.v1.TokenService/VerifyToken": Rule(_GATEWAY, 5, RateClass.READ),
    "/muster.tenancy.v1.TokenService/WatchTokens": Rule(_GATEWAY, None, RateClass.STREAM),
    "/muster.tenancy.v1.TargetService/CreateTarget": Rule(_ADMIN, 30, RateClass.ADMIN, "target.create"),
    "/muster.tenancy.v1.TargetService/GetTarget": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.tenancy.v1.TargetService/ListTargets": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.tenancy.v1.TargetService/UpdateTarget": Rule(_ADMIN, 10, RateClass.ADMIN, "target.update"),
    "/muster.tenancy.v1.TargetService/ActivateTarget": Rule(_ADMIN, 30, RateClass.ADMIN, "target.activate"),
    "/muster.tenancy.v1.TargetService/PauseTarget": Rule(_ADMIN, 10, RateClass.ADMIN, "target.pause"),
    "/muster.tenancy.v1.TargetService/GetTargetStatus": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.directory.v1.DirectoryService/CreateResource": Rule(_DIRECTORY, 10, RateClass.WRITE, "<type>.create"),
    "/muster.directory.v1.DirectoryService/GetResource": Rule(_DIRECTORY, 10, RateClass.READ),
    "/muster.directory.v1.DirectoryService/ListResources": Rule(_DIRECTORY, 30, RateClass.READ),
    "/muster.directory.v1.DirectoryService/ReplaceResource": Rule(_DIRECTORY, 10, RateClass.WRITE, "<type>.replace"),
    "/muster.directory.v1.DirectoryService/PatchResource": Rule(_DIRECTORY, 10, RateClass.WRITE, "<type>.patch"),
    "/muster.directory.v1.DirectoryService/DeleteResource": Rule(_DIRECTORY, 10, RateClass.WRITE, "<type>.delete"),
    "/muster.directory.v1.DirectoryService/BulkWrite": Rule(_DIRECTORY, 60, RateClass.WRITE, "<type>.<verb>"),
    "/muster.directory.v1.DirectoryService/StreamMembers": Rule(_DIRECTORY, 60, RateClass.READ),
    "/muster.directory.v1.SchemaService/CreateSchema": Rule(_ADMIN, 10, RateClass.ADMIN, "schema.create"),
    "/muster.directory.v1.SchemaService/GetSchema": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.directory.v1.SchemaService/ListSchemas": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.directory.v1.SchemaService/UpdateSchema": Rule(_ADMIN, 10, RateClass.ADMIN, "schema.update"),
    "/muster.directory.v1.SchemaService/DeleteSchema": Rule(_ADMIN, 30, RateClass.ADMIN, "schema.delete"),
    "/muster.directory.v1.SchemaService/GetDiscovery": Rule(_DIRECTORY, 10, RateClass.READ),
    "/muster.audit.v1.AuditService/ListAuditEvents": Rule(_ADMIN, 10, RateClass.ADMIN),
    "/muster.lease.v1.LeaseService/StreamLeases": Rule(_WORKER, None, RateClass.STREAM),
    "/muster.lease.v1.LeaseService/StreamLeaseMembers": Rule(_WORKER, 60, RateClass.READ, "target.apply"),
}

# Open to everybody: they say nothing of any tenant. Load balancers and grpcurl call them without a token.
OPEN_SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
