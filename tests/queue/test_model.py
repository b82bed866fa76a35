"""The real queue agrees with the model over random histories, and the model notices when the scripts are wrong."""

import os
from dataclasses import dataclass

import pytest
import redis

from control_plane.queue.lease_queue import LeaseQueue
from control_plane.queue.scripts import lua_sources
from tests.queue.model import Drive
from tests.queue.server_time import queue_at_test_time

HISTORIES = int(os.environ.get("MODEL_HISTORIES", "60"))
STEPS = 50
MUTANT_HISTORIES = 40


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake in a script: ``before`` occurs exactly once and becomes ``after``."""

    name: str
    script: str
    before: str
    after: str

    def sources(self) -> dict[str, str]:
        sources = lua_sources()
        assert sources[self.script].count(self.before) == 1, "the mutant no longer fits the script"
        return sources | {self.script: sources[self.script].replace(self.before, self.after)}


MUTANTS = [
    Mutant("no fence compare", "turn", " and job.fence == fence", ""),
    Mutant("no state compare", "turn", "job.state == LEASED and ", ""),
    Mutant("no dirty branch", "turn", "  if job.version > item.version then\n", "  if false then\n"),
    Mutant("lease stays in L", "turn", "batch('ZREM', 'L', ended)", ""),
    Mutant("settled key stays in J", "turn", "batch('HDEL', 'J', removed)", ""),
    Mutant("settled twice in a batch", "turn", "jobs[item.key] = nil --", "--"),
    Mutant("attempt not counted", "turn", "math.min(job.attempts + 1, COUNT_MAX)", "job.attempts"),
    Mutant("stale not counted", "turn", "math.min(job.stale + 1, COUNT_MAX)", "job.stale"),
    Mutant("delay ignores a newer version", "turn", "item.version > 0 and job.version > item.version", "false"),
    Mutant("promoted early", "turn", "local at = now()", "local at = now() + 1000"),
    Mutant("expired lease kept", "turn", "promote(), reap()", "promote(), 0"),
    Mutant("fence from the time only", "turn", "(tonumber(redis.call('GET', P .. 'fence')) or 0) + 1", "at"),
    Mutant("fence not stored", "turn", "redis.call('SET', P .. 'fence'", "redis.call('ECHO', P .. 'fence'"),
    Mutant("idle flow stays in the ring", "turn", "if is_idle(flow) then", "if false then"),
    Mutant("one flow takes all", "turn", "math.floor((want - #keys) / flows)", "want - #keys"),
    Mutant("old version wins", "enqueue", "math.max(job.version, entry.version)", "entry.version"),
    Mutant("leased version dropped", "enqueue", "math.max(job.v", "job.state == LEASED and 1 or math.max(job.v"),
    Mutant("delay outlives expedite", "enqueue", "entry.expedite == 1", "false"),
    Mutant("expedited key stays in D", "enqueue", "batch('ZREM', 'D', undelayed)", ""),
    Mutant("no epoch guard", "shared", "redis.call('GET', P .. 'epoch') ~= ARGV[1]", "false"),
    Mutant("flow listed twice", "shared", "if is_idle(list.flow) then", "if true then"),
    Mutant("reset forgets lists", "reset", "redis.call('UNLINK', ready_list", "redis.call('EXISTS', ready_list"),
    Mutant("reset forgets leases", "reset", "P .. 'L', ", ""),
    Mutant("reset goes back", "reset", "current >= tonumber(ARGV[1])", "current == tonumber(ARGV[1])"),
    Mutant("reset drops the fence", "reset", "P .. 'stat')", "P .. 'stat', P .. 'fence')"),
]  # fmt: skip


async def violation(queue: LeaseQueue, client: redis.Redis, histories: int) -> AssertionError | None:
    """Return how the first of the random histories broke a rule, if one did."""
    for seed in range(histories):
        try:
            await Drive(queue, client, seed).run(STEPS)
        except AssertionError as err:
            return err
    return None


async def test_random_histories_keep_the_invariants(queue_url: str, client: redis.Redis) -> None:
    queue = queue_at_test_time(queue_url)
    broken = await violation(queue, client, HISTORIES)
    await queue.close()
    assert broken is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_the_model_kills_the_mutant(mutant: Mutant, queue_url: str, client: redis.Redis) -> None:
    queue = queue_at_test_time(queue_url, mutant.sources())
    broken = await violation(queue, client, MUTANT_HISTORIES)
    await queue.close()
    assert broken, "a mistake that the model does not see"
