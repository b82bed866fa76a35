"""What the demo prints at its end: the comparison, the times, and how to go on."""

import os
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from control_plane.devstack.blueprint import LEASE_TTL_S
from control_plane.devstack.demo_book import Comparison
from control_plane.devstack.demo_ledger import Ledger
from control_plane.devstack.demo_target import Reading
from control_plane.devstack.ready_file import Ready

SHOWN_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from a request being sent to its effect stored in the target."""

    new_accounts: list[float]
    last_changes: list[float]


def delays(ledgers: Iterable[Ledger], reading: Reading) -> Delays:
    """Return what can be measured from both sides' own times.

    A new account: from sending its POST to the target's meta.created. A change: from sending the last request on a
    resource that was changed after its creation, to the target's meta.lastModified. Several changes that the target
    got in one write count once, from the last. Both clocks are this machine's.
    """
    new, changed = [], []
    for ledger in ledgers:
        for sent, stored in ((ledger.users, reading.users), (ledger.groups, reading.groups)):
            for name in sent.keys() & stored.keys():
                if sent is ledger.users:
                    new.append(stored[name].created_at - sent[name].first_at)
                if sent[name].last_at > sent[name].first_at:
                    changed.append(stored[name].changed_at - sent[name].last_at)
    # Below zero: the last request changed nothing that the target keeps, so there is nothing to time.
    return Delays([each for each in new if each >= 0], [each for each in changed if each >= 0])


def print_report(console: Console, comparison: Comparison, times: Delays) -> None:
    """Print the two tables, and the differences if there are any."""
    console.print()
    console.print(_comparison_table(comparison))
    for difference in comparison.differences[:SHOWN_DIFFERENCES]:
        console.print(Text(f"  {difference.what}: IdP says {difference.says}, target has {difference.has}", "red"))
    if (more := len(comparison.differences) - SHOWN_DIFFERENCES) > 0:
        console.print(f"  and {more} more")
    console.print()
    console.print(_times_table(times))
    console.print(
        "Times run from sending the request to the SCIM endpoint until the target's own meta.created or "
        "meta.lastModified; both clocks are this machine's. What the killed worker held had to wait until its "
        f"leases ran out, {LEASE_TTL_S} s at most.",
        style="dim",
    )


def print_access(console: Console, ready: Ready) -> None:
    """Print the URLs and credentials to go on playing with."""
    assert ready.target is not None
    bearer = '-H "Authorization: Bearer'
    for line in (
        "",
        f"SCIM endpoint   {ready.scim_base_url}",
        f"  bearer token  {ready.scim_token}",
        f"target app      {ready.target.url}",
        f"  bearer token  {ready.target.token}",
        f"gRPC            {ready.grpc_target}",
        f"  admin token   {ready.admin_token}",
        f"tenant          {ready.tenant}",
        f"target id       {ready.target.id}",
        "",
        "Try, in another terminal:",
        f'  curl {bearer} {ready.scim_token}" "{ready.scim_base_url}/Users?count=2"',
        f'  curl {bearer} {ready.target.token}" "{ready.target.url}/Users?count=2"',
        f'  {_grpcurl()} -plaintext -H "authorization: Bearer {ready.admin_token}" {ready.grpc_target} list',
        "",
    ):
        # Tokens and commands are copied: rich must neither wrap nor colour them.
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _grpcurl() -> str:
    """Return how to call grpcurl from here: the one installed beside this Python, or any."""
    ours = Path(sys.executable).with_name("grpcurl")
    return os.path.relpath(ours) if ours.exists() else "grpcurl"


def _comparison_table(comparison: Comparison) -> RenderableType:
    table = Table(title="What the identity providers say, and what the target has", title_justify="left")
    table.add_column("")
    for column in ("IdP says", "target has", "differences"):
        table.add_column(column, justify="right")
    for row in comparison.rows:
        style = "red" if row.differences else "green"
        table.add_row(row.what, f"{row.says:,}", f"{row.has:,}", Text(f"{row.differences:,}", style))
    total = len(comparison.differences)
    verdict = "Nothing is missing, nothing is there twice, nothing differs." if not total else f"{total} differences:"
    return Group(table, Text(verdict, "bold green" if not total else "bold red"))


def _times_table(times: Delays) -> Table:
    table = Table(title="From push to applied, in seconds", title_justify="left")
    table.add_column("")
    for column in ("measured", "median", "p95", "longest"):
        table.add_column(column, justify="right")
    for name, values in (("new accounts", times.new_accounts), ("last change", times.last_changes)):
        figures = (statistics.median(values), _p95(values), max(values)) if values else ()
        table.add_row(name, f"{len(values):,}", *(f"{figure:.2f}" for figure in figures))
    return table


def _p95(values: list[float]) -> float:
    """Return the 95th percentile by nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * 95 // 100) - 1)]
