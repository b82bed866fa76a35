"""Headings in `muster --help`, and how a command says no."""

from typing import NoReturn

import typer

STACK, PROCESS, ADMIN = "The whole stack", "One process, settings from MUSTER_* variables", "Clients of the admin API"


def fail(message: str, code: int = 1) -> NoReturn:
    """Print one line on standard error and end with ``code``."""
    typer.echo(f"muster: {message}", err=True)
    raise typer.Exit(code)
