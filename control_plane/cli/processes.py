"""`muster control-plane`, `gateway`, `worker`, `migrate`: one process, all settings from MUSTER_* variables."""

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from control_plane.cli.panels import PROCESS, fail
from control_plane.runtime.settings import SettingsError, from_env, setting

NOT_BUILT = 2


@dataclass(frozen=True, slots=True)
class MigrateSettings:
    """Everything that `muster migrate` is told."""

    postgres_owner_url: str = setting(
        "PostgreSQL for `muster migrate`, as the role that owns the tables: postgresql://owner[:password]@host:port/database",
        secret=True,
    )
    postgres_role_password: str = setting(
        "Password that `muster migrate` gives the runtime roles; empty: it leaves theirs alone", default="", secret=True
    )


class Process(StrEnum):
    """What `muster healthcheck` can ask."""

    CONTROL_PLANE = "control-plane"
    GATEWAY = "gateway"
    WORKER = "worker"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command, name in (
        (control_plane, "control-plane"),
        (gateway, "gateway"),
        (worker, "worker"),
        (migrate, "migrate"),
        (healthcheck, "healthcheck"),
    ):
        app.command(name, rich_help_panel=PROCESS)(command)
    app.command("console", hidden=True)(console)
    app.command("portal", hidden=True)(portal)


def control_plane() -> None:
    """Run one control plane: the gRPC server."""
    from control_plane.app import main

    main()


def gateway() -> None:
    """Run one gateway: the SCIM endpoint."""
    from scim_gateway.app import main

    main()


def worker() -> None:
    """Run one worker: it writes to target apps."""
    from workers.app import main

    main()


def migrate() -> None:
    """Bring the database to this version's schema and make the runtime roles; then end."""
    try:
        settings = from_env(MigrateSettings, os.environ)
    except SettingsError as err:
        fail(str(err))
    from sqlalchemy.exc import SQLAlchemyError

    from control_plane.runtime import logs
    from control_plane.storage.migrate import migrate as bring_up_to_date

    logs.configure("migrate", os.environ.get("MUSTER_LOG_LEVEL", "INFO"))
    try:
        bring_up_to_date(settings.postgres_owner_url, settings.postgres_role_password or None)
    except SQLAlchemyError as err:
        # The driver's own words; they name host and role, never a password.
        fail(f"the migration failed: {getattr(err, 'orig', None) or err}")


def healthcheck(process: Annotated[Process, typer.Argument(help="Which process to ask.")]) -> None:
    """Ask the process that runs here with the same settings whether it works; exit 1 if not. For containers."""
    from control_plane.cli.health import is_healthy

    if not is_healthy(process.value, os.environ):
        sys.exit(1)


def console() -> None:
    """Refuse: the operator console comes with a later issue."""
    fail("the console is not built yet", NOT_BUILT)


def portal() -> None:
    """Refuse: the customer portal comes with a later issue."""
    fail("the portal is not built yet", NOT_BUILT)
