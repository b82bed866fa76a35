"""How commands print: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def as_dict(message: "Message") -> dict[str, Any]:
    """Return a message with the field names of its .proto; enum values by name, times as RFC 3339."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; on a pipe it keeps whole cells."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids must stay whole: people copy them.
        table.add_column(column, no_wrap=column == "ID", overflow="fold")
    for row in rows:
        # Text: what a customer named something must not be read as markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(table)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print one thing, a field on a line."""
    known = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        typer.echo(f"{name:<{width}}  {printable(value)}")


def printable(text: str) -> str:
    """Return ``text`` with question marks for what a terminal might obey: customers wrote parts of it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def time_text(stamp: "Timestamp") -> str:
    """Return a time as people read it, UTC; empty if it is not set."""
    return stamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if stamp.seconds else ""


def enum_text(name: str, prefix: str) -> str:
    """Return ``active`` for ``TARGET_STATE_ACTIVE``."""
    return name.removeprefix(prefix).lower().replace("_", ".")
