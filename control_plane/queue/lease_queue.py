"""The lease queue: which keys have work, who works on them, when to try again. Derived, rebuildable from PostgreSQL."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from control_plane.domain.errors import Unavailable
from control_plane.queue import connection, keys
from control_plane.queue.model import (
    Claim,
    Entry,
    EpochLost,
    Extend,
    Priority,
    QueueStats,
    Settle,
    SettleKind,
    TurnResult,
)
from control_plane.queue.scripts import Scripts, lua_sources
from control_plane.queue.turns import Reply, Turn, pack_entry
from control_plane.runtime.clock import Clock, SystemClock
from control_plane.runtime.logs import get_logger

__all__ = [
    "Claim",
    "Entry",
    "EpochLost",
    "Extend",
    "LeaseQueue",
    "Priority",
    "QueueStats",
    "Settle",
    "SettleKind",
    "TurnResult",
]

LISTEN_PROBE_S = 15.0  # silence on the wake channel after which we ask whether anybody is there
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.05, 1.0  # not above the caller's tick, which bridges the gap

log = get_logger(__name__)


class LeaseQueue:
    """Typed door to the scripts in ``lua/``; one method for each.

    Every method raises Unavailable when Redis cannot be reached or refuses for now; those that take an epoch raise
    EpochLost when the queue does not live in it. A call that failed may have happened all the same. Repeating it is
    safe: a settle that was taken the first time is answered as lost, and claims that nobody heard of come back when
    their time is over.
    """

    def __init__(self, redis: "Redis", scripts: Scripts, clock: Clock) -> None:
        self._redis, self._scripts, self._clock = redis, scripts, clock
        self._rotation = itertools.count()

    @classmethod
    async def open(cls, url: str) -> "LeaseQueue":
        """Return the queue at ``url``; FailedPrecondition when that Redis could lose single keys."""
        redis = connection.connect(url)
        try:
            async with connection.translated(redis):
                await connection.refuse_unsafe(redis)
        except BaseException:
            await redis.aclose()
            raise
        return cls(redis, Scripts(lua_sources()), SystemClock())

    async def enqueue(self, epoch: int, entries: Sequence[Entry]) -> None:
        """Add work; a key that is known takes the newest version (lua/enqueue.lua says how)."""
        shards: dict[int, list[Entry]] = {}
        for entry in entries:
            shards.setdefault(keys.shard_of(entry.key.tenant), []).append(entry)
        for shard, part in shards.items():
            for start in range(0, len(part), keys.MAX_ENTRIES):
                piece = part[start : start + keys.MAX_ENTRIES]
                await self._run("enqueue", shard, epoch, b"".join(map(pack_entry, piece)))

    async def turn(
        self,
        epoch: int,
        want: int,
        ttl_ms: int,
        settles: Sequence[Settle] = (),
        extends: Sequence[Extend] = (),
    ) -> TurnResult:
        """Settle, extend, promote, reap, and claim up to ``want`` keys (256 at most) for ``ttl_ms`` from now."""
        turn = Turn(epoch, want, settles, extends)
        # Each turn begins at another shard, or the first would be served before all others.
        for request in turn.requests(next(self._rotation)):
            reply = await self._run("turn", request.shard, epoch, request.want, ttl_ms * 1000, *turn.pack(request))
            turn.take(request, Reply(*reply))
        return turn.result()

    async def reset(self, epoch: int) -> bool:
        """Begin the life ``epoch``, empty; False when it, or a later one, has begun already."""
        begun = [await self._run("reset", shard, epoch) for shard in range(keys.SHARDS)]
        return any(begun)

    async def stats(self, epoch: int) -> QueueStats:
        """Return how much work there is, in constant time."""
        counters: dict[str, int] = {}
        totals = [0, 0, 0, 0]
        for shard in range(keys.SHARDS):
            *numbers, pairs = await self._run("stats", shard, epoch)
            totals = [total + number for total, number in zip(totals, numbers, strict=True)]
            for name, value in zip(pairs[::2], pairs[1::2], strict=True):
                counters[name.decode()] = counters.get(name.decode(), 0) + int(value)
        known, leased, delayed, flows = totals
        return QueueStats(known, known - leased - delayed, leased, delayed, flows, counters)

    async def wakes(self) -> AsyncGenerator[None, None]:
        """Yield after each (re)connection, and whenever the queue gets something to claim again. Never ends.

        A message can be lost with its connection, so look at the queue once a second all the same. Close it
        (``contextlib.aclosing``) to give its connection back.
        """
        wait_s = RECONNECT_MIN_S
        while True:
            try:
                async with connection.translated(self._redis), self._redis.pubsub() as channel:
                    await channel.subscribe(*(keys.wake_channel(shard) for shard in range(keys.SHARDS)))
                    async for _ in _messages(channel):
                        wait_s = RECONNECT_MIN_S
                        yield
            except Unavailable as err:
                if wait_s == RECONNECT_MIN_S:  # once for each outage
                    log.warning("queue wake channel lost", cause=repr(err.__cause__))
            await asyncio.sleep(wait_s * (0.5 + self._clock.jitter() / 2))
            wait_s = min(RECONNECT_MAX_S, wait_s * 2)

    async def ping(self) -> None:
        """Return when Redis answers; Unavailable when it does not."""
        async with connection.translated(self._redis):
            await self._redis.ping()

    async def close(self) -> None:
        """Close all connections; iterators of `wakes` must be closed before."""
        await self._redis.aclose()

    async def _run(self, command: str, shard: int, epoch: int, *arguments: int | bytes) -> Any:
        async with connection.translated(self._redis):
            return await self._scripts.run(self._redis, command, keys.prefix(shard), epoch, *arguments)


async def _messages(channel: PubSub) -> AsyncIterator[None]:
    """Yield for each confirmed subscription and each message; ConnectionError when nobody is there any more."""
    is_probed = False
    while True:
        message = await channel.get_message(timeout=LISTEN_PROBE_S)
        if message is not None:
            is_probed = False
            if message["type"] in ("subscribe", "message"):
                yield
        elif is_probed:
            raise RedisConnectionError("no answer on the wake channel")
        else:
            await channel.ping()
            is_probed = True
