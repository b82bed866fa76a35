"""Rules of turn: settling, fencing, extending, delays, stale leases, fair shares, the next wake-up."""

import dataclasses

import pytest
import redis

from control_plane.domain.jobs import Fence
from control_plane.queue.lease_queue import Claim, Entry, Extend, LeaseQueue, Priority, Settle, SettleKind
from tests.queue.redis_state import State, read_state
from tests.queue.server_time import START_US, ServerTime, job_key

TTL_MS = 30_000


async def lease(queue: LeaseQueue, count: int = 1) -> tuple[Claim, ...]:
    """Enqueue and claim keys 0 to count - 1 of one flow, in version 1."""
    await queue.enqueue(1, [Entry(job_key(number), 1) for number in range(count)])
    return (await queue.turn(1, count, TTL_MS)).claims


def settle(claim: Claim, kind: SettleKind, version: int = 0, delay_ms: int = 0) -> Settle:
    return Settle(claim.key, claim.fence, kind, version, delay_ms)


async def test_a_claim_carries_what_the_worker_needs(queue: LeaseQueue, client: redis.Redis) -> None:
    (claim,) = await lease(queue)
    assert claim == Claim(job_key(0), Fence(1, START_US), version=1, attempt=1, stale=0)
    assert read_state(client)[job_key(0)].until == START_US + TTL_MS * 1000


async def test_done_leaves_nothing_behind(queue: LeaseQueue, client: redis.Redis) -> None:
    claims = await lease(queue, 3)
    result = await queue.turn(1, 0, TTL_MS, [settle(claim, SettleKind.DONE, 1) for claim in claims])
    assert result.settled == (True, True, True)
    assert set(client.keys()) == {b"q:{q00}:epoch", b"q:{q00}:fence", b"q:{q00}:stat"} | {
        b"q:{q%02d}:test_now" % shard for shard in range(4)
    }


@pytest.mark.parametrize("kind", list(SettleKind))
async def test_a_settle_that_is_not_the_holders_changes_nothing(
    queue: LeaseQueue, client: redis.Redis, server_time: ServerTime, kind: SettleKind
) -> None:
    (old,) = await lease(queue)
    server_time.advance_ms(TTL_MS)
    (new,) = (await queue.turn(1, 1, TTL_MS)).claims
    await queue.enqueue(1, [Entry(job_key(9), 1)])
    before = read_state(client)

    epoch, fence = new.fence.epoch, new.fence.fence
    strangers = [
        settle(old, kind, 1),
        dataclasses.replace(settle(new, kind, 1), fence=Fence(epoch, fence + 1)),
        dataclasses.replace(settle(new, kind, 1), fence=Fence(epoch + 1, fence)),
        dataclasses.replace(settle(new, kind, 1), key=job_key(8)),  # unknown
        dataclasses.replace(settle(new, kind, 1), key=job_key(9)),  # not leased
    ]
    assert (await queue.turn(1, 0, TTL_MS, strangers)).settled == (False,) * 5
    assert read_state(client) == before
    extends = [Extend(stranger.key, stranger.fence) for stranger in strangers]
    assert (await queue.turn(1, 0, 2 * TTL_MS, (), extends)).extended == (False,) * 5
    assert read_state(client) == before
    assert (await queue.stats(1)).counters["fenced"] == 4, "the other life's was never asked"


async def test_the_second_settle_of_a_lease_is_lost(queue: LeaseQueue) -> None:
    (claim,) = await lease(queue)
    await queue.enqueue(1, [Entry(job_key(0), 2)])
    twice = [settle(claim, SettleKind.DONE, 1), settle(claim, SettleKind.RETRY, 0, 60_000)]
    result = await queue.turn(1, 1, TTL_MS, twice)
    assert result.settled == (True, False)
    assert result.claims[0].version == 2


async def test_retry_waits_and_counts_an_attempt(queue: LeaseQueue, server_time: ServerTime) -> None:
    (claim,) = await lease(queue)
    result = await queue.turn(1, 1, TTL_MS, [settle(claim, SettleKind.RETRY, 1, 5000)])
    assert (result.settled, result.claims, result.next_wake_s) == ((True,), (), 5.0)
    server_time.advance_ms(4999)
    assert (await queue.turn(1, 1, TTL_MS)).promoted == 0
    server_time.advance_ms(1)
    result = await queue.turn(1, 1, TTL_MS)
    assert (result.promoted, [claim.attempt for claim in result.claims]) == (1, [2])


@pytest.mark.parametrize(("version", "state"), [(1, State.READY), (2, State.DELAYED), (0, State.DELAYED)])
async def test_retry_is_at_once_if_it_names_a_version_that_is_no_longer_the_newest(
    queue: LeaseQueue, client: redis.Redis, version: int, state: State
) -> None:
    (claim,) = await lease(queue)
    await queue.enqueue(1, [Entry(job_key(0), 2)])
    await queue.turn(1, 0, TTL_MS, [settle(claim, SettleKind.RETRY, version, 5000)])
    job = read_state(client)[job_key(0)]
    assert (job.state, job.attempts) == (state, 1)


async def test_release_goes_back_to_the_front_without_an_attempt(queue: LeaseQueue) -> None:
    claims = await lease(queue, 3)
    await queue.enqueue(1, [Entry(job_key(7), 1)])
    result = await queue.turn(1, 9, TTL_MS, [settle(claim, SettleKind.RELEASE) for claim in claims])
    assert [(claim.key.resource.int, claim.attempt) for claim in result.claims] == [(0, 1), (1, 1), (2, 1), (7, 1)]


