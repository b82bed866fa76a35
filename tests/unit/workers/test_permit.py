"""Self-fencing: no call to a target starts unless the lease outlasts it."""

import asyncio

import pytest

from tests.fakes.clock import FakeClock
from workers.permit import LeaseExpired, LeasePermit


def permit(clock: FakeClock, left_s: float, ttl_s: float = 30.0, call_timeout_s: float = 10.0) -> LeasePermit:
    return LeasePermit(clock, clock.monotonic() + left_s, ttl_s, call_timeout_s, lambda _calls: None)


async def test_a_call_needs_its_time_limit_and_a_margin() -> None:
    clock = FakeClock()
    assert await permit(clock, left_s=11.1).call() == 10.0
    waiting = asyncio.ensure_future(permit(clock, left_s=11.0).call())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_short_lease_scales_the_call_down() -> None:
    assert await permit(FakeClock(), left_s=2.0, ttl_s=3.0).call() == 1.0


async def test_a_lease_short_of_time_waits_for_its_next_confirmation() -> None:
    clock = FakeClock()
    short = permit(clock, left_s=5.0)
    waiting = asyncio.ensure_future(short.call())
    await asyncio.sleep(0)
    assert not waiting.done()
    short.renew(clock.monotonic() + 30.0)
    assert await waiting == 10.0


async def test_an_expired_lease_calls_no_more() -> None:
    clock = FakeClock()
    spent = permit(clock, left_s=20.0)
    assert await spent.call()
    clock.advance(20.0)
    with pytest.raises(LeaseExpired):
        await spent.call()


async def test_a_lease_that_is_never_confirmed_ends_its_wait() -> None:
    # The lease's life is so short that the wait itself may pass on the real clock.
    with pytest.raises(LeaseExpired):
        await permit(FakeClock(), left_s=0.01, ttl_s=0.3).call()


async def test_calls_are_counted_and_told() -> None:
    clock, told = FakeClock(), list[int]()
    counted = LeasePermit(clock, clock.monotonic() + 30.0, 30.0, 10.0, told.append)
    await counted.call()
    await counted.call()
    assert (counted.calls, told) == (2, [1, 2])
