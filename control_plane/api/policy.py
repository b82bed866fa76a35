"""Who may call what: one row for each RPC. What is not listed is denied; a test walks the descriptors."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from control_plane.domain.identities import Identity, Role


class RateClass(Enum):
    """How an RPC is limited per caller (interceptors/rates.py); gateways limit SCIM requests per tenant."""

    ADMIN = "admin"
    READ = "read"
    WRITE = "write"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call, the deadline when the caller sets none (None: a long-lived stream), and the action in the audit.

    A service needs ``scope`` besides its role. ``audit_action`` names what a refusal is recorded as, too.
    """

    roles: frozenset[Role]
    deadline_s: float | None
    rate_class: RateClass
    audit_action: str = ""
    scope: str = ""


_OWNERS = frozenset({Role.OWNER})
_PEOPLE = frozenset({Role.OWNER, Role.OPERATOR, Role.AUDITOR})
_READERS = _PEOPLE | {Role.SERVICE}
_WRITERS = frozenset({Role.OWNER, Role.OPERATOR, Role.SERVICE})
_GATEWAY = frozenset({Role.GATEWAY})
_WORKER = frozenset({Role.WORKER})

_ADMIN, _READ, _WRITE, _STREAM = RateClass.ADMIN, RateClass.READ, RateClass.WRITE, RateClass.STREAM


def _read(scope: str, deadline_s: float | None = 10, rate: RateClass = _ADMIN) -> Rule:
    return Rule(_READERS, deadline_s, rate, scope=scope)


def _change(scope: str, action: str, deadline_s: float | None = 10) -> Rule:
    return Rule(_WRITERS, deadline_s, _ADMIN, action, scope)


def _own(action: str = "", deadline_s: float | None = 10) -> Rule:
    return Rule(_OWNERS, deadline_s, _ADMIN, action)


def _directory(scope: str, rate: RateClass, deadline_s: float, action: str = "") -> Rule:
    roles = _READERS if rate is _READ else _WRITERS
    return Rule(roles | _GATEWAY, deadline_s, rate, action, scope)


_TENANTS, _TOKENS = "/muster.tenancy.v1.TenantService/", "/muster.tenancy.v1.TokenService/"
_TARGETS, _DIRECTORY = "/muster.tenancy.v1.TargetService/", "/muster.directory.v1.DirectoryService/"
_SCHEMAS, _AUDIT = "/muster.directory.v1.SchemaService/", "/muster.audit.v1.AuditService/"
_OPERATORS, _API_KEYS = "/muster.identity.v1.OperatorService/", "/muster.identity.v1.ApiKeyService/"
_KEYS, _LEASES = "/muster.keys.v1.KeyService/", "/muster.lease.v1.LeaseService/"

