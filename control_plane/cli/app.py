"""The command tree."""

import typer

from control_plane.cli import (
    api_keys,
    audit_trail,
    certs,
    keys,
    operators,
    processes,
    schemas,
    stack,
    targets,
    tenants,
    tokens,
)
from control_plane.cli.panels import ADMIN, STACK

app = typer.Typer(
    name="muster",
    help="The open SCIM 2.0 control plane between identity providers and target apps.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback with local variables would print tokens.
    pretty_exceptions_show_locals=False,
)

stack.register(app)
processes.register(app)
app.add_typer(certs.app, rich_help_panel=STACK)
app.add_typer(tenants.app, rich_help_panel=ADMIN)
app.add_typer(tokens.app, rich_help_panel=ADMIN)
app.add_typer(schemas.app, rich_help_panel=ADMIN)
app.add_typer(targets.app, rich_help_panel=ADMIN)
app.add_typer(audit_trail.app, rich_help_panel=ADMIN)
app.add_typer(keys.app, rich_help_panel=ADMIN)
operators.register(app, ADMIN)
app.add_typer(api_keys.app, rich_help_panel=ADMIN)
