"""What `muster tenant` reads and prints: switches, limits, and a tenant as people see it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from control_plane.cli.output import enum_text, time_text
from control_plane.domain.tenants import LIMITS
from control_plane.scim.compatibility import SWITCHES

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

PROVIDER, STATE = "IDENTITY_PROVIDER_", "TENANT_STATE_"
VALUES = {"true": True, "false": False}


class Provider(StrEnum):
    """The identity providers that have a preset."""

    GENERIC = "generic"
    OKTA = "okta"
    ENTRA = "entra"
    ONELOGIN = "onelogin"
    PING = "ping"
    GOOGLE = "google"
    JUMPCLOUD = "jumpcloud"
    RIPPLING = "rippling"


def wire_provider(provider: Provider) -> "pb.IdentityProvider.ValueType":
    """Return an identity provider on the wire."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return pb.IdentityProvider.Value(PROVIDER + provider.name)


def provider_text(tenant: "pb.Tenant") -> str:
    """Return ``okta`` for IDENTITY_PROVIDER_OKTA."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return enum_text(pb.IdentityProvider.Name(tenant.identity_provider), PROVIDER)


def state_text(tenant: "pb.Tenant") -> str:
    """Return ``active``, ``suspended`` or ``deleted``."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return enum_text(pb.TenantState.Name(tenant.state), STATE) if tenant.state else ""


def read_switches(given: Sequence[str], cleared: Sequence[str]) -> Iterator[tuple[str, bool | None]]:
    """Yield each switch and its value, None to clear it; ValueError for what cannot be read, or is said twice."""
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (_, _, value) in zip(given, pairs, strict=True) if value.lower() not in VALUES]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not SWITCH=true or SWITCH=false")
    _require_known("switch", [name for name, _, _ in pairs] + list(cleared), SWITCHES)
    yield from ((name, VALUES[value.lower()]) for name, _, value in pairs)
    yield from ((name, None) for name in cleared)


def read_limits(given: Sequence[str], cleared: Sequence[str] = ()) -> Iterator[tuple[str, int | None]]:
    """Yield each limit and its value, None to clear it; ValueError for what cannot be read, or is said twice."""
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (_, _, value) in zip(given, pairs, strict=True) if not _is_number(value)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not LIMIT=NUMBER")
    _require_known("limit", [name for name, _, _ in pairs] + list(cleared), LIMITS)
    yield from ((name, int(value)) for name, _, value in pairs)
    yield from ((name, None) for name in cleared)


def fields(tenant: "pb.Tenant") -> Iterator[tuple[str, str]]:
    """Yield what people see of a tenant; an empty value is left out when it is printed."""
    yield "id", tenant.id
    yield "name", tenant.display_name
    yield "state", state_text(tenant)
    yield "identity provider", provider_text(tenant)
    yield "created", time_text(tenant.create_time)
    yield "suspended", time_text(tenant.suspend_time)
    yield "reason", tenant.suspend_reason
    yield "deleted", time_text(tenant.delete_time)
    yield "data goes", time_text(tenant.purge_time)
    yield "audit kept", f"{days} days" if (days := tenant.audit_retention.seconds // 86_400) else ""
    own = {field.name for field, _ in tenant.limits.ListFields()}
    for field, value in tenant.effective_limits.ListFields():
        yield field.name, f"{value or 'none'} ({'set' if field.name in own else 'installation'})"
    own = {field.name for field, _ in tenant.compatibility.ListFields()}
    for field, value in tenant.effective_compatibility.ListFields():
        yield field.name, f"{str(value).lower()} ({'set' if field.name in own else 'preset'})"


def _require_known(what: str, named: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValueError(f"there is no {what} {unknown[0]!r}, only {', '.join(known)}")
    if len(set(named)) < len(named):
        raise ValueError(f"a {what} is named twice")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
