"""Everything that the queue holds in Redis, decoded, and checked for agreement with itself."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import redis

from control_plane.domain.jobs import JobKey
from control_plane.queue import keys

PREFIX = keys.prefix(0).encode()
CONSTANT = {PREFIX + name for name in (b"epoch", b"fence", b"stat")}
TEST_ONLY = {keys.prefix(shard).encode() + b"test_now" for shard in range(4)}


class State(IntEnum):
    READY = 0
    LEASED = 1
    DELAYED = 2


@dataclass(slots=True)
class Job:
    """A key's record; ``until`` is the score of its lease or delay."""

    fence: int
    state: State
    version: int
    attempts: int
    stale: int
    priority: int
    until: int = 0


def read_state(client: redis.Redis) -> dict[JobKey, Job]:
    """Return all jobs; AssertionError where J, L, D, the lists, the ring and the other keys disagree."""
    first = client.pipeline(transaction=True)
    first.hgetall(PREFIX + b"J")
    first.zrange(PREFIX + b"L", 0, -1, withscores=True)
    first.zrange(PREFIX + b"D", 0, -1, withscores=True)
    first.lrange(PREFIX + b"T", 0, -1)
    first.keys("*")
    records, leases, delays, ring, names = first.execute()
    flows = {raw[:32] for raw in records} | set(ring)
    ready = _ready(client, flows)
    jobs = {JobKey.unpack(raw): _decode(packed) for raw, packed in records.items()}

    _one_place_each(jobs, ready, leases, delays)
    listed = {key.pack()[:32] for key, _ in ready}
    assert Counter(ring) == Counter(listed), "the ring names each flow with ready keys once, and no other"
    places = {_list_name(key.pack()[:32], priority) for key, priority in ready}
    structures = {PREFIX + name for name, used in ((b"J", jobs), (b"L", leases), (b"D", delays), (b"T", ring)) if used}
    left_over = set(names) - CONSTANT - TEST_ONLY - places - structures
    assert not left_over, f"keys that belong to nothing: {left_over}"
    return jobs


def _one_place_each(
    jobs: dict[JobKey, Job],
    ready: list[tuple[JobKey, int]],
    leases: list[tuple[bytes, float]],
    delays: list[tuple[bytes, float]],
) -> None:
    """Invariant 1: every key of J is in exactly one of ready, D, L, as its state says; no ghosts."""
    places: Counter[tuple[JobKey, State]] = Counter()
    for key, priority in ready:
        assert key in jobs, "a ghost in a ready list"
        assert jobs[key].priority == priority, "a ready key stands in the list of its class"
        places[key, State.READY] += 1
    for state, scores in ((State.LEASED, leases), (State.DELAYED, delays)):
        for raw, score in scores:
            key = JobKey.unpack(raw)
            assert key in jobs, f"a ghost among the {state.name}"
            jobs[key].until = int(score)
            places[key, state] += 1
    assert places == Counter((key, job.state) for key, job in jobs.items()), (
        "each key stands once, where its state says"
    )


def _ready(client: redis.Redis, flows: Iterable[bytes]) -> list[tuple[JobKey, int]]:
    places = [(flow, priority) for flow in flows for priority in (0, 1, 2)]
    pipeline = client.pipeline(transaction=True)
    for flow, priority in places:
        pipeline.lrange(_list_name(flow, priority), 0, -1)
    return [
        (JobKey.unpack(flow + resource), priority)
        for (flow, priority), resources in zip(places, pipeline.execute(), strict=True)
        for resource in resources
    ]


def _list_name(flow: bytes, priority: int) -> bytes:
    return PREFIX + b"f:" + flow + b":" + str(priority).encode()


def _decode(packed: bytes) -> Job:
    fence, state, version, attempts, stale, priority = keys.JOB.unpack(packed)
    return Job(int(fence), State(state), int(version), attempts, stale, priority)
