"""What goes wrong with Redis: refused, full, demoted, gone, restarted, slow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
import pytest_asyncio
import redis

from control_plane.devstack.valkey import EmbeddedValkey
from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.queue import connection
from control_plane.queue.lease_queue import Entry, EpochLost, LeaseQueue, Settle, SettleKind
from control_plane.queue.scripts import CLOCK, COMMANDS, lua_sources
from tests.fixtures.valkey import QueueServer
from tests.queue.server_time import job_key

TTL_MS = 30_000
WITHIN_S = 10


@pytest_asyncio.fixture
async def own_queue(own_queue_server: QueueServer) -> AsyncIterator[LeaseQueue]:
    """A queue in epoch 1 with one ready key, on a server of this test's own."""
    queue = await LeaseQueue.open(own_queue_server.url)
    await queue.reset(1)
    await queue.enqueue(1, [Entry(job_key(1), 1)])
    yield queue
    await queue.close()


@pytest.fixture
def own_client(own_queue_server: QueueServer) -> redis.Redis:
    return redis.Redis.from_url(own_queue_server.url)


async def test_the_scripts_run_by_the_time_of_redis(lease_queue: LeaseQueue, client: redis.Redis) -> None:
    await lease_queue.reset(1)
    await lease_queue.enqueue(1, [Entry(job_key(1), 1)])
    before = client.time()
    (claim,) = (await lease_queue.turn(1, 1, TTL_MS)).claims
    after = client.time()
    assert before[0] * 10**6 + before[1] <= claim.fence.fence <= after[0] * 10**6 + after[1]


def test_the_test_clock_is_not_in_the_product() -> None:
    sources = lua_sources()
    assert set(sources) == {"shared", *COMMANDS}
    assert "TIME" in CLOCK
    assert not any("test_now" in source or "'TIME'" in source for source in sources.values())


async def test_eviction_of_single_keys_is_refused(own_queue_server: QueueServer, own_client: redis.Redis) -> None:
    own_client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(FailedPrecondition, match="allkeys-lru; set it to noeviction"):
        await LeaseQueue.open(own_queue_server.url)


async def test_a_full_redis_refuses_work_and_still_drains(own_queue: LeaseQueue, own_client: redis.Redis) -> None:
    own_client.config_set("maxmemory", 1)
    with pytest.raises(Unavailable):
        await own_queue.enqueue(1, [Entry(job_key(2), 1)])
    (claim,) = (await own_queue.turn(1, 1, TTL_MS)).claims
    assert (await own_queue.turn(1, 1, TTL_MS, [Settle(claim.key, claim.fence, SettleKind.DONE, 1)])).settled == (True,)
    own_client.config_set("maxmemory", 0)
    await own_queue.enqueue(1, [Entry(job_key(2), 1)])


async def test_a_demoted_redis_is_unavailable_and_its_connections_are_dropped(
    own_queue: LeaseQueue, own_client: redis.Redis
) -> None:
    own_client.replicaof("127.0.0.1", "1")
    with pytest.raises(Unavailable):
        await own_queue.turn(1, 1, TTL_MS)
    assert {entry["id"] for entry in own_client.client_list()} == {str(own_client.client_id())}
    own_client.replicaof("no", "one")
    assert len((await own_queue.turn(1, 1, TTL_MS)).claims) == 1


async def test_a_busy_redis_is_unavailable(own_queue: LeaseQueue, own_client: redis.Redis) -> None:
    own_client.config_set("busy-reply-threshold", 20)
    endless = asyncio.create_task(asyncio.to_thread(own_client.eval, "while true do end", 0))

    async def is_refused() -> bool:
        try:
            await own_queue.ping()
        except Unavailable:
            return True
        return False

    await eventually(is_refused)
    with pytest.raises(Unavailable):
        await own_queue.turn(1, 1, TTL_MS)
    own_client.script_kill()
    with pytest.raises(redis.ResponseError):
        await endless
    assert len((await own_queue.turn(1, 1, TTL_MS)).claims) == 1


async def test_gone_and_back_means_unavailable_and_then_a_lost_epoch(
    own_queue: LeaseQueue, own_queue_server: QueueServer
) -> None:
    own_queue_server.stop()
    for call in (own_queue.turn(1, 1, TTL_MS), own_queue.ping(), LeaseQueue.open(own_queue_server.url)):
        with pytest.raises(Unavailable):
            await call
    own_queue_server.start()
    with pytest.raises(EpochLost):
        await own_queue.turn(1, 1, TTL_MS)
    assert await own_queue.reset(2)
    await own_queue.enqueue(2, [Entry(job_key(1), 1)])
    assert len((await own_queue.turn(2, 1, TTL_MS)).claims) == 1


async def test_a_silent_redis_costs_no_more_than_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that takes the connection and never answers."""
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.1)
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(Unavailable):
            await LeaseQueue.open(f"redis://127.0.0.1:{port}/0")
    silent.close()


async def test_a_mistake_in_a_script_is_not_hidden(lease_queue: LeaseQueue, client: redis.Redis) -> None:
    client.set("q:{q00}:epoch", 1)
    client.set("q:{q00}:J", "not a hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await lease_queue.enqueue(1, [Entry(job_key(1), 1)])


async def test_wakes_come_at_once_and_after_each_reconnection(
    own_queue: LeaseQueue, own_queue_server: QueueServer, own_client: redis.Redis
) -> None:
    async with aclosing(own_queue.wakes()) as wakes, asyncio.timeout(WITHIN_S):
        await anext(wakes)  # subscribed: look at the queue, work may have come before
        await own_queue.turn(1, 1, TTL_MS)
        await own_queue.enqueue(1, [Entry(job_key(2), 1)])
        await anext(wakes)
        own_client.client_kill_filter(_type="pubsub")
        await anext(wakes)
        own_queue_server.stop()
        subscribed = asyncio.ensure_future(anext(wakes))
        own_queue_server.start()
        await subscribed
        await own_queue.reset(2)
        await own_queue.enqueue(2, [Entry(job_key(1), 1)])
        await anext(wakes)


async def test_a_wake_channel_that_died_silently_is_noticed(
    monkeypatch: pytest.MonkeyPatch, own_queue: LeaseQueue, own_client: redis.Redis
) -> None:
    monkeypatch.setattr("control_plane.queue.lease_queue.LISTEN_PROBE_S", 0.05)
    async with aclosing(own_queue.wakes()) as wakes, asyncio.timeout(WITHIN_S):
        await anext(wakes)
        again = asyncio.ensure_future(anext(wakes))
        own_client.client_pause(300)  # connected, and no answers
        await again


def test_the_embedded_server_keeps_nothing(own_queue_server: QueueServer, own_client: redis.Redis) -> None:
    assert own_client.config_get("save") == {"save": ""}
    assert own_client.config_get("appendonly") == {"appendonly": "no"}
    assert own_client.config_get("bind") == {"bind": "127.0.0.1"}
    engine = EmbeddedValkey(own_queue_server.engine.data_dir, 7, {"maxmemory": "100mb"})
    assert engine.url() == "redis://127.0.0.1:7/0"
    assert "--maxmemory 100mb --port 7" in " ".join(engine.command())


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``check()`` is true, with a limit."""
    async with asyncio.timeout(WITHIN_S):
        while not await check():
            await asyncio.sleep(0.01)