async def test_success_forgets_attempts_and_stale_leases(queue: LeaseQueue, server_time: ServerTime) -> None:
    (claim,) = await lease(queue)
    (claim,) = (await queue.turn(1, 1, TTL_MS, [settle(claim, SettleKind.RETRY)])).claims
    server_time.advance_ms(TTL_MS)
    (claim,) = (await queue.turn(1, 1, TTL_MS)).claims
    assert (claim.attempt, claim.stale) == (2, 1)
    await queue.enqueue(1, [Entry(job_key(0), 2)])
    (claim,) = (await queue.turn(1, 1, TTL_MS, [settle(claim, SettleKind.DONE, 1)])).claims
    assert (claim.attempt, claim.stale) == (1, 0)


async def test_an_expired_lease_is_recovered_and_counted(queue: LeaseQueue, server_time: ServerTime) -> None:
    held = await lease(queue, 4)
    server_time.advance_ms(TTL_MS - 1)
    extends = [Extend(held[0].key, held[0].fence)]
    result = await queue.turn(1, 4, TTL_MS, (), extends)
    assert (result.reaped, result.extended, result.next_wake_s) == (0, (True,), 0.001)
    server_time.advance_ms(1)
    await queue.enqueue(1, [Entry(job_key(9), 1)])
    result = await queue.turn(1, 4, TTL_MS)
    assert result.reaped == 3
    assert [(claim.key.resource.int, claim.stale) for claim in result.claims] == [(1, 1), (2, 1), (3, 1), (9, 0)]
    assert (await queue.stats(1)).counters["stale"] == 3


async def test_a_key_that_fells_its_workers_goes_to_the_back(queue: LeaseQueue, server_time: ServerTime) -> None:
    await lease(queue)
    server_time.advance_ms(TTL_MS)
    await queue.turn(1, 1, TTL_MS)
    await queue.enqueue(1, [Entry(job_key(7), 1)])
    server_time.advance_ms(TTL_MS)
    claims = (await queue.turn(1, 2, TTL_MS)).claims
    assert [(claim.key.resource.int, claim.stale) for claim in claims] == [(7, 0), (0, 2)]


async def test_a_late_holder_is_heard_while_nobody_took_over(queue: LeaseQueue, server_time: ServerTime) -> None:
    done, extended = await lease(queue, 2)
    server_time.advance_ms(10 * TTL_MS)
    result = await queue.turn(1, 2, TTL_MS, [settle(done, SettleKind.DONE, 1)], [Extend(extended.key, extended.fence)])
    assert (result.settled, result.extended, result.reaped, result.claims) == ((True,), (True,), 0, ())


async def test_fences_rise_when_the_clock_goes_back(queue: LeaseQueue, server_time: ServerTime) -> None:
    (first,) = await lease(queue)
    server_time.advance_ms(-3_600_000)
    await queue.enqueue(1, [Entry(job_key(5), 1)])
    (second,) = (await queue.turn(1, 1, TTL_MS)).claims
    assert second.fence.fence == first.fence.fence + 1


async def test_no_flow_starves_another(queue: LeaseQueue) -> None:
    """Whatever the sequence of wishes, two flows with a backlog are served alike, give or take one."""
    await queue.enqueue(1, [Entry(job_key(number), 1) for number in range(500)])
    await queue.enqueue(1, [Entry(job_key(number, flow=1), 1, Priority.BULK) for number in range(100)])
    served = {0: 0, 1: 0}
    for want in (1, 2, 3, 5, 1, 1, 16, 3, 3, 64, 7):
        for claim in (await queue.turn(1, want, TTL_MS)).claims:
            served[claim.key.target.int] += 1
        assert abs(served[0] - served[1]) <= 1, served


async def test_a_flow_alone_may_take_everything(queue: LeaseQueue) -> None:
    await queue.enqueue(1, [Entry(job_key(number), 1) for number in range(300)])
    await queue.enqueue(1, [Entry(job_key(1, flow=1), 1)])
    assert len((await queue.turn(1, 256, TTL_MS)).claims) == 256


async def test_a_sweep_is_bounded_and_told_to_go_on(queue: LeaseQueue, server_time: ServerTime) -> None:
    await queue.enqueue(1, [Entry(job_key(number), 1) for number in range(300)])
    claims = [*(await queue.turn(1, 256, TTL_MS)).claims, *(await queue.turn(1, 256, TTL_MS)).claims]
    retries = [settle(claim, SettleKind.RETRY, delay_ms=1000) for claim in claims[:290]]
    await queue.turn(1, 0, TTL_MS, retries)
    server_time.advance_ms(TTL_MS)
    swept = []
    for _ in range(2):
        result = await queue.turn(1, 256, TTL_MS)
        swept.append((result.promoted, result.reaped, len(result.claims), result.next_wake_s))
    assert swept == [(256, 10, 256, 0.0), (34, 0, 44, TTL_MS / 1000)]


async def test_counters_never_wrap(queue: LeaseQueue, client: redis.Redis) -> None:
    """Attempts and stale leases are 16 bits wide: they stop at the end."""
    from control_plane.queue import keys

    (claim,) = await lease(queue)
    packed = client.hget("q:{q00}:J", claim.key.pack())
    assert isinstance(packed, bytes)
    fence, state, version, _, _, priority = keys.JOB.unpack(packed)
    client.hset("q:{q00}:J", claim.key.pack(), keys.JOB.pack(fence, state, version, 65534, 65534, priority))
    (claim,) = (await queue.turn(1, 1, TTL_MS, [settle(claim, SettleKind.RETRY)])).claims
    assert (claim.attempt, claim.stale) == (65535, 65534)
