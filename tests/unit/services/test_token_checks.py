"""PBKDF2 runs once per token at a time, never again for a known mismatch, and is not paid for what was not tried."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from control_plane.domain.errors import Overloaded, TokenRefused
from control_plane.domain.tenants import Limits, TenantState
from control_plane.domain.tokens import hash_token
from control_plane.scim.bearer import Presented, checksum, compose
from control_plane.services.token_checks import TokenChecks
from control_plane.services.token_memory import MISMATCHED_FOR_S
from tests.fakes.clock import NEW_YEAR, FakeClock

ITERATIONS = 10
GOOD = compose("test", bytes(range(48)))
OWNERS = "192.0.2.1"


def guess(number: int) -> Presented:
    """Return a well-formed token with the good one's key id and another secret."""
    body = f"muster_test_{GOOD.key_id}_{number:043}"
    return Presented(GOOD.key_id, body + checksum(body))


class OneToken:
    """A storage that has one token."""

    def __init__(self) -> None:
        self.looked_up = 0
        self.row = [
            UUID(int=1), UUID(int=2), GOOD.key_id, "", [1, 2], hash_token(GOOD.text, b"s" * 16, ITERATIONS), NEW_YEAR,
            None, None, None, [], NEW_YEAR, OWNERS, "", None, "", "Acme", NEW_YEAR, int(TenantState.ACTIVE), {},
        ]  # fmt: skip

    @asynccontextmanager
    async def begin_batch(self, tenants: object, *, token_key: str = "") -> AsyncIterator["OneToken"]:
        self.looked_up += 1
        yield self

    async def fetch(self, sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [tuple(self.row)] if GOOD.key_id in params["key_ids"] else []


class CountedKdf:
    """Runs PBKDF2 in place, when the gate is open."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_full = False

    async def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        if self.is_full:
            raise Overloaded("token verification", 1.0)
        self.runs += 1
        await self.gate.wait()
        return work(*arguments)


class World:
    def __init__(self) -> None:
        self.storage, self.clock, self.kdf = OneToken(), FakeClock(), CountedKdf()
        self.checks = TokenChecks(self.storage, self.clock, self.kdf, iterations=ITERATIONS, limits=Limits())  # type: ignore[arg-type]  # fakes

    async def cause(self, presented: Presented, address: str = "198.51.100.1") -> str:
        try:
            await self.checks.verify(presented.text, address)
        except TokenRefused as err:
            return err.cause
        return ""


@pytest.fixture
def world() -> World:
    return World()


async def test_many_who_come_with_one_token_wait_for_one_run(world: World) -> None:
    world.kdf.gate.clear()
    async with asyncio.TaskGroup() as group:
        many = [group.create_task(world.cause(GOOD)) for _ in range(20)]
        while world.storage.looked_up < 20:
            await asyncio.sleep(0)
        world.kdf.gate.set()
    assert ([task.result() for task in many], world.kdf.runs) == ([""] * 20, 1)
    assert await world.cause(GOOD) == ""
    assert world.kdf.runs == 1


async def test_when_the_leader_goes_away_another_one_leads(world: World) -> None:
    world.kdf.gate.clear()
    leader, follower = (asyncio.create_task(world.cause(GOOD)) for _ in range(2))
    while world.storage.looked_up < 2:
        await asyncio.sleep(0)
    leader.cancel()
    world.kdf.gate.set()
    assert await follower == ""
    assert leader.cancelled()
    assert world.kdf.runs == 2


async def test_a_known_mismatch_is_refused_for_a_minute_without_asking_anybody(world: World) -> None:
    assert await world.cause(guess(1)) == "mismatch"
    asked = world.storage.looked_up, world.kdf.runs
    assert await world.cause(guess(1)) == "mismatch"
    assert (world.storage.looked_up, world.kdf.runs) == asked
    world.clock.advance(MISMATCHED_FOR_S)
    assert await world.cause(guess(1)) == "mismatch"
    assert world.kdf.runs == asked[1] + 1


async def test_guesses_at_a_key_id_are_limited_and_its_owner_is_not(world: World) -> None:
    causes = [await world.cause(guess(number)) for number in range(12)]
    assert causes == ["mismatch"] * 10 + ["throttled"] * 2
    assert world.kdf.runs == 10
    assert await world.cause(GOOD, "198.51.100.9") == "throttled"
    assert await world.cause(GOOD, OWNERS) == ""
    # Known to be good, it passes from anywhere.
    assert await world.cause(GOOD, "198.51.100.9") == ""
    world.clock.advance(2)
    assert await world.cause(guess(99)) == "mismatch"
    assert await world.cause(guess(100)) == "throttled"


async def test_what_was_good_or_not_tried_is_no_failure(world: World) -> None:
    world.kdf.is_full = True
    for number in range(20):
        with pytest.raises(Overloaded):
            await world.checks.verify(guess(number).text, "198.51.100.1")
    world.kdf.is_full = False
    assert [await world.cause(guess(number)) for number in range(10)] == ["mismatch"] * 10


async def test_a_remembered_token_is_judged_by_its_row_each_time(world: World) -> None:
    assert await world.cause(GOOD) == ""
    world.storage.row[8] = world.clock.now() + timedelta(seconds=1)
    assert await world.cause(GOOD) == ""
    world.clock.advance(1)
    assert await world.cause(GOOD) == "expired"
    world.storage.row[9] = world.clock.now()
    assert await world.cause(GOOD) == "revoked"
    world.storage.row[8:10] = None, None
    world.storage.row[18] = int(TenantState.DELETED)
    assert await world.cause(GOOD) == "tenant_deleted"


async def test_look_ups_of_unknown_key_ids_are_limited_by_address(world: World) -> None:
    strangers = [compose("test", (number + 1).to_bytes(48, "big")) for number in range(52)]
    causes = [await world.cause(stranger) for stranger in strangers]
    assert causes == ["unknown"] * 50 + ["throttled"] * 2
    assert world.storage.looked_up == 50
    assert await world.cause(strangers[51], "198.51.100.2") == "unknown"
    # The key id is not known to this process yet, so it looks like a guess from there; from elsewhere it is none.
    assert await world.cause(GOOD) == "throttled"
    assert await world.cause(GOOD, OWNERS) == ""
    assert await world.cause(GOOD) == ""
