"""The connection to Redis: its limits, what it refuses, and what its errors mean."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.queue.model import EpochLost

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0  # the longest script takes a few ms; a queue that is slower than this is down
POOL_SIZE = 16  # calls at once, and one for each listener of `wakes`; more wait for POOL_WAIT_S
POOL_WAIT_S = 2.0
MIN_VERSION = (7, 0)  # LMPOP, script flags

# "Not now" from a server that is there: it comes back without us. redis-py keeps the code of those that it has a class
# for in `status_code`, and of the others as the first word of the message.
_NOT_NOW = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"}
)
_GONE = (RedisConnectionError, RedisTimeoutError, OSError)


def connect(url: str) -> "Redis":
    """Return a client for ``url`` (redis://, rediss:// or unix://); it connects at the first call."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE,
        timeout=POOL_WAIT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=READ_TIMEOUT_S,
        socket_keepalive=True,
        # A turn that is sent twice claims twice, and nobody works on the first claims: the caller decides to retry.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


async def refuse_unsafe(redis: "Redis") -> None:
    """Raise FailedPrecondition for a server that could lose keys one by one, or is too old for the scripts."""
    info = await redis.info()
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        # Eviction takes single keys, such as all leases, and leaves the epoch that would tell of a loss.
        raise FailedPrecondition(f"the queue's Redis has maxmemory-policy {policy}; set it to noeviction")
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < MIN_VERSION:
        raise FailedPrecondition(f"the queue's Redis is version {info['redis_version']}; it must be 7.0 or newer")


@asynccontextmanager
async def translated(redis: "Redis") -> AsyncIterator[None]:
    """Turn Redis' errors into ours: EpochLost, or Unavailable when trying again helps."""
    try:
        yield
    except ReadOnlyError as err:
        # A failover: this server was demoted. Its connections would stay with it for ever.
        await redis.connection_pool.disconnect(inuse_connections=False)
        raise Unavailable("the queue") from err
    except ResponseError as err:
        code = err.status_code or str(err).split(" ", 1)[0]
        if code == "NOEPOCH":
            raise EpochLost(str(err)) from err
        if code in _NOT_NOW:
            raise Unavailable("the queue") from err
        raise
    except _GONE as err:
        raise Unavailable("the queue") from err
