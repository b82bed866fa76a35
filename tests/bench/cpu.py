"""CPU time by process: which of them a request costs what."""

from contextlib import suppress

import psutil

from tests.bench.dev_stack import Stack

MEASURED = ("gateway-1", "control-plane-1", "postgres", "redis")


def used_s(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds of each process so far, its living children included (PostgreSQL's backends)."""
    return {name: _with_children(stack.process(name)) for name in MEASURED if name in stack.pids}


def spent_us(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """Return the microseconds that each of ``count`` requests cost, without processes that did next to nothing."""
    spent = {name: 1e6 * (after[name] - before[name]) / count for name in before}
    return {name: round(us, 1) for name, us in spent.items() if us >= 1}


def _with_children(process: psutil.Process) -> float:
    seconds = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            seconds += times.user + times.system
    return seconds
