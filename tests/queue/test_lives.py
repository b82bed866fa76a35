"""Epochs: a queue that lost everything says so, and begins a new life once; limits and shards of a call."""

import asyncio

import pytest
import redis

from control_plane.queue import keys
from control_plane.queue.lease_queue import Claim, Entry, EpochLost, Extend, LeaseQueue, Settle, SettleKind
from tests.queue.redis_state import read_state
from tests.queue.server_time import ServerTime, job_key

TTL_MS = 30_000


async def test_a_queue_without_an_epoch_refuses_everything(lease_queue: LeaseQueue) -> None:
    for call in (lease_queue.enqueue(1, [Entry(job_key(1), 1)]), lease_queue.turn(1, 1, 1), lease_queue.stats(1)):
        with pytest.raises(EpochLost):
            await call


async def test_flushall_is_noticed_by_the_next_call(
    queue: LeaseQueue, client: redis.Redis, server_time: ServerTime
) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    (held,) = (await queue.turn(1, 1, TTL_MS)).claims
    client.flushall()
    server_time.write()
    with pytest.raises(EpochLost):
        await queue.turn(1, 1, TTL_MS)
    assert await queue.reset(2)
    await queue.enqueue(2, [Entry(job_key(1), 1)])
    result = await queue.turn(2, 1, TTL_MS, [Settle(held.key, held.fence, SettleKind.DONE, 1)])
    assert result.settled == (False,)
    assert result.claims[0].fence > held.fence


async def test_one_of_many_replicas_begins_a_life(queue: LeaseQueue) -> None:
    assert sum(await asyncio.gather(*(queue.reset(2) for _ in range(8)))) == 1


async def test_a_new_life_is_empty_and_the_old_one_over(queue: LeaseQueue, client: redis.Redis) -> None:
    await queue.enqueue(1, [Entry(job_key(number, flow), 1) for number in range(4) for flow in range(3)])
    claims = (await queue.turn(1, 4, TTL_MS)).claims
    await queue.turn(1, 0, TTL_MS, [Settle(claims[0].key, claims[0].fence, SettleKind.RETRY, delay_ms=9000)])
    assert await queue.reset(2)
    assert read_state(client) == {}
    assert (await queue.stats(2)).counters == {}
    assert not await queue.reset(1)
    with pytest.raises(EpochLost):
        await queue.turn(1, 1, TTL_MS)


async def test_stats_tell_what_there_is(queue: LeaseQueue) -> None:
    await queue.enqueue(1, [Entry(job_key(number, flow), 1) for number in range(3) for flow in range(2)])
    first, *_ = (await queue.turn(1, 3, TTL_MS)).claims
    await queue.turn(1, 0, TTL_MS, [Settle(first.key, first.fence, SettleKind.RETRY, delay_ms=9000)])
    stats = await queue.stats(1)
    assert (stats.keys, stats.ready, stats.leased, stats.delayed, stats.flows) == (6, 3, 2, 1, 2)
    assert stats.counters == {"claimed": 3, "retried": 1}


async def test_long_inputs_are_sent_in_pieces(queue: LeaseQueue, client: redis.Redis) -> None:
    count = 2500
    await queue.enqueue(1, [Entry(job_key(number, flow=number % 3), 1) for number in range(count)])
    claims: list[Claim] = []
    while len(claims) < count:
        result = await queue.turn(1, count, TTL_MS)
        assert len(result.claims) == min(256, count - len(claims)), "at most 256 claims a turn"
        claims += result.claims
    late = Settle(job_key(1), claims[0].fence, SettleKind.DONE)
    settles = [late, *(Settle(claim.key, claim.fence, SettleKind.DONE, 1) for claim in claims[:2000]), late]
    extends = [Extend(claim.key, claim.fence) for claim in claims]
    result = await queue.turn(1, 5, TTL_MS, settles, extends)
    assert result.settled == (False, *[True] * 2000, False)
    assert result.extended == (*[False] * 2000, *[True] * 500), "settled before they could be extended"
    assert len(read_state(client)) == 500


async def test_a_turn_in_pieces_hears_late_holders_before_it_reaps(
    queue: LeaseQueue, server_time: ServerTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_SETTLES", 3)
    monkeypatch.setattr(keys, "MAX_EXTENDS", 2)
    await queue.enqueue(1, [Entry(job_key(number), 1) for number in range(16)])
    claims = (await queue.turn(1, 15, TTL_MS)).claims
    server_time.advance_ms(2 * TTL_MS)
    settles = [Settle(claim.key, claim.fence, SettleKind.DONE, 1) for claim in claims[:7]]
    extends = [Extend(claim.key, claim.fence) for claim in claims[7:12]]
    result = await queue.turn(1, 9, TTL_MS, settles, extends)
    assert (result.settled, result.extended, result.reaped) == ((True,) * 7, (True,) * 5, 3)
    assert [claim.key.resource.int for claim in result.claims] == [12, 13, 14, 15]


async def test_more_shards_need_no_other_code(
    monkeypatch: pytest.MonkeyPatch, lease_queue: LeaseQueue, client: redis.Redis
) -> None:
    monkeypatch.setattr(keys, "SHARDS", 3)
    assert await lease_queue.reset(1)
    entries = [Entry(job_key(number, tenant=tenant), 1) for tenant in range(6) for number in range(10)]
    await lease_queue.enqueue(1, entries)
    assert [client.hlen(f"q:{{q{shard:02}}}:J") for shard in range(3)] == [20, 20, 20]
    seen: list[Claim] = []
    while claims := (await lease_queue.turn(1, 7, TTL_MS)).claims:
        assert len(claims) <= 7
        seen += claims
    assert {claim.key for claim in seen} == {entry.key for entry in entries}
    assert (await lease_queue.stats(1)).leased == 60
    settles = [Settle(claim.key, claim.fence, SettleKind.DONE, 1) for claim in seen]
    assert all((await lease_queue.turn(1, 0, TTL_MS, settles)).settled)
    stats = await lease_queue.stats(1)
    assert (stats.keys, stats.counters) == (0, {"claimed": 60, "done": 60})
