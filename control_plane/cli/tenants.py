"""`muster tenant`: customers."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, print_table, time_text
from control_plane.scim.compatibility import SWITCHES

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="tenant", help="Customers.", no_args_is_help=True)

PREFIX = "IDENTITY_PROVIDER_"
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


Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call the customer.")]
TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant's id.")]
NewName = Annotated[str, typer.Option("--name", help="A new name.")]
Pushes = Annotated[Provider, typer.Option("--identity-provider", help="Who pushes: presets the compatibility.")]
PushesNow = Annotated[Provider | None, typer.Option("--identity-provider", help="Who pushes from now on.")]
Switches = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SWITCH=true|false",
        help=f"Depart from the preset. May be repeated. Switches: {', '.join(SWITCHES)}.",
    ),
]
Cleared = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="SWITCH", help="Follow the preset again. May be repeated."),
]


@admin_command(app, "create")
async def create(admin: Admin, display_name: Name, *, identity_provider: Pushes = Provider.GENERIC) -> None:
    """Create a tenant."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.CreateTenantRequest(display_name=display_name, identity_provider=_wire_provider(identity_provider))
    _show(admin, (await admin.call(admin.api.tenants.CreateTenant, request)).tenant)


@admin_command(app, "get")
async def get(admin: Admin, tenant_id: TenantId) -> None:
    """Show a tenant."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    answer = await admin.call(admin.api.tenants.GetTenant, pb.GetTenantRequest(id=tenant_id))
    _show(admin, answer.tenant)


@admin_command(app, "list")
async def list_tenants(admin: Admin) -> None:
    """List all tenants, in order of creation."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    pages = admin.pages(admin.api.tenants.ListTenants, pb.ListTenantsRequest(), limit=0)
    tenants = [tenant async for page in pages for tenant in page.tenants]
    if admin.as_json:
        print_json({"tenants": [as_dict(tenant) for tenant in tenants]})
    else:
        rows = ((each.id, each.display_name, _provider(each), time_text(each.create_time)) for each in tenants)
        print_table(("ID", "NAME", "IDENTITY PROVIDER", "CREATED"), rows)


@admin_command(app, "update")
async def update(
    admin: Admin,
    tenant_id: TenantId,
    *,
    name: NewName = "",
    identity_provider: PushesNow = None,
    switches: Switches = None,
    cleared: Cleared = None,
) -> None:
    """Change a tenant's name, identity provider or compatibility, in force at once; what is not given stays."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.UpdateTenantRequest(tenant=pb.Tenant(id=tenant_id))
    paths = request.update_mask.paths
    if name:
        request.tenant.display_name = name
        paths.append("display_name")
    if identity_provider is not None:
        request.tenant.identity_provider = _wire_provider(identity_provider)
        paths.append("identity_provider")
    for switch, value in _settings(switches or (), cleared or ()):
        if value is not None:
            setattr(request.tenant.compatibility, switch, value)
        paths.append(f"compatibility.{switch}")
    if not paths:
        raise ValueError("nothing to change: give --name, --identity-provider, --set or --unset")
    _show(admin, (await admin.call(admin.api.tenants.UpdateTenant, request)).tenant)


def _settings(given: Sequence[str], cleared: Sequence[str]) -> Iterator[tuple[str, bool | None]]:
    """Yield each switch and its value, None to clear it; ValueError for what cannot be read, or is said twice."""
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (_, _, value) in zip(given, pairs, strict=True) if value.lower() not in VALUES]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not SWITCH=true or SWITCH=false")
    named = [name for name, _, _ in pairs] + list(cleared)
    unknown = [name for name in named if name not in SWITCHES]
    if unknown:
        raise ValueError(f"there is no switch {unknown[0]!r}, only {', '.join(SWITCHES)}")
    if len(set(named)) < len(named):
        raise ValueError("a switch is named twice")
    yield from ((name, VALUES[value.lower()]) for name, _, value in pairs)
    yield from ((name, None) for name in cleared)


def _show(admin: Admin, tenant: "pb.Tenant") -> None:
    if admin.as_json:
        print_json(as_dict(tenant))
        return
    own = {field.name for field, _ in tenant.compatibility.ListFields()}
    switches = (
        (field.name, f"{str(value).lower()} ({'set' if field.name in own else 'preset'})")
        for field, value in tenant.effective_compatibility.ListFields()
    )
    print_fields(
        (
            ("id", tenant.id),
            ("name", tenant.display_name),
            ("identity provider", _provider(tenant)),
            ("created", time_text(tenant.create_time)),
            *switches,
        )
    )


def _provider(tenant: "pb.Tenant") -> str:
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return enum_text(pb.IdentityProvider.Name(tenant.identity_provider), PREFIX)


def _wire_provider(provider: Provider) -> "pb.IdentityProvider.ValueType":
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return pb.IdentityProvider.Value(PREFIX + provider.name)
