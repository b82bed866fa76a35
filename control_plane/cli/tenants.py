"""`muster tenant`: customers."""

from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="tenant", help="Customers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call the customer.")]
TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant's id.")]


@admin_command(app, "create")
async def create(admin: Admin, display_name: Name) -> None:
    """Create a tenant."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    answer = await admin.call(admin.api.tenants.CreateTenant, pb.CreateTenantRequest(display_name=display_name))
    _show(admin, answer.tenant)


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
        rows = ((tenant.id, tenant.display_name, time_text(tenant.create_time)) for tenant in tenants)
        print_table(("ID", "NAME", "CREATED"), rows)


def _show(admin: Admin, tenant: "pb.Tenant") -> None:
    if admin.as_json:
        print_json(as_dict(tenant))
    else:
        created = time_text(tenant.create_time)
        print_fields((("id", tenant.id), ("name", tenant.display_name), ("created", created)))
