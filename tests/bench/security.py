"""Scenario 5, what the walls cost: authentication, an attack with bogus tokens, a revocation, a verified trail."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import aiohttp
import grpc
import orjson
import psutil

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.bench import cpu
from tests.bench.audit import LIMIT_MB, LIMIT_S, measured
from tests.bench.dev_stack import Stack
from tests.bench.errors import BenchError
from tests.bench.http_load import Load, Measured, measure
from tests.bench.known_gateway import gateway
from tests.bench.report import Baseline, Figure, Throughput
from tests.bench.scale import Scale
from tests.bench.users import create_template, get_request

CONNECTIONS = 16
# Above the keys of every other scenario.
FIRST_KEY = 500_000_000
MAX_PART = 2.0
BOGUS_PER_S = 1_000
MAX_P99 = 1.2
SETTLE_S = 1.0
MAX_REVOKED_MS = 1_000
REVOKED_LIMIT_S = 10.0


def run(stack: Stack, folder: Path, scale: Scale) -> tuple[Throughput, list[Figure]]:
    """Return the line of authentication's cost, and the figures; ``scale.users`` users must be seeded."""
    key_id = stack.scim_token.split("_")[2]
    with gateway(stack, folder) as usual:
        with gateway(stack, folder, str(stack.tenant), key_id) as knowing:
            line, figures = _authentication(stack, usual, knowing, scale)
        figures += _bogus(stack, usual, key_id, scale)
        figures.append(_revocation(stack, [stack.http_port, usual.port], scale))
    return line, figures


def verification(scale: Scale) -> list[Figure]:
    """Return time and memory of the verification of a trail."""
    found = []
    for one in measured(scale.audit_events):
        what = f"{one.name} of {one.events:,} events"
        found += [Figure(f"{what}, s", one.seconds, LIMIT_S), Figure(f"{what}, peak MB", one.peak_mb, LIMIT_MB)]
    return found


def _authentication(
    stack: Stack, usual: SimpleNamespace, knowing: SimpleNamespace, scale: Scale
) -> tuple[Throughput, list[Figure]]:
    """Send POSTs to both gateways in turn, each first every other time: what a moment costs, it costs both."""
    template, key = [create_template(stack.scim_token)], FIRST_KEY
    subject: list[Measured] = []
    baseline: list[Measured] = []
    spent: dict[int, list[dict[str, float]]] = {usual.pid: [], knowing.pid: []}
    for number in range(scale.paired_rounds):
        pair = ((usual, subject), (knowing, baseline))
        for one, results in pair if number % 2 else reversed(pair):
            before = _used_s(stack, one.pid)
            found = measure(Load(one.port, CONNECTIONS, template, scale.seconds, scale.warm_up_s, first_key=key))
            spent[one.pid].append(cpu.spent_us(before, _used_s(stack, one.pid), found.next_key - key))
            results.append(found)
            key = found.next_key
    verifying, knows = (_medians(spent[one.pid]) for one in (usual, knowing))
    line = Throughput(
        name=f"POST, verified c={CONNECTIONS}",
        unit="req/s",
        rates=tuple(one.per_second for one in subject),
        baselines=(Baseline("caller known", tuple(one.per_second for one in baseline)),),
        p50_ms=tuple(one.p50_ms for one in subject),
        p99_ms=tuple(one.p99_ms for one in subject),
        cpu_us=verifying,
    )
    part = 100 * (1 - line.ratio(line.baselines[0]))
    # Steadier than rates: by how much the CPU time of all processes together is less for a known caller.
    cpu_part = 100 * (1 - sum(knows.values()) / sum(verifying.values()))
    return line, [
        Figure("authentication, % of POST throughput", part, MAX_PART),
        Figure("authentication, % of a POST's CPU time", cpu_part, MAX_PART),
        Figure("authentication in the gateway, CPU us a POST", verifying["gateway"] - knows["gateway"]),
    ]


