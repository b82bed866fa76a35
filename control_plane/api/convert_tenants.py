"""Tenants, their compatibility and their limits <-> protobuf."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta

from control_plane.api.convert import span, timestamp
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.tenants import LIMITS, IdentityProvider, Limits, Tenant
from control_plane.scim.compatibility import SWITCHES
from control_plane.services.tenants import NewTenant, TenantChange
from protos.tenancy.v1 import tenancy_pb2 as pb

WHOLE_SWITCHES, WHOLE_LIMITS, RETENTION = "compatibility", "limits", "audit_retention"
SWITCH_PATHS: Mapping[str, str] = {f"{WHOLE_SWITCHES}.{name}": name for name in SWITCHES}
LIMIT_PATHS: Mapping[str, str] = {f"{WHOLE_LIMITS}.{name}": name for name in LIMITS}
MASK_FIELDS = (
    "display_name",
    "identity_provider",
    RETENTION,
    WHOLE_SWITCHES,
    *SWITCH_PATHS,
    WHOLE_LIMITS,
    *LIMIT_PATHS,
)
DEFAULT_RETENTION_DAYS = 400


def tenant(one: Tenant, installation: Limits) -> pb.Tenant:
    """Return a tenant on the wire, with the limits of the ``installation`` where it has none of its own."""
    # Switches and limits that a newer version stored have no field here.
    switches = {name: value for name, value in one.overrides.items() if name in SWITCHES}
    limits = {name: value for name, value in one.limits.items() if name in LIMITS}
    wire = pb.Tenant(
        id=str(one.id),
        display_name=one.display_name,
        create_time=timestamp(one.created_at),
        identity_provider=pb.IdentityProvider.ValueType(one.identity_provider),
        compatibility=pb.Compatibility(**switches),
        effective_compatibility=pb.Compatibility(**asdict(one.compatibility)),
        state=pb.TenantState.ValueType(one.state),
        suspend_time=timestamp(one.suspended_at),
        suspend_reason=one.suspend_reason,
        delete_time=timestamp(one.deleted_at),
        purge_time=timestamp(one.purge_at),
        limits=pb.TenantLimits(**limits),
        effective_limits=pb.TenantLimits(**asdict(one.effective_limits(installation))),
    )
    wire.audit_retention.FromTimedelta(timedelta(days=one.audit_retention_days))
    return wire


def new_tenant(request: pb.CreateTenantRequest) -> NewTenant:
    """Return what a tenant begins with."""
    return NewTenant(request.display_name, identity_provider(request.identity_provider), _limits(request.limits))


def identity_provider(wire: pb.IdentityProvider.ValueType) -> IdentityProvider:
    """Return the identity provider; unspecified is generic, and the contract's rules have refused anything else."""
    return IdentityProvider(wire) if wire else IdentityProvider.GENERIC


def tenant_change(request: pb.UpdateTenantRequest) -> TenantChange:
    """Return what the mask names, as AIP-134 reads it: a named field that is absent is cleared."""
    paths, wanted = set(request.update_mask.paths), request.tenant
    if not paths or not paths <= set(MASK_FIELDS):
        raise InvalidArgument("update_mask", f"names one or more of {', '.join(MASK_FIELDS)}")
    switches = {field.name: value for field, value in wanted.compatibility.ListFields()}
    limits = _limits(wanted.limits)
    return TenantChange(
        display_name=wanted.display_name if "display_name" in paths else None,
        identity_provider=identity_provider(wanted.identity_provider) if "identity_provider" in paths else None,
        switches={name: switches.get(name) for name in _named(paths, SWITCH_PATHS, WHOLE_SWITCHES)},
        limits={name: limits.get(name) for name in _named(paths, LIMIT_PATHS, WHOLE_LIMITS)},
        audit_retention_days=_retention_days(wanted) if RETENTION in paths else None,
    )


def grace(request: pb.DeleteTenantRequest) -> timedelta | None:
    """Return how long the tenant can be restored; None: as long as by default."""
    return span(request.grace) if request.HasField("grace") else None


def _retention_days(wanted: pb.Tenant) -> int:
    if not wanted.HasField("audit_retention"):
        return DEFAULT_RETENTION_DAYS
    kept = span(wanted.audit_retention)
    if kept % timedelta(days=1):
        raise InvalidArgument("tenant.audit_retention", "must be whole days")
    return kept.days


def _named(paths: set[str], by_path: Mapping[str, str], whole: str) -> Iterable[str]:
    return [name for path, name in by_path.items() if path in paths or whole in paths]


def _limits(wire: pb.TenantLimits) -> dict[str, int]:
    """Return the limits that are set."""
    return {field.name: value for field, value in wire.ListFields()}