POLICY: dict[str, Rule] = {
    _TENANTS + "CreateTenant": _change("tenants:write", "tenant.create"),
    _TENANTS + "GetTenant": _read("tenants:read"),
    _TENANTS + "ListTenants": _read("tenants:read"),
    _TENANTS + "UpdateTenant": _change("tenants:write", "tenant.update"),
    _TENANTS + "SuspendTenant": _change("tenants:write", "tenant.suspend"),
    _TENANTS + "ResumeTenant": _change("tenants:write", "tenant.resume"),
    _TENANTS + "DeleteTenant": _change("tenants:write", "tenant.delete"),
    _TENANTS + "RestoreTenant": _change("tenants:write", "tenant.restore"),
    _TENANTS + "TakePermits": Rule(_GATEWAY, 2, _READ),
    _TOKENS + "CreateToken": _change("tokens:write", "token.create"),
    _TOKENS + "ListTokens": _read("tokens:read"),
    _TOKENS + "RotateToken": _change("tokens:write", "token.rotate"),
    _TOKENS + "RevokeToken": _change("tokens:write", "token.revoke"),
    _TOKENS + "VerifyToken": Rule(_GATEWAY, 5, _READ),
    _TOKENS + "WatchTokens": Rule(_GATEWAY, None, _STREAM),
    _TOKENS + "ReportTokenUse": Rule(_GATEWAY, 10, _WRITE),
    _TARGETS + "CreateTarget": _change("targets:write", "target.create", 30),
    _TARGETS + "GetTarget": _read("targets:read"),
    _TARGETS + "ListTargets": _read("targets:read"),
    _TARGETS + "UpdateTarget": _change("targets:write", "target.update"),
    _TARGETS + "ActivateTarget": _change("targets:write", "target.activate", 30),
    _TARGETS + "PauseTarget": _change("targets:write", "target.pause"),
    _TARGETS + "GetTargetStatus": _read("targets:read"),
    _DIRECTORY + "CreateResource": _directory("directory:write", _WRITE, 10, "<type>.create"),
    _DIRECTORY + "GetResource": _directory("directory:read", _READ, 10),
    _DIRECTORY + "ListResources": _directory("directory:read", _READ, 30),
    _DIRECTORY + "ReplaceResource": _directory("directory:write", _WRITE, 10, "<type>.replace"),
    _DIRECTORY + "PatchResource": _directory("directory:write", _WRITE, 10, "<type>.patch"),
    _DIRECTORY + "DeleteResource": _directory("directory:write", _WRITE, 10, "<type>.delete"),
    _DIRECTORY + "BulkWrite": _directory("directory:write", _WRITE, 60, "<type>.<verb>"),
    _DIRECTORY + "StreamMembers": _directory("directory:read", _READ, 60),
    _SCHEMAS + "CreateSchema": _change("schemas:write", "schema.create"),
    _SCHEMAS + "GetSchema": _read("schemas:read"),
    _SCHEMAS + "ListSchemas": _read("schemas:read"),
    _SCHEMAS + "UpdateSchema": _change("schemas:write", "schema.update"),
    _SCHEMAS + "DeleteSchema": _change("schemas:write", "schema.delete", 30),
    _SCHEMAS + "GetDiscovery": _directory("directory:read", _READ, 10),
    _AUDIT + "ListAuditEvents": _read("audit:read"),
    _AUDIT + "TailAuditEvents": _read("audit:read", None, _STREAM),
    _AUDIT + "ExportAuditEvents": Rule(_READERS, 3600, _STREAM, "audit.export", "audit:read"),
    _AUDIT + "VerifyAuditTrail": _read("audit:read", 3600, _STREAM),
    _AUDIT + "CreateCheckpoint": _own("audit.checkpoint", 60),
    _AUDIT + "GetCheckpointKey": _read("audit:read"),
    _AUDIT + "EraseSubject": _own("audit.erase", 60),
    _OPERATORS + "CreateOperator": _own("operator.create"),
    _OPERATORS + "GetOperator": Rule(_PEOPLE, 10, _ADMIN),
    _OPERATORS + "ListOperators": Rule(_PEOPLE, 10, _ADMIN),
    _OPERATORS + "UpdateOperator": _own("operator.update"),
    _OPERATORS + "DeleteOperator": _own("operator.delete"),
    _OPERATORS + "GetCaller": Rule(_READERS, 10, _ADMIN),
    # Operators and auditors see and change their own keys only: services/api_keys.py.
    _API_KEYS + "CreateApiKey": Rule(_PEOPLE, 10, _ADMIN, "api_key.create"),
    _API_KEYS + "ListApiKeys": Rule(_PEOPLE, 10, _ADMIN),
    _API_KEYS + "RevokeApiKey": Rule(_PEOPLE, 10, _ADMIN, "api_key.revoke"),
    _API_KEYS + "ListScopes": Rule(_PEOPLE, 10, _ADMIN),
    _KEYS + "ListKeyEncryptionKeys": Rule(_PEOPLE, 10, _ADMIN),
    _KEYS + "ListDataKeys": Rule(_PEOPLE, 10, _ADMIN),
    _KEYS + "RotateDataKey": _own("key.rotate", 3600),
    _KEYS + "RewrapDataKeys": _own("key.rewrap", 3600),
    _LEASES + "StreamLeases": Rule(_WORKER, None, _STREAM),
    _LEASES + "StreamLeaseMembers": Rule(_WORKER, 60, _READ, "target.apply"),
}

# What an internal service can be allowed to do.
SCOPES = tuple(sorted({rule.scope for rule in POLICY.values() if rule.scope}))

# Asked by a caller who is for some tenants only, too.
_OF_THE_CALLER = frozenset({"muster.identity.v1.GetCallerRequest"})

# Open to everybody: they say nothing of any tenant. Load balancers and grpcurl call them without a token.
OPEN_SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


def allows(rule: Rule, identity: Identity) -> bool:
    """Tell whether a caller may call a method at all."""
    if identity.role not in rule.roles:
        return False
    return identity.role is not Role.SERVICE or not rule.scope or rule.scope in identity.scopes


def methods_of(identity: Identity) -> Iterator[str]:
    """Yield the full names of the methods that a caller may call."""
    return (name for name, rule in POLICY.items() if allows(rule, identity))


def is_for_tenant(message: Message, identity: Identity) -> bool:
    """Tell whether a request is for one of the tenants that the caller may act for.

    One that names no tenant is for all of them, but for questions about the caller itself.
    """
    if identity.tenants is None or message.DESCRIPTOR.full_name in _OF_THE_CALLER:
        return True
    named = tenant_named(message)
    return named in {str(one) for one in identity.tenants}


def tenant_named(message: Message) -> str | None:
    """Return the id of the tenant that a request is for, in lower case; None if its kind names none."""
    path = tenant_path(cast("Descriptor", message.DESCRIPTOR))
    found: object = message
    for name in path:
        found = getattr(found, name)
    return str(found).lower() if path else None


def tenant_path(request: Descriptor) -> tuple[str, ...]:
    """Return the fields that lead to the tenant's id in requests of this kind; empty if there are none."""
    fields = request.fields_by_name
    if "tenant_id" in fields:
        return ("tenant_id",)
    # TenantService: the thing itself is the tenant.
    if request.full_name.startswith("muster.tenancy.v1.") and request.full_name.endswith("TenantRequest"):
        return ("id",) if "id" in fields else ("tenant", "id") if "tenant" in fields else ()
    # Create and Update of what has a tenant, such as CreateSchema.
    for field in request.fields:
        inner = field.message_type
        if inner is not None and not field.is_repeated and "tenant_id" in inner.fields_by_name:
            return (field.name, "tenant_id")
    return ()
