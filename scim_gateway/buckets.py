"""Token buckets by key, a bounded number of them: pure, the caller brings the time."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """So many a second on average, and so many at once."""

    per_s: float
    burst: int


class Buckets:
    """A bucket for each key, full at first. The least recently used is forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> level, when it was that

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._levels)

    def wait_s(self, key: str, pace: Pace, now: float) -> float:
        """Return the seconds until one more is allowed; 0: it is now."""
        return max(0.0, 1 - self._level(key, pace, now)) / pace.per_s

    def take(self, key: str, pace: Pace, now: float) -> None:
        """Count one that was allowed."""
        self._put(key, self._level(key, pace, now) - 1, now)

    def give_back(self, key: str, pace: Pace, now: float) -> None:
        """Count one less, after all."""
        self._put(key, min(float(pace.burst), self._level(key, pace, now) + 1), now)

    def _put(self, key: str, level: float, now: float) -> None:
        self._levels[key] = level, now
        self._levels.move_to_end(key)
        if len(self._levels) > self._capacity:
            self._levels.popitem(last=False)

    def _level(self, key: str, pace: Pace, now: float) -> float:
        level, at = self._levels.get(key, (float(pace.burst), now))
        return min(float(pace.burst), level + max(0.0, now - at) * pace.per_s)
