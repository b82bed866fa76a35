"""Scenarios 1 and 2: a durable POST of a user, and a GET by id, against pgbench and a bare HTTP server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench import cpu, pgbench
from tests.bench.dev_stack import Stack
from tests.bench.http_load import Load, Measured, measure
from tests.bench.pgbench import Transaction
from tests.bench.report import Baseline, Throughput
from tests.bench.scale import Scale
from tests.bench.users import create_template, get_request

# Above the numbers of seeded users: their names are taken.
FIRST_KEY = 1_000_000


@dataclass(frozen=True, slots=True)
class HttpScenario:
    """A request, and the transaction that it comes down to."""

    name: str
    templates: Sequence[Sequence[bytes]] = field(repr=False)
    transaction: Transaction = field(repr=False)
    baseline: str


def scenarios(stack: Stack, scale: Scale) -> tuple[HttpScenario, ...]:
    """Return both scenarios; ``scale.users`` users must be seeded."""
    token = stack.scim_token
    return (
        HttpScenario(
            "POST /Users",
            [create_template(token)],
            pgbench.create_transaction(stack.tenant),
            "pgbench, same write",
        ),
        HttpScenario(
            "GET by id",
            [[get_request(token, number)] for number in range(scale.users)],
            pgbench.read_transaction(stack.tenant, scale.users),
            "pgbench, same read",
        ),
    )


def run(stack: Stack, echo_port: int, scale: Scale) -> Iterator[Throughput]:
    """Yield one line for each scenario and concurrency."""
    key = FIRST_KEY
    for scenario in scenarios(stack, scale):
        for connections in scale.concurrencies:
            line, key = _line(stack, echo_port, scenario, connections, scale, key)
            yield line


def _line(
    stack: Stack, echo_port: int, scenario: HttpScenario, connections: int, scale: Scale, key: int
) -> tuple[Throughput, int]:
    """Measure subject and baselines in turn, so that a busy neighbour of one moment does not hit one of them alone."""
    subject: list[Measured] = []
    spent: list[dict[str, float]] = []
    database: list[float] = []
    echo: list[float] = []
    for _ in range(scale.rounds):
        load = Load(stack.http_port, connections, scenario.templates, scale.seconds, scale.warm_up_s, first_key=key)
        before = cpu.used_s(stack)
        measured = measure(load)
        # Requests of the warm-up cost CPU time as well.
        spent.append(cpu.spent_us(before, cpu.used_s(stack), measured.next_key - key))
        subject.append(measured)
        database.append(pgbench.run(stack, scenario.transaction, connections, scale.seconds))
        bare = Load(echo_port, connections, scenario.templates, scale.seconds, scale.warm_up_s, first_key=key)
        echo.append(measure(bare).per_second)
        key = measured.next_key
    line = Throughput(
        name=f"{scenario.name} c={connections}",
        unit="req/s",
        rates=tuple(one.per_second for one in subject),
        baselines=(
            Baseline(scenario.baseline, tuple(database)),
            Baseline("bare aiohttp echo", tuple(echo)),
        ),
        p50_ms=tuple(one.p50_ms for one in subject),
        p99_ms=tuple(one.p99_ms for one in subject),
        cpu_us={name: median(one.get(name, 0.0) for one in spent) for name in spent[0]},
    )
    return line, key
