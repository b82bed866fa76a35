"""A queue whose scripts read the time from a key that the test sets, so that nothing has to sleep."""

from collections.abc import Mapping
from uuid import UUID

import redis

from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.jobs import JobKey
from control_plane.queue import connection, keys
from control_plane.queue.lease_queue import LeaseQueue
from control_plane.queue.scripts import Scripts, lua_sources
from tests.fakes.clock import FakeClock

CLOCK = """
local function now()
  return tonumber(redis.call('GET', KEYS[1] .. 'test_now'))
end
"""
START_US = 1_800_000_000_000_000
US_PER_MS = 1000
MOST_SHARDS = 4


class ServerTime:
    """What the scripts of ``queue_at_test_time`` take for the time of the Redis host."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.now_us = START_US
        self.write()

    def advance_ms(self, ms: int) -> None:
        """Move the host's clock; backwards if negative."""
        self.now_us += ms * US_PER_MS
        self.write()

    def write(self) -> None:
        """Write the time (again, after a flush)."""
        self._client.mset({keys.prefix(shard) + "test_now": self.now_us for shard in range(MOST_SHARDS)})


def queue_at_test_time(url: str, sources: Mapping[str, str] | None = None) -> LeaseQueue:
    """Return a queue that runs ``sources`` (the real ones unless given) by the clock of ServerTime."""
    return LeaseQueue(connection.connect(url), Scripts(sources or lua_sources(), clock=CLOCK), FakeClock())


def job_key(resource: int, flow: int = 0, tenant: int = 0) -> JobKey:
    """Return the key of a resource in target ``flow`` of a tenant."""
    return JobKey(TenantId(UUID(int=tenant)), TargetId(UUID(int=flow)), ResourceId(UUID(int=resource)))
