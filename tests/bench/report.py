"""What a run found, as a table for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

MB = 1_000_000

Justify = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a figure is compared with: its rate in each round, side by side with the subject's."""

    name: str
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Throughput:
    """One line: how often something is done in a second, in each round."""

    name: str
    unit: str
    rates: tuple[float, ...]
    baselines: tuple[Baseline, ...]
    p50_ms: tuple[float, ...] = ()
    p99_ms: tuple[float, ...] = ()
    cpu_us: dict[str, float] = field(default_factory=dict)  # CPU time for one, by process

    def ratio(self, baseline: Baseline) -> float:
        """Return the median over the rounds of subject divided by baseline; noise of a round hits both."""
        return median(mine / theirs for mine, theirs in zip(self.rates, baseline.rates, strict=True))


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident memory in bytes by process: idle, and after each number of requests."""

    limit: int
    idle: dict[str, int]
    after: tuple[tuple[int, dict[str, int]], ...]

    @property
    def idle_total(self) -> int:
        """All processes together, before the first request."""
        return sum(self.idle.values())

    @property
    def growth_per_10k(self) -> float:
        """Bytes by which all processes together grow in 10,000 requests: least squares over all looks."""
        points = [(count, sum(used.values())) for count, used in self.after]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return 10_000 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


@dataclass(frozen=True, slots=True)
class StreamedGet:
    """The GET of one large group: size in bytes, time, and by how many bytes the gateway's RSS rose meanwhile."""

    members: int
    size: int
    seconds: float
    growth: int
    limit: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of what the walls cost, with the most that it should be, if there is a goal."""

    name: str
    value: float
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is reached; "" without one."""
        if self.limit is None:
            return ""
        return "pass" if self.value <= self.limit else "FAIL"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one run."""

    started_at: str
    seconds: float
    quick: bool
    machine: dict[str, str]
    throughput: tuple[Throughput, ...]
    memory: MemoryUse | None
    streamed: StreamedGet | None = None
    figures: tuple[Figure, ...] = ()


def as_json(report: Report) -> bytes:
    """Return the report with its medians and ratios, and the rounds behind them."""
    return orjson.dumps(
        {
            "started_at": report.started_at,
            "seconds": round(report.seconds, 1),
            "quick": report.quick,
            "machine": report.machine,
            "throughput": [_throughput(line) for line in report.throughput],
            "memory": None if report.memory is None else _memory(report.memory),
            "streamed_get": None if report.streamed is None else asdict(report.streamed),
            "figures": [{**asdict(one), "verdict": one.verdict} for one in report.figures],
        },
        option=orjson.OPT_INDENT_2,
    )


def show(report: Report, console: Console) -> None:
    """Print the report."""
    console.print(_throughput_table(report.throughput))
    console.print(_cpu_table(report.throughput))
    if report.memory is not None:
        console.print(_memory_table(report.memory))
    if report.streamed is not None:
        console.print(_streamed(report.streamed), highlight=False)
    if report.figures:
        console.print(_figures_table(report.figures))
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()), highlight=False)
    note = " (quick: too short for figures to quote)" if report.quick else ""
    console.print(f"{report.started_at}, {report.seconds:.0f} s{note}", highlight=False)


def _throughput(line: Throughput) -> dict[str, Any]:
    return {
        **asdict(line),
        "median": median(line.rates),
        "p50_ms": _median(line.p50_ms),
        "p99_ms": _median(line.p99_ms),
        "baselines": [
            {"name": one.name, "rates": one.rates, "median": median(one.rates), "ratio": round(line.ratio(one), 4)}
            for one in line.baselines
        ],
    }


def _memory(memory: MemoryUse) -> dict[str, Any]:
    return {
        "limit_mb": memory.limit / MB,
        "idle_mb": round(memory.idle_total / MB, 1),
        "idle_passes": memory.idle_total < memory.limit,
        "growth_mb_per_10k_requests": round(memory.growth_per_10k / MB, 3),
        "idle": memory.idle,
        "after": [{"requests": count, "bytes": used} for count, used in memory.after],
    }


def _throughput_table(lines: Sequence[Throughput]) -> Table:
    table = _table("Throughput: medians; each ratio is to a baseline measured in turn with it")
    for heading in ("what", "per s", "p50 ms", "p99 ms", "baseline", "per s", "ratio"):
        justify: Justify = "left" if heading in ("what", "baseline") else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for line in lines:
        table.add_row(
            line.name,
            f"{median(line.rates):,.0f}",
            _milliseconds(line.p50_ms),
            _milliseconds(line.p99_ms),
            "\n".join(one.name for one in line.baselines),
            "\n".join(f"{median(one.rates):,.0f}" for one in line.baselines),
            "\n".join(f"{line.ratio(one):.3f}" for one in line.baselines),
        )
    return table


def _cpu_table(lines: Sequence[Throughput]) -> Table:
    names = list(dict.fromkeys(name for line in lines for name in line.cpu_us))
    table = _table("CPU time for one, in microseconds, by process")
    table.add_column("what", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.name, *(f"{line.cpu_us[name]:,.0f}" if name in line.cpu_us else "" for name in names))
    return table


def _memory_table(memory: MemoryUse) -> Table:
    verdict = "pass" if memory.idle_total < memory.limit else "FAIL"
    table = _table(
        f"Memory (RSS, MB): idle {memory.idle_total / MB:.0f} of at most {memory.limit / MB:.0f}: {verdict}; "
        f"{memory.growth_per_10k / MB:+.2f} per 10,000 requests"
    )
    table.add_column("when", no_wrap=True)
    for name in (*memory.idle, "together"):
        table.add_column(name, justify="right")
    looks = [("idle", memory.idle)] + [(f"after {count:,} requests", used) for count, used in memory.after]
    for when, used in looks:
        total = sum(used.values())
        table.add_row(when, *(f"{value / MB:.1f}" for value in (*used.values(), total)))
    return table


def _figures_table(figures: Sequence[Figure]) -> Table:
    table = _table("The walls")
    for heading in ("what", "measured", "at most", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "at most") else "left", no_wrap=True)
    for one in figures:
        table.add_row(one.name, f"{one.value:,.2f}", "" if one.limit is None else f"{one.limit:g}", one.verdict)
    return table


def _streamed(get: StreamedGet) -> str:
    verdict = "pass" if get.growth < get.limit else "FAIL"
    return (
        f"GET of a group of {get.members:,} members: {get.size / MB:.1f} MB in {get.seconds:.2f} s; the gateway's RSS "
        f"rose by {get.growth / MB:.1f} of at most {get.limit / MB:.0f} MB: {verdict}"
    )


def _table(title: str) -> Table:
    # Narrow enough for 80 columns.
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, min_width=80
    )


def _milliseconds(rounds: Sequence[float]) -> str:
    return f"{median(rounds):.1f}" if rounds else ""


def _median(values: Sequence[float]) -> float | None:
    return round(median(values), 3) if values else None
