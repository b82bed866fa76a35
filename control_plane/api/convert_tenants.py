"""Tenants and their compatibility <-> protobuf."""

from collections.abc import Mapping
from dataclasses import asdict

from control_plane.api.convert import timestamp
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.tenants import IdentityProvider, Tenant
from control_plane.scim.compatibility import SWITCHES
from control_plane.services.tenants import TenantChange
from protos.tenancy.v1 import tenancy_pb2 as pb

WHOLE = "compatibility"
SWITCH_PATHS: Mapping[str, str] = {f"{WHOLE}.{name}": name for name in SWITCHES}
MASK_FIELDS = ("display_name", "identity_provider", WHOLE, *SWITCH_PATHS)


def tenant(one: Tenant) -> pb.Tenant:
    """Return a tenant on the wire."""
    # Switches that a newer version stored have no field here.
    known = {name: value for name, value in one.overrides.items() if name in SWITCHES}
    return pb.Tenant(
        id=str(one.id),
        display_name=one.display_name,
        create_time=timestamp(one.created_at),
        identity_provider=pb.IdentityProvider.ValueType(one.identity_provider),
        compatibility=pb.Compatibility(**known),
        effective_compatibility=pb.Compatibility(**asdict(one.compatibility)),
    )


def identity_provider(wire: pb.IdentityProvider.ValueType) -> IdentityProvider:
    """Return the identity provider; unspecified is generic, and the contract's rules have refused anything else."""
    return IdentityProvider(wire) if wire else IdentityProvider.GENERIC


def tenant_change(request: pb.UpdateTenantRequest) -> TenantChange:
    """Return what the mask names, as AIP-134 reads it: a named field that is absent is cleared."""
    paths, wanted = set(request.update_mask.paths), request.tenant
    if not paths or not paths <= set(MASK_FIELDS):
        raise InvalidArgument("update_mask", f"names one or more of {', '.join(MASK_FIELDS)}")
    named = [name for path, name in SWITCH_PATHS.items() if path in paths or WHOLE in paths]
    given = {field.name: value for field, value in wanted.compatibility.ListFields()}
    return TenantChange(
        display_name=wanted.display_name if "display_name" in paths else None,
        identity_provider=identity_provider(wanted.identity_provider) if "identity_provider" in paths else None,
        switches={name: given.get(name) for name in named},
    )
