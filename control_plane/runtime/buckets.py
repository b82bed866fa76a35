"""Token buckets, many of them, by key: pure, the caller brings the time.

Levels are counted in millionths of a permit and time in microseconds, both whole numbers: nothing is rounded, however
often a bucket is asked. ``queue/lua/take.lua`` does the same where gateways share one bucket.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from cachetools import LRUCache

PERMIT = 1_000_000
US_PER_S = 1_000_000
MAX_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many permits come each ``per_s`` seconds, and at most ``burst`` are kept."""

    burst: int
    permits: int
    per_s: int = 1


class Buckets:
    """The buckets of one allowance. The least recently asked is forgotten first, and is full when asked again."""

    def __init__(self, capacity: int = MAX_BUCKETS) -> None:
        # key -> level in millionths of a permit times per_s, microsecond of the last look
        self._levels: LRUCache[Hashable, tuple[int, int]] = LRUCache(capacity)

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self._levels)

    def take(self, key: Hashable, now_s: float, allowance: Allowance, want: int = 1) -> int:
        """Take up to ``want`` permits and return how many there were."""
        unit = PERMIT * allowance.per_s
        level, now_us = self._level(key, now_s, allowance)
        granted = min(want, level // unit)
        self._levels[key] = level - granted * unit, now_us
        return granted

    def give_back(self, key: Hashable, allowance: Allowance, count: int = 1) -> None:
        """Put permits back that were not needed after all."""
        if key in self._levels:
            level, at_us = self._levels[key]
            unit = PERMIT * allowance.per_s
            self._levels[key] = min(allowance.burst * unit, level + count * unit), at_us

    def wait_s(self, key: Hashable, now_s: float, allowance: Allowance) -> float:
        """Return how long it takes until there is a permit; 0 if there is one."""
        level, _ = self._level(key, now_s, allowance)
        missing = max(0, PERMIT * allowance.per_s - level)
        return missing / allowance.permits / US_PER_S

    def _level(self, key: Hashable, now_s: float, allowance: Allowance) -> tuple[int, int]:
        now_us, full = int(now_s * US_PER_S), allowance.burst * PERMIT * allowance.per_s
        if key not in self._levels:
            return full, now_us
        level, at_us = self._levels[key]
        # A clock that went back brings nothing, and from there on counts as usual.
        return min(full, level + max(0, now_us - at_us) * allowance.permits), now_us
