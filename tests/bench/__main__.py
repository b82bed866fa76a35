"""``python -m tests.bench [--json FILE] [--quick]``: measures the product against baselines of the same run.

Everything runs on this machine in processes of their own, on data that is thrown away; see README.md beside this file.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from tests.bench import http_scenarios, leases, machine, memory, protocol, security
from tests.bench.dev_stack import dev_stack
from tests.bench.echo_server import echo_server
from tests.bench.errors import BenchError
from tests.bench.report import Figure, MemoryUse, Report, StreamedGet, Throughput, as_json, show
from tests.bench.scale import FULL, QUICK, Scale
from tests.bench.seed import seed_protocol, seed_users

# Imports and first connections are over; what remains is what an idle process keeps.
SETTLE_S = 2.0


def main() -> int:
    """Run the bench; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Figures as ratios to a baseline.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--quick", action="store_true", help="under a minute: shows that it works, not how fast")
    options = parser.parse_args()
    # What is running is ended on the way out, so go out by an exception.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        report = _run(QUICK if options.quick else FULL, quick=options.quick)
    except BenchError as err:
        print(f"bench: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(report, Console())
    if options.json is not None:
        options.json.write_bytes(as_json(report) + b"\n")
    return 0


def _run(scale: Scale, *, quick: bool) -> Report:
    started_at, began, load = datetime.now(UTC), time.monotonic(), os.getloadavg()[0]
    memory_use, lines = _http(scale)
    compared, streamed = _protocol(scale)
    lines += compared
    lines.append(_leases(scale))
    line, figures = _security(scale)
    lines.append(line)
    return Report(
        started_at=started_at.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        quick=quick,
        machine=machine.describe(load),
        throughput=tuple(lines),
        memory=memory_use,
        streamed=streamed,
        figures=tuple(figures),
    )


def _http(scale: Scale) -> tuple[MemoryUse, list[Throughput]]:
    with _folder() as folder, echo_server() as echo_port, dev_stack(folder, with_worker=True) as stack:
        time.sleep(SETTLE_S)
        idle = memory.idle(stack)
        seed_users(stack, stack.tenant, scale.users)
        _say("memory")
        memory_use = memory.run(stack, idle, scale)
        lines = []
        for line in http_scenarios.run(stack, echo_port, scale):
            _say(line.name)
            lines.append(line)
        return memory_use, lines


def _protocol(scale: Scale) -> tuple[list[Throughput], StreamedGet]:
    with _folder() as folder, dev_stack(folder, with_worker=True) as stack:
        _say("seeding a large tenant")
        seed_protocol(stack, scale)
        lines = []
        for line in protocol.run(stack, scale):
            _say(line.name)
            lines.append(line)
        return lines, protocol.streamed_get(stack, scale)


def _leases(scale: Scale) -> Throughput:
    with _folder() as folder, dev_stack(folder, with_worker=False) as stack:
        seed_users(stack, stack.second_tenant, scale.leases)
        _say("leases")
        return leases.run(stack, scale)


def _security(scale: Scale) -> tuple[Throughput, list[Figure]]:
    with _folder() as folder, dev_stack(folder, with_worker=True) as stack:
        seed_users(stack, stack.tenant, scale.users)
        _say("the walls")
        line, figures = security.run(stack, folder, scale)
    _say(f"a trail of {scale.audit_events:,} events")
    return line, figures + security.verification(scale)


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a temporary folder that PostgreSQL's own user can enter, when this runs as root."""
    folder = Path(tempfile.mkdtemp(prefix="muster-bench-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def _terminated(_: int, __: FrameType | None) -> None:
    sys.exit("bench: terminated")


if __name__ == "__main__":
    sys.exit(main())
