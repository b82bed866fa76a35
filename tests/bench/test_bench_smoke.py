"""The bench's own parts work: load generator against the bare server, statements for pgbench, table and JSON."""

import asyncio
import io
from collections.abc import Iterator
from uuid import UUID

import orjson
import pytest
from rich.console import Console

from control_plane.domain.ids import TenantId
from control_plane.scim.bearer import key_id_of
from tests.bench import pgbench
from tests.bench.bogus import tokens
from tests.bench.echo_server import echo_server
from tests.bench.errors import BenchError
from tests.bench.http_load import Load, answer_end, measure
from tests.bench.report import MB, Baseline, Figure, MemoryUse, Report, Throughput, as_json, show
from tests.bench.users import create_template, filter_request, get_request, user_body

TENANT = TenantId(UUID("0192f0c1-2345-7abc-8def-0123456789ab"))


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with echo_server() as port:
        yield port


def test_every_request_of_a_counted_load_is_answered(echo_port: int) -> None:
    measured = measure(Load(echo_port, 4, [[get_request("token", number)] for number in range(3)], requests=200))

    assert measured.statuses == {"200": 200}
    assert measured.next_key == 200


def test_a_timed_load_counts_after_the_warm_up(echo_port: int) -> None:
    measured = measure(Load(echo_port, 2, [create_template("token")], seconds=0.3, warm_up_s=0.1, first_key=7))

    assert measured.statuses.keys() == {"201"}
    assert 0 < measured.requests < measured.next_key - 7
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.seconds == pytest.approx(0.3, abs=0.2)


def test_a_refusal_fails_the_run(echo_port: int) -> None:
    with pytest.raises(BenchError, match="405"):
        measure(Load(echo_port, 1, [[filter_request("token", 1)]], requests=10))


async def test_a_server_that_hangs_up_fails_the_run() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BenchError, match="closed a connection"):
        await asyncio.to_thread(measure, Load(port, 1, [[get_request("token", 1)]], requests=1))
    server.close()


def test_each_created_user_has_a_name_of_its_own_and_the_same_size() -> None:
    template = create_template("token")
    first, second = (key.join(template) for key in (b"000000000001", b"000000000002"))
    head, _, body = first.partition(b"\r\n\r\n")

    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body) == orjson.loads(user_body(1))
    assert len(first) == len(second)
    assert orjson.loads(second.partition(b"\r\n\r\n")[2])["userName"] != orjson.loads(body)["userName"]


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}HTTP", (200, 46)),
        (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", (204, 33)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (200, 59)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (200, 52)),
    ],
)
def test_an_answer_ends_where_its_head_says(data: bytes, end: tuple[int, int] | None) -> None:
    assert answer_end(data) == end


def test_the_products_statements_become_pgbench_scripts() -> None:
    """A statement with a parameter that has no value here raises."""
    for transaction in (pgbench.create_transaction(TENANT), pgbench.read_transaction(TENANT, 10)):
        lines = transaction.script.splitlines()

        assert "%(" not in transaction.script
        assert lines[-1] == "COMMIT;"
        assert "BEGIN;" in lines
        assert transaction.variables["tenant"] == str(TENANT)


def test_the_report_shows_the_median_of_the_ratios_and_the_growth() -> None:
    line = Throughput(
        name="POST /Users c=16",
        unit="req/s",
        rates=(100.0, 300.0, 200.0),
        baselines=(Baseline("pgbench, same write", (1000.0, 1000.0, 4000.0)),),
        p50_ms=(1.0, 2.0, 3.0),
        p99_ms=(4.0, 5.0, 6.0),
        cpu_us={"gateway-1": 120.0},
    )
    after = ((10_000, {"gateway-1": 80 * MB}), (20_000, {"gateway-1": 81 * MB}), (30_000, {"gateway-1": 82 * MB}))
    memory = MemoryUse(400 * MB, {"gateway-1": 75 * MB}, after)
    report = Report("2026-01-01T00:00:00+00:00", 1.0, True, {"cpus": "2"}, (line,), memory)

    told = orjson.loads(as_json(report))
    page = io.StringIO()
    show(report, Console(file=page, width=80))

    assert told["throughput"][0]["median"] == 200.0
    assert told["throughput"][0]["baselines"][0]["ratio"] == 0.1
    assert told["memory"]["growth_mb_per_10k_requests"] == 1.0
    assert told["memory"]["idle_passes"] is True
    for text in ("POST /Users c=16", "0.100", "pgbench, same write", "pass", "+1.00 per 10,000", "cpus 2"):
        assert text in page.getvalue()


def test_bogus_tokens_are_of_three_kinds() -> None:
    key_id = "k3y1dk3y1d12"
    garbage, unknown, wrong = tokens(key_id, 3)

    assert [key_id_of(one) is not None for one in (garbage, unknown, wrong)] == [False, True, True]
    assert [key_id_of(one) == key_id for one in (unknown, wrong)] == [False, True]


def test_a_figure_without_a_limit_has_no_verdict() -> None:
    verdicts = [Figure("x", value, limit).verdict for value, limit in ((3.0, None), (2.0, 2.0), (2.1, 2.0))]
    assert verdicts == ["", "pass", "FAIL"]
