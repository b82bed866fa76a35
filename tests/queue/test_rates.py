"""Shared rates: the script does what a plain model does, whatever the clock does; and mistakes in it are noticed."""

import random
from collections.abc import AsyncIterator, Mapping
from fractions import Fraction
from uuid import UUID

import pytest
import pytest_asyncio
import redis

from control_plane.domain.errors import Unavailable
from control_plane.domain.ids import TenantId
from control_plane.queue import connection
from control_plane.queue.rates import Rates, prefix
from control_plane.queue.scripts import Scripts, lua_sources
from tests.fixtures.valkey import QueueServer
from tests.queue.server_time import CLOCK, START_US

TENANT, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
HISTORIES, STEPS = 20, 30
SECOND_US = 1_000_000
# (rate, burst): ordinary, a slow one, one that no whole number of microseconds divides, the largest.
LIMITS = [(1000, 2000), (1, 1), (70_001, 3), (7, 100), (100_000, 1_000_000)]


class Model:
    """A bucket of one tenant in fractions."""

    def __init__(self) -> None:
        self.level: Fraction | None = None
        self.at_us = 0

    def take(self, now_us: int, want: int, rate: int, burst: int) -> tuple[int, Fraction]:
        level = Fraction(burst) if self.level is None else self.level
        level = min(Fraction(burst), level + Fraction(max(0, now_us - self.at_us) * rate, SECOND_US))
        granted = min(want, int(level))
        self.level, self.at_us = level - granted, now_us
        return granted, Fraction(0) if granted else (1 - self.level) / rate


class Time:
    """What the script takes for the time of the Redis host."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.now_us = START_US
        self.advance_us(0)

    def advance_us(self, us: int) -> None:
        self.now_us += us
        self._client.mset({prefix(tenant) + "test_now": self.now_us for tenant in (TENANT, OTHER)})


def rates_at_test_time(url: str, sources: Mapping[str, str] | None = None) -> Rates:
    return Rates(connection.connect(url), Scripts(sources or lua_sources(), clock=CLOCK))


@pytest_asyncio.fixture
async def rates(queue_url: str) -> AsyncIterator[Rates]:
    """Buckets whose time is the test's."""
    opened = rates_at_test_time(queue_url)
    yield opened
    await opened.close()


async def drive(rates: Rates, client: redis.Redis, seed: int) -> None:
    """Take random amounts at random times beside the model; AssertionError where they differ."""
    client.flushall()
    dice, time = random.Random(seed), Time(client)
    rate, burst = dice.choice(LIMITS)
    models = {TENANT: Model(), OTHER: Model()}
    for _ in range(STEPS):
        # Most steps are about as long as a permit takes; some jump for hours, ahead or back.
        step_us = dice.randrange(3 * SECOND_US // rate + 2)
        time.advance_us(dice.choice([step_us] * 8 + [3600 * SECOND_US, -3600 * SECOND_US]))
        if dice.random() < 0.05:
            rate, burst = dice.choice(LIMITS)
        tenant, want = dice.choice(list(models)), dice.choice([1, 2, burst, 10_000])
        taken = await rates.take(tenant, want, rate, burst)
        granted, wait_s = models[tenant].take(time.now_us, want, rate, burst)
        assert taken.granted == granted, (seed, rate, burst)
        assert abs(taken.retry_after_s - wait_s) <= Fraction(1, 10**6) + Fraction(1, 10**9)


async def drive_all(rates: Rates, client: redis.Redis) -> None:
    for seed in range(HISTORIES):
        await drive(rates, client, seed)


async def test_random_histories_agree_with_the_model(rates: Rates, client: redis.Redis) -> None:
    await drive_all(rates, client)


MUTANTS = [
    ("never more than the burst", "math.min(full, level", "math.max(0, level"),
    ("a clock that goes back", "math.max(0, at - last)", "(at - last)"),
    ("whole permits", "math.floor(level / PERMIT)", "math.ceil(level / PERMIT)"),
    ("what is taken is gone", "level = level - granted * PERMIT", ""),
    ("not more than wanted", "math.min(want, math.floor", "math.max(want, math.floor"),
    ("time is remembered", "struct.pack(BUCKET, level, at)", "struct.pack(BUCKET, level, 0)"),
    ("when to come again", "wait = math.ceil((PERMIT - level) / rate)", "wait = 1"),
]


@pytest.mark.parametrize(("rule", "before", "after"), MUTANTS, ids=[mutant[0] for mutant in MUTANTS])
async def test_the_model_notices(rule: str, before: str, after: str, queue_url: str, client: redis.Redis) -> None:
    sources = lua_sources()
    assert sources["take"].count(before) == 1, "the mutant no longer fits the script"
    wrong = rates_at_test_time(queue_url, sources | {"take": sources["take"].replace(before, after)})
    # A level above the burst asks for an expiry in the past, which Redis refuses.
    with pytest.raises((AssertionError, redis.ResponseError)):
        await drive_all(wrong, client)
    await wrong.close()


async def test_the_long_run_is_exact(rates: Rates, client: redis.Redis) -> None:
    """Asked at moments that never fit its rate, a bucket gives what came, to the permit."""
    time, rate, total = Time(client), 70_001, 0
    total += (await rates.take(TENANT, 10, rate, 10)).granted
    for _ in range(1_000):
        time.advance_us(101)
        total += (await rates.take(TENANT, 10_000, rate, 10)).granted
    assert total == 10 + 1_000 * 101 * rate // SECOND_US


async def test_a_bucket_expires_when_it_is_full_again(rates: Rates, client: redis.Redis) -> None:
    Time(client)
    await rates.take(TENANT, 30, 10, 100)
    left_ms = client.pttl(prefix(TENANT) + "bucket")
    assert isinstance(left_ms, int)
    assert 3_000 < left_ms <= 4_000


async def test_tenants_do_not_share_a_bucket(rates: Rates, client: redis.Redis) -> None:
    Time(client)
    assert (await rates.take(TENANT, 5, 1, 5)).granted == 5
    assert (await rates.take(TENANT, 1, 1, 5)).granted == 0
    assert (await rates.take(OTHER, 5, 1, 5)).granted == 5


async def test_the_real_clock_and_a_redis_that_is_gone(own_queue_server: QueueServer) -> None:
    real = Rates.open(own_queue_server.url)
    assert (await real.take(TENANT, 7, 1, 5)).granted == 5
    assert 0 < (await real.take(TENANT, 1, 1, 5)).retry_after_s <= 1
    own_queue_server.stop()
    with pytest.raises(Unavailable):
        await real.take(TENANT, 1, 1, 5)
    await real.close()