def _used_s(stack: Stack, gateway_pid: int) -> dict[str, float]:
    """Return the CPU seconds so far of the stack's processes, with another gateway than its own."""
    times = psutil.Process(gateway_pid).cpu_times()
    return cpu.used_s(stack) | {"gateway-1": 0.0, "gateway": float(times.user + times.system)}


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median over the rounds for each process."""
    return {name: median(one.get(name, 0.0) for one in rounds) for name in rounds[0]}


def _bogus(stack: Stack, one: SimpleNamespace, key_id: str, scale: Scale) -> list[Figure]:
    """Compare a valid tenant's latency with and without an attack beside it, in turn."""
    requests = [[get_request(stack.scim_token, number)] for number in range(scale.users)]
    alone, attacked, sent = [], [], []
    load = Load(one.port, 1, requests, scale.attack_s, scale.warm_up_s)
    for _ in range(scale.rounds):
        alone.append(measure(load))
        seconds = scale.attack_s + scale.warm_up_s + 2 * SETTLE_S
        command = [sys.executable, "-m", "tests.bench.bogus", str(one.port), key_id, str(BOGUS_PER_S), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as attacker:
            time.sleep(2 * SETTLE_S)
            attacked.append(measure(load))
            output, _ = attacker.communicate(timeout=60)
        answers = orjson.loads(output)
        if not answers.keys() <= {"401", "429", "503"}:
            raise BenchError(f"bogus tokens were answered {answers}")
        sent.append(sum(answers.values()) / seconds)
    quiet, loud = median(run.p99_ms for run in alone), median(run.p99_ms for run in attacked)
    return [
        Figure("p99 of a valid tenant, ms", quiet),
        Figure(f"the same beside {median(sent):,.0f} bogus tokens/s, ms", loud),
        Figure("p99 attacked to p99 alone", loud / quiet, MAX_P99),
        Figure(
            "p50 attacked to p50 alone", median(run.p50_ms for run in attacked) / median(run.p50_ms for run in alone)
        ),
    ]


def _revocation(stack: Stack, ports: Sequence[int], scale: Scale) -> Figure:
    """Return the longest time, over some tokens, until all gateways refuse a revoked one."""
    took = asyncio.run(_revocations(stack, ports, scale.revocations))
    return Figure(
        f"revoked until refused by {len(ports)} gateways, worst of {len(took)}, ms", max(took), MAX_REVOKED_MS
    )


async def _revocations(stack: Stack, ports: Sequence[int], count: int) -> list[float]:
    tenant, took = str(stack.second_tenant), []
    urls = [f"http://127.0.0.1:{port}/scim/v2/Users?count=0" for port in ports]
    async with open_channel(stack.grpc_target) as channel, aiohttp.ClientSession() as session:
        api = ControlPlane(channel, stack.admin_token)
        try:
            for _ in range(count):
                made = await api.tokens.CreateToken(
                    pb.CreateTokenRequest(tenant_id=tenant), metadata=api.metadata(), timeout=REVOKED_LIMIT_S
                )
                headers = {"Authorization": f"Bearer {made.secret}"}
                if {await _status(session, url, headers) for url in urls} != {200}:
                    raise BenchError("a new token does not work")
                revoke = pb.RevokeTokenRequest(tenant_id=tenant, id=made.token.id)
                await api.tokens.RevokeToken(revoke, metadata=api.metadata(), timeout=REVOKED_LIMIT_S)
                began = time.perf_counter()
                async with asyncio.timeout(REVOKED_LIMIT_S):
                    while {await _status(session, url, headers) for url in urls} != {401}:
                        pass
                took.append(1000 * (time.perf_counter() - began))
        except grpc.aio.AioRpcError as err:
            raise BenchError(f"a token could not be made or revoked: {err.details()}") from err
    return took


async def _status(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as answer:
        await answer.read()
        return answer.status
