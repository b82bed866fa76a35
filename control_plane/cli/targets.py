"""`muster target`: the apps that a tenant's users and groups are written to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, Tenant, admin_command
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="target", help="Target apps of a tenant.", no_args_is_help=True)

TOKEN_VARIABLE = "MUSTER_TARGET_TOKEN"  # noqa: S105 - a variable's name

Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call the app.")]
TargetId = Annotated[str, typer.Argument(metavar="ID", help="The target's id.")]
BaseUrl = Annotated[str, typer.Option("--base-url", metavar="URL", help="Its SCIM base URL, no slash at the end.")]
NewName = Annotated[str, typer.Option("--name", help="A new name.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--bearer-token-file", metavar="FILE", help=f"Bearer token sent to it; else {TOKEN_VARIABLE}."),
]


@admin_command(app, "create")
async def create(
    admin: Admin, display_name: Name, *, tenant: Tenant, base_url: BaseUrl, bearer_token_file: TokenFile = None
) -> None:
    """Create a SCIM target, paused; `muster target activate` starts writing to it."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    config = pb.ScimTargetConfig(base_url=base_url, bearer_token=_bearer_token(bearer_token_file) or "")
    request = pb.CreateTargetRequest(tenant_id=tenant, display_name=display_name, scim=config)
    _show(admin, (await admin.call(admin.api.targets.CreateTarget, request)).target)


@admin_command(app, "get")
async def get(admin: Admin, target_id: TargetId, *, tenant: Tenant) -> None:
    """Show a target."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.GetTargetRequest(tenant_id=tenant, id=target_id)
    _show(admin, (await admin.call(admin.api.targets.GetTarget, request)).target)


@admin_command(app, "list")
async def list_targets(admin: Admin, *, tenant: Tenant) -> None:
    """List a tenant's targets, in order of creation."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    pages = admin.pages(admin.api.targets.ListTargets, pb.ListTargetsRequest(tenant_id=tenant), limit=0)
    targets = [target async for page in pages for target in page.targets]
    if admin.as_json:
        print_json({"targets": [as_dict(target) for target in targets]})
    else:
        rows = ((each.id, each.display_name, _kind(each), _state(each), each.scim.base_url) for each in targets)
        print_table(("ID", "NAME", "KIND", "STATE", "URL"), rows)


@admin_command(app, "update")
async def update(
    admin: Admin,
    target_id: TargetId,
    *,
    tenant: Tenant,
    name: NewName = "",
    base_url: BaseUrl = "",
    bearer_token_file: TokenFile = None,
) -> None:
    """Change a target's name, URL or bearer token; what is not given stays."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.UpdateTargetRequest(tenant_id=tenant, id=target_id)
    if name:
        request.display_name = name
        request.update_mask.paths.append("display_name")
    if base_url:
        request.scim.base_url = base_url
        request.update_mask.paths.append("scim.base_url")
    if (token := _bearer_token(bearer_token_file)) is not None:
        request.scim.bearer_token = token
        request.update_mask.paths.append("scim.bearer_token")
    if not request.update_mask.paths:
        raise ValueError("nothing to change: give --name, --base-url or --bearer-token-file")
    _show(admin, (await admin.call(admin.api.targets.UpdateTarget, request)).target)


@admin_command(app, "activate")
async def activate(admin: Admin, target_id: TargetId, *, tenant: Tenant) -> None:
    """Start writing to a target."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.ActivateTargetRequest(tenant_id=tenant, id=target_id)
    _show(admin, (await admin.call(admin.api.targets.ActivateTarget, request)).target)


@admin_command(app, "pause")
async def pause(admin: Admin, target_id: TargetId, *, tenant: Tenant) -> None:
    """Stop writing to a target; nothing wanted is forgotten."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.PauseTargetRequest(tenant_id=tenant, id=target_id)
    _show(admin, (await admin.call(admin.api.targets.PauseTarget, request)).target)


@admin_command(app, "status")
async def status(admin: Admin, target_id: TargetId, *, tenant: Tenant) -> None:
    """Show how far a target is behind the directory."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.GetTargetStatusRequest(tenant_id=tenant, id=target_id)
    found = await admin.call(admin.api.targets.GetTargetStatus, request)
    counts = {"total": found.total, "pending": found.pending, "failing": found.failing}
    if admin.as_json:
        # protobuf's JSON would give the counts as strings.
        print_json(as_dict(found) | counts)
    else:
        pairs = [(name, str(count)) for name, count in counts.items()]
        waits_since = time_text(found.oldest_pending_time)
        print_fields((*pairs, ("waits since", waits_since), ("last error", found.last_error)))


def _bearer_token(file: Path | None) -> str | None:
    """Return the token from the file or the environment, None without either. No option: others could see it."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE)
    try:
        return file.read_text().strip()
    except OSError as err:
        raise ValueError(f"{file} cannot be read: {err.strerror}") from err


def _show(admin: Admin, target: "pb.Target") -> None:
    if admin.as_json:
        print_json(as_dict(target))
        return
    print_fields(
        (
            ("id", target.id),
            ("name", target.display_name),
            ("kind", _kind(target)),
            ("state", _state(target)),
            ("url", target.scim.base_url),
            ("created", time_text(target.create_time)),
            ("updated", time_text(target.update_time)),
        )
    )


def _kind(target: "pb.Target") -> str:
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return enum_text(pb.TargetKind.Name(target.kind), "TARGET_KIND_")


def _state(target: "pb.Target") -> str:
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return enum_text(pb.TargetState.Name(target.state), "TARGET_STATE_")
