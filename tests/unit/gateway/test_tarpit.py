"""Answers held back: for whom, and how many."""

import asyncio

import pytest

from scim_gateway.tarpit import ALLOWANCE, Tarpit
from tests.fakes.clock import FakeClock

HERE, THERE, NEVER_S = "192.0.2.1", "192.0.2.2", 3600.0


async def test_a_few_refusals_are_answered_at_once_and_more_are_not() -> None:
    clock = FakeClock()
    tarpit = Tarpit(clock, NEVER_S)
    for _ in range(ALLOWANCE.burst):
        await tarpit.refused(HERE)
    one_more = asyncio.ensure_future(tarpit.refused(HERE))
    await asyncio.sleep(0)
    assert (one_more.done(), tarpit.held) == (False, 1)
    await tarpit.refused(THERE)
    one_more.cancel()
    await asyncio.wait([one_more])
    assert tarpit.held == 0
    clock.advance(2 / ALLOWANCE.permits)
    await tarpit.refused(HERE)


async def test_no_more_are_held_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scim_gateway.tarpit.MAX_HELD", 2)
    tarpit = Tarpit(FakeClock(), NEVER_S)
    held = [asyncio.ensure_future(tarpit.hold()) for _ in range(2)]
    await asyncio.sleep(0)
    await tarpit.hold()
    assert tarpit.held == 2
    for each in held:
        each.cancel()
    await asyncio.wait(held)


async def test_without_a_delay_nothing_is_held() -> None:
    await Tarpit(FakeClock(), 0.0).hold()
