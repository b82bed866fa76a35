"""Rates that all gateways share: one token bucket for each tenant, in Redis (lua/take.lua says how)."""

from dataclasses import dataclass

from redis.asyncio import Redis

from control_plane.domain.ids import TenantId
from control_plane.queue import connection
from control_plane.queue.scripts import Scripts, lua_sources

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Taken:
    """So many permits were there; if none, when the next one comes."""

    granted: int
    retry_after_s: float


def prefix(tenant: TenantId) -> str:
    """Return what the keys of a tenant's bucket begin with; buckets of tenants may live on different nodes."""
    return f"r:{{{tenant.hex}}}:"


class Rates:
    """Typed door to the buckets. Derived: what is lost was full."""

    def __init__(self, redis: "Redis", scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    @classmethod
    def open(cls, url: str) -> "Rates":
        """Return the buckets at ``url``; it connects at the first call."""
        return cls(connection.connect(url), Scripts(lua_sources()))

    async def take(self, tenant: TenantId, want: int, per_second: int, burst: int) -> Taken:
        """Take up to ``want`` permits; Unavailable when Redis cannot be reached or refuses for now."""
        async with connection.translated(self._redis):
            granted, wait_us = await self._scripts.run(
                self._redis, "take", prefix(tenant), max(1, want), max(1, per_second), max(1, burst)
            )
        return Taken(granted, wait_us / US_PER_S)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
