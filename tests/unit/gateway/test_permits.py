"""Permits for requests: taken in batches, one call at a time, and what happens without an answer."""

import asyncio
from collections import deque
from dataclasses import replace

import grpc
import pytest
from prometheus_client import CollectorRegistry

from control_plane.client.errors import CallFailed, NotFound, Unavailable
from scim_gateway.caller import Caller, Limits
from scim_gateway.errors import Throttled
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.permits import ALONE_S, Batch, Permits, batch_of
from tests.fakes.clock import FakeClock

CALLER = Caller("tenant", "token", "key", frozenset(), None, limits=Limits(requests_per_second=50, burst=100))
DOWN = Unavailable(grpc.StatusCode.UNAVAILABLE, "down")


class Plane:
    """Gives what the test says, then everything that is wanted."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers: deque[Batch | Exception] = deque()
        self.gate: asyncio.Event | None = None

    async def take(self, tenant_id: str, want: int) -> Batch:
        self.asked.append((tenant_id, want))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.popleft() if self.answers else Batch(want, 1.0, 0.0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """Permits, with all that they are made of."""

    def __init__(self) -> None:
        self.clock, self.plane = FakeClock(), Plane()
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.permits = Permits(self.plane.take, self.clock, self.metrics)

    async def spend(self, count: int, caller: Caller = CALLER) -> None:
        for _ in range(count):
            await self.permits.spend(caller)

    def limited(self, tenant: str = "tenant") -> float:
        return self.metrics.registry.get_sample_value("scim_rate_limited_total", {"tenant": tenant}) or 0.0


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_most_requests_cost_no_call(bench: Bench) -> None:
    await bench.spend(15)
    assert bench.plane.asked == [("tenant", 5)] * 3


@pytest.mark.parametrize(("per_second", "batch"), [(1, 1), (9, 1), (50, 5), (1_000, 100), (1_000_000, 10_000)])
def test_a_batch_is_a_tenth_of_a_second(per_second: int, batch: int) -> None:
    assert batch_of(Limits(requests_per_second=per_second)) == batch


async def test_permits_that_are_not_used_in_time_are_lost(bench: Bench) -> None:
    await bench.spend(1)
    bench.clock.advance(1.1)
    await bench.spend(1)
    assert len(bench.plane.asked) == 2


async def test_without_permits_it_is_throttled_until_there_are_some(bench: Bench) -> None:
    bench.plane.answers.append(Batch(0, 0.0, 1.5))
    for _ in range(3):
        with pytest.raises(Throttled) as caught:
            await bench.spend(1)
    assert caught.value.retry_after_s == pytest.approx(1.5)
    assert len(bench.plane.asked) == 1
    assert bench.limited() == 3
    await bench.spend(1, replace(CALLER, tenant_id="other"))
    bench.clock.advance(1.6)
    await bench.spend(1)


async def test_a_partial_batch_is_spent_before_anybody_asks_again(bench: Bench) -> None:
    bench.plane.answers.extend([Batch(2, 1.0, 0.0), Batch(0, 0.0, 0.0)])
    await bench.spend(2)
    with pytest.raises(Throttled):
        await bench.spend(1)
    assert len(bench.plane.asked) == 2


async def test_one_call_at_a_time_for_a_tenant(bench: Bench) -> None:
    bench.plane.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(bench.permits.spend(CALLER))
        await asyncio.sleep(0)
        bench.plane.gate.set()
    assert bench.plane.asked == [("tenant", 5)]


async def test_when_the_one_who_asks_is_cancelled_another_asks(bench: Bench) -> None:
    bench.plane.gate = asyncio.Event()
    first = asyncio.ensure_future(bench.permits.spend(CALLER))
    second = asyncio.ensure_future(bench.permits.spend(CALLER))
    await asyncio.sleep(0)
    first.cancel()
    bench.plane.gate.set()
    await second
    assert first.cancelled()
    assert len(bench.plane.asked) == 2


@pytest.mark.parametrize("failure", [DOWN, CallFailed(grpc.StatusCode.UNIMPLEMENTED, "older")])
async def test_without_an_answer_the_gateway_holds_to_the_limits_alone(bench: Bench, failure: Exception) -> None:
    bench.plane.answers.append(failure)
    await bench.spend(100)
    with pytest.raises(Throttled) as caught:
        await bench.spend(1)
    assert caught.value.retry_after_s == pytest.approx(1 / 50)
    assert len(bench.plane.asked) == 1
    bench.clock.advance(ALONE_S)
    await bench.spend(1)
    assert len(bench.plane.asked) == 2


async def test_a_tenant_that_is_gone_gets_nothing(bench: Bench) -> None:
    bench.plane.answers.append(NotFound(grpc.StatusCode.NOT_FOUND, "gone"))
    with pytest.raises(NotFound):
        await bench.spend(1)
    await bench.spend(1)
    assert len(bench.plane.asked) == 2
