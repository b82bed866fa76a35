"""`muster keys`: encryption at rest. Shows which keys there are, and rotates them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, print_json, print_table, time_text

if TYPE_CHECKING:
    from rich.progress import Progress

    from protos.keys.v1 import keys_pb2 as pb

app = typer.Typer(name="keys", help="Keys that encrypt at rest.", no_args_is_help=True)

# The nil UUID: the installation's own keys.
INSTALLATION = "00000000-0000-0000-0000-000000000000"
ROTATION_LIMIT_S = 3600.0

OfTenant = Annotated[str, typer.Option("--tenant", metavar="ID", help="The data keys of this tenant.")]
ToRotate = Annotated[str, typer.Option("--tenant", metavar="ID", help="Rotate this tenant's data key.")]
Everyone = Annotated[bool, typer.Option("--all", help="Rotate every tenant's, and the installation's own.")]


@admin_command(app, "list")
async def list_keys(admin: Admin, *, tenant: OfTenant = "") -> None:
    """List the key-encryption keys, or a tenant's data keys."""
    from protos.keys.v1 import keys_pb2 as pb

    if not tenant:
        _show_wrapping(admin, await admin.call(admin.api.keys.ListKeyEncryptionKeys, pb.ListKeyEncryptionKeysRequest()))
        return
    answer = await admin.call(admin.api.keys.ListDataKeys, pb.ListDataKeysRequest(tenant_id=tenant))
    if admin.as_json:
        print_json(as_dict(answer))
        return
    rows = (
        (
            str(key.version),
            "seals" if key.is_primary else "opens",
            key.key_encryption_key_id,
            time_text(key.create_time),
        )
        for key in answer.keys
    )
    print_table(("VERSION", "USE", "WRAPPED BY", "CREATED"), rows)


@admin_command(app, "status")
async def status(admin: Admin) -> None:
    """Tell whether every data key can be opened and which keys are still needed; exit code 1 if one is missing."""
    from protos.keys.v1 import keys_pb2 as pb

    answer = await admin.call(admin.api.keys.ListKeyEncryptionKeys, pb.ListKeyEncryptionKeysRequest())
    missing = [key for key in answer.keys if key.data_keys and not key.is_available]
    stale = [key for key in answer.keys if key.data_keys and key.is_available and not key.is_primary]
    if admin.as_json:
        print_json({**as_dict(answer), "needs_rewrap": bool(stale), "is_missing_keys": bool(missing)})
    else:
        _print_wrapping(answer)
        for key in missing:
            typer.echo(f"MISSING: {key.id} wraps {key.data_keys} data keys; add it to MUSTER_SEALING_KEYS_RETIRED")
        for key in stale:
            typer.echo(f"{key.id} is still needed for {key.data_keys} data keys, until `muster keys rewrap` has run")
        if not missing and not stale:
            typer.echo("every data key is wrapped by the primary key")
    if missing:
        raise typer.Exit(1)


@admin_command(app, "rotate")
async def rotate(admin: Admin, *, tenant: ToRotate = "", everyone: Everyone = False) -> None:
    """Give a tenant a new data key, seal everything with it, destroy the old one. Repeat it if it was interrupted."""
    if bool(tenant) is everyone:
        raise ValueError("give either --tenant or --all")
    tenants = [tenant] if tenant else [INSTALLATION, *await _tenants(admin)]
    done, refused = await _rotated_all(admin, tenants)
    if admin.as_json:
        print_json({"rotated": done, "refused": refused})
    else:
        print_table(("ID", "VERSION", "RESEALED"), ([str(value) for value in one.values()] for one in done))
    for one in refused:
        typer.echo(f"tenant {one['tenant_id']}: {one['error']}", err=True)
    if refused:
        raise typer.Exit(1)


@admin_command(app, "rewrap")
async def rewrap(admin: Admin) -> None:
    """Wrap every data key with the primary key-encryption key, so that no other one is needed."""
    from protos.keys.v1 import keys_pb2 as pb

    last = pb.RewrapDataKeysResponse()
    steps = admin.api.keys.RewrapDataKeys(
        pb.RewrapDataKeysRequest(), timeout=ROTATION_LIMIT_S, metadata=admin.api.metadata()
    )
    with _bar() as bar:
        task = bar.add_task("data keys")
        async for last in steps:
            bar.update(task, completed=last.rewrapped, total=last.total)
    _must_be_done(last.is_done)
    if admin.as_json:
        print_json(as_dict(last))
    else:
        typer.echo(f"{last.rewrapped} data keys wrapped anew; the retired keys are no longer needed")


async def _rotated_all(
    admin: Admin, tenants: list[str]
) -> tuple[list[dict[str, str | int]], list[dict[str, str | int]]]:
    """Return what became of each tenant; one whose old key is still needed does not stop the others."""
    import grpc

    from control_plane.client.errors import decode

    done: list[dict[str, str | int]] = []
    refused: list[dict[str, str | int]] = []
    with _bar() as bar:
        whole = bar.add_task("tenants", total=len(tenants), visible=len(tenants) > 1)
        for tenant in tenants:
            try:
                last = await _rotated(admin, tenant, bar)
            except grpc.aio.AioRpcError as err:
                if err.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                refused.append({"tenant_id": tenant, "error": str(decode(err))})
            else:
                done.append({"tenant_id": tenant, "version": last.version, "resealed": last.resealed})
            bar.advance(whole)
    return done, refused


async def _rotated(admin: Admin, tenant: str, bar: "Progress") -> "pb.RotateDataKeyResponse":
    from protos.keys.v1 import keys_pb2 as pb

    last = pb.RotateDataKeyResponse()
    steps = admin.api.keys.RotateDataKey(
        pb.RotateDataKeyRequest(tenant_id=tenant), timeout=ROTATION_LIMIT_S, metadata=admin.api.metadata()
    )
    task = bar.add_task(tenant)
    async for last in steps:
        bar.update(task, completed=last.resealed, total=last.total)
    _must_be_done(last.is_done)
    bar.remove_task(task)
    return last


async def _tenants(admin: Admin) -> list[str]:
    from protos.tenancy.v1 import tenancy_pb2

    pages = admin.pages(admin.api.tenants.ListTenants, tenancy_pb2.ListTenantsRequest(), limit=0)
    return [tenant.id async for page in pages for tenant in page.tenants]


@contextmanager
def _bar() -> "Iterator[Progress]":
    """Show progress on stderr, if that is a terminal: stdout is for the result."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _must_be_done(is_done: bool) -> None:
    if not is_done:
        raise ValueError("the control plane ended before the work did: run it again")


def _show_wrapping(admin: Admin, answer: "pb.ListKeyEncryptionKeysResponse") -> None:
    if admin.as_json:
        print_json(as_dict(answer))
    else:
        _print_wrapping(answer)


def _print_wrapping(answer: "pb.ListKeyEncryptionKeysResponse") -> None:
    rows = ((key.id, _use(key), str(key.data_keys)) for key in answer.keys)
    print_table(("ID", "USE", "DATA KEYS"), rows)


def _use(key: "pb.KeyEncryptionKey") -> str:
    if not key.is_available:
        return "missing"
    return "wraps" if key.is_primary else "unwraps"
