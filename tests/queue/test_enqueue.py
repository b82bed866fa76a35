"""Rules of enqueue: coalescing, priorities, expedite, the wake-up."""

import pytest
import redis

from control_plane.queue.lease_queue import Claim, Entry, LeaseQueue, Priority, Settle, SettleKind
from tests.queue.redis_state import State, read_state
from tests.queue.server_time import ServerTime, job_key

TTL_MS = 30_000


async def claim_one(queue: LeaseQueue) -> Claim:
    (claim,) = (await queue.turn(1, 1, TTL_MS)).claims
    return claim


async def test_a_ready_key_takes_the_newest_version(queue: LeaseQueue) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 3), Entry(job_key(1), 7), Entry(job_key(1), 5)])
    await queue.enqueue(1, [Entry(job_key(1), 6)])
    assert (await queue.stats(1)).ready == 1
    assert (await claim_one(queue)).version == 7


async def test_a_ready_key_keeps_its_place_and_class(queue: LeaseQueue, client: redis.Redis) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1, Priority.BULK), Entry(job_key(2), 1, Priority.BULK)])
    await queue.enqueue(1, [Entry(job_key(2), 2, Priority.HIGH)])
    assert read_state(client)[job_key(2)].priority == Priority.BULK
    assert (await claim_one(queue)).key == job_key(1)


async def test_a_leased_key_becomes_dirty_and_comes_again_when_done(queue: LeaseQueue) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    first = await claim_one(queue)
    await queue.enqueue(1, [Entry(job_key(1), 2)])
    assert (await queue.turn(1, 8, TTL_MS)).claims == ()
    done = Settle(first.key, first.fence, SettleKind.DONE, first.version)
    (again,) = (await queue.turn(1, 8, TTL_MS, [done])).claims
    assert (again.key, again.version, again.attempt) == (first.key, 2, 1)


async def test_the_same_version_again_does_not_make_a_leased_key_dirty(queue: LeaseQueue, client: redis.Redis) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    claim = await claim_one(queue)
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    result = await queue.turn(1, 8, TTL_MS, [Settle(claim.key, claim.fence, SettleKind.DONE, 1)])
    assert (result.settled, result.claims, result.next_wake_s) == ((True,), (), None)
    assert read_state(client) == {}


async def test_a_leased_key_takes_the_more_urgent_class_for_next_time(queue: LeaseQueue, client: redis.Redis) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1, Priority.NORMAL)])
    claim = await claim_one(queue)
    await queue.enqueue(1, [Entry(job_key(1), 2, Priority.HIGH), Entry(job_key(1), 3, Priority.BULK)])
    await queue.turn(1, 0, TTL_MS, [Settle(claim.key, claim.fence, SettleKind.DONE, 1)])
    assert read_state(client)[job_key(1)].priority == Priority.HIGH


@pytest.mark.parametrize(("expedite", "state"), [(False, State.DELAYED), (True, State.READY)])
async def test_only_expedite_ends_a_delay(queue: LeaseQueue, client: redis.Redis, expedite: bool, state: State) -> None:
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    claim = await claim_one(queue)
    await queue.turn(1, 0, TTL_MS, [Settle(claim.key, claim.fence, SettleKind.RETRY, delay_ms=5000)])
    await queue.enqueue(1, [Entry(job_key(1), 2, expedite=expedite)])
    job = read_state(client)[job_key(1)]
    assert (job.state, job.version, job.attempts) == (state, 2, 1)


async def test_urgent_classes_go_first_and_each_is_first_in_first_out(queue: LeaseQueue) -> None:
    order = [Priority.BULK, Priority.NORMAL, Priority.HIGH, Priority.HIGH, Priority.NORMAL, Priority.BULK]
    await queue.enqueue(1, [Entry(job_key(number), 1, priority) for number, priority in enumerate(order)])
    claims = (await queue.turn(1, 10, TTL_MS)).claims
    assert [claim.key.resource.int for claim in claims] == [2, 3, 1, 4, 0, 5]


async def test_wakes_only_when_the_first_key_becomes_ready(
    queue: LeaseQueue, client: redis.Redis, server_time: ServerTime
) -> None:
    with client.pubsub() as channel:  # type: ignore[no-untyped-call]  # redis-py leaves it so
        channel.subscribe("q:{q00}:wake")

        def wakes() -> int:
            """How many wake-ups came; the answer to a ping comes after all of them."""
            count = 0
            channel.ping()
            while (message := channel.get_message(timeout=5)) and message["type"] != "pong":
                count += message["type"] == "message"
            return count

        await queue.enqueue(1, [Entry(job_key(1), 1)])
        await queue.enqueue(1, [Entry(job_key(2), 1), Entry(job_key(3, flow=1), 1)])
        assert wakes() == 1
        claims = (await queue.turn(1, 3, TTL_MS)).claims
        assert wakes() == 0
        # Handed back by a caller that wants nothing: another one may.
        released = [Settle(claim.key, claim.fence, SettleKind.RELEASE) for claim in claims]
        await queue.turn(1, 0, TTL_MS, released)
        assert wakes() == 1
        await queue.turn(1, 3, TTL_MS)
        server_time.advance_ms(TTL_MS)
        assert (await queue.turn(1, 3, TTL_MS)).reaped == 3
        assert wakes() == 0, "claimed by the caller itself"
