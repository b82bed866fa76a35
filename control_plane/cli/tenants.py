"""`muster tenant`: customers."""

from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, print_fields, print_json, print_table, time_text
from control_plane.cli.spans import parse_span
from control_plane.cli.tenant_fields import (
    Provider,
    fields,
    provider_text,
    read_limits,
    read_switches,
    state_text,
    wire_provider,
)
from control_plane.domain.tenants import LIMITS
from control_plane.scim.compatibility import SWITCHES

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="tenant", help="Customers.", no_args_is_help=True)

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
Limited = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="LIMIT=NUMBER",
        help=f"A limit of the tenant's own. May be repeated. Limits: {', '.join(LIMITS)}.",
    ),
]
Unlimited = Annotated[
    list[str] | None,
    typer.Option("--unset-limit", metavar="LIMIT", help="Follow the installation's again. May be repeated."),
]
Retention = Annotated[
    str, typer.Option("--audit-retention", metavar="SPAN", help="How long audit events are kept, 1d to 3650d.")
]
Deleted = Annotated[bool, typer.Option("--deleted", help="Also deleted tenants whose data is still there.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for people.")]
Grace = Annotated[
    str, typer.Option("--grace", metavar="SPAN", help="How long it can be restored, 0s to 365d; else 30d.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for the tenant's name.")]


@admin_command(app, "create")
async def create(
    admin: Admin, display_name: Name, *, identity_provider: Pushes = Provider.GENERIC, limits: Limited = None
) -> None:
    """Create a tenant."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.CreateTenantRequest(display_name=display_name, identity_provider=wire_provider(identity_provider))
    for limit, value in read_limits(limits or ()):
        setattr(request.limits, limit, value)
    _show(admin, (await admin.call(admin.api.tenants.CreateTenant, request)).tenant)


@admin_command(app, "show")
async def show(admin: Admin, tenant_id: TenantId) -> None:
    """Show a tenant, with the limits and the compatibility that are in force."""
    _show(admin, await _get(admin, tenant_id))


@admin_command(app, "list")
async def list_tenants(admin: Admin, *, deleted: Deleted = False) -> None:
    """List all tenants, in order of creation."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    pages = admin.pages(admin.api.tenants.ListTenants, pb.ListTenantsRequest(show_deleted=deleted), limit=0)
    tenants = [tenant async for page in pages for tenant in page.tenants]
    if admin.as_json:
        print_json({"tenants": [as_dict(tenant) for tenant in tenants]})
        return
    rows = (
        (each.id, each.display_name, state_text(each), provider_text(each), time_text(each.create_time))
        for each in tenants
    )
    print_table(("ID", "NAME", "STATE", "IDENTITY PROVIDER", "CREATED"), rows)


@admin_command(app, "update")
async def update(
    admin: Admin,
    tenant_id: TenantId,
    *,
    name: NewName = "",
    identity_provider: PushesNow = None,
    switches: Switches = None,
    cleared: Cleared = None,
    limits: Limited = None,
    unlimited: Unlimited = None,
    audit_retention: Retention = "",
) -> None:
    """Change a tenant, in force at once; what is not given stays."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.UpdateTenantRequest(tenant=pb.Tenant(id=tenant_id))
    paths = request.update_mask.paths
    if name:
        request.tenant.display_name = name
        paths.append("display_name")
    if identity_provider is not None:
        request.tenant.identity_provider = wire_provider(identity_provider)
        paths.append("identity_provider")
    if audit_retention:
        request.tenant.audit_retention.FromTimedelta(parse_span(audit_retention))
        paths.append("audit_retention")
    for switch, on in read_switches(switches or (), cleared or ()):
        if on is not None:
            setattr(request.tenant.compatibility, switch, on)
        paths.append(f"compatibility.{switch}")
    for limit, value in read_limits(limits or (), unlimited or ()):
        if value is not None:
            setattr(request.tenant.limits, limit, value)
        paths.append(f"limits.{limit}")
    if not paths:
        raise ValueError("nothing to change: see muster tenant update --help")
    _show(admin, (await admin.call(admin.api.tenants.UpdateTenant, request)).tenant)


@admin_command(app, "suspend")
async def suspend(admin: Admin, tenant_id: TenantId, *, reason: Reason = "") -> None:
    """Stop serving a tenant: SCIM answers 403, no target is written, nothing is lost."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.SuspendTenantRequest(id=tenant_id, reason=reason)
    _show(admin, (await admin.call(admin.api.tenants.SuspendTenant, request)).tenant)


@admin_command(app, "resume")
async def resume(admin: Admin, tenant_id: TenantId) -> None:
    """Serve a suspended tenant again; what accumulated goes to its targets."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.ResumeTenantRequest(id=tenant_id)
    _show(admin, (await admin.call(admin.api.tenants.ResumeTenant, request)).tenant)


@admin_command(app, "delete")
async def delete(admin: Admin, tenant_id: TenantId, *, grace: Grace = "", yes: Yes = False) -> None:
    """Delete a tenant: its tokens are refused at once, its data and its key are gone after the grace period."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.DeleteTenantRequest(id=tenant_id)
    if grace:
        request.grace.FromTimedelta(parse_span(grace))
    request.confirm_display_name = (await _get(admin, tenant_id)).display_name
    if not yes and _typed() != request.confirm_display_name:
        raise ValueError("that is not the tenant's name: nothing was deleted")
    _show(admin, (await admin.call(admin.api.tenants.DeleteTenant, request)).tenant)


@admin_command(app, "restore")
async def restore(admin: Admin, tenant_id: TenantId) -> None:
    """Take a deletion back, within the grace period."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.RestoreTenantRequest(id=tenant_id)
    _show(admin, (await admin.call(admin.api.tenants.RestoreTenant, request)).tenant)


async def _get(admin: Admin, tenant_id: str) -> "pb.Tenant":
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return (await admin.call(admin.api.tenants.GetTenant, pb.GetTenantRequest(id=tenant_id))).tenant


def _typed() -> str:
    """Return what somebody types; on a terminal or a pipe, and never into the output of --json."""
    typed: str = typer.prompt("Type the tenant's name to delete it", err=True)
    return typed


def _show(admin: Admin, tenant: "pb.Tenant") -> None:
    if admin.as_json:
        print_json(as_dict(tenant))
    else:
        print_fields(fields(tenant))
