"""A plain Python model of the queue, driven at random beside the real one (lease-queue.md section 9).

The model says what must come out; where the queue is free to choose (which ready key is claimed) it says what may.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Awaitable

import redis

from control_plane.domain.jobs import Fence, JobKey
from control_plane.queue.lease_queue import (
    Claim,
    Entry,
    EpochLost,
    Extend,
    LeaseQueue,
    Priority,
    Settle,
    SettleKind,
    TurnResult,
)
from tests.queue.redis_state import Job, State, read_state
from tests.queue.server_time import ServerTime, job_key

KEYS = [job_key(resource, flow, tenant) for tenant, flow in ((0, 0), (0, 1), (1, 0)) for resource in range(4)]
TTL_MS = 1000


class Model:
    """The rules, once more and simply."""

    def __init__(self) -> None:
        self.jobs: dict[JobKey, Job] = {}
        self.epoch = 1
        self.last_fence = Fence(0, 0)
        self.last_number = 0  # of a fence, since Redis last lost everything
        self.claims: list[Claim] = []  # of all lives: their late settles must change nothing
        self.wanted: defaultdict[JobKey, int] = defaultdict(int)  # in this life
        self.done: defaultdict[JobKey, int] = defaultdict(int)
        self.attempts: defaultdict[JobKey, int] = defaultdict(int)  # RETRYs taken since the last success

    def enqueue(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.wanted[entry.key] = max(self.wanted[entry.key], entry.version)
            job = self.jobs.get(entry.key)
            if job is None:
                self.jobs[entry.key] = Job(0, State.READY, entry.version, 0, 0, entry.priority)
                self.attempts[entry.key] = 0
                continue
            job.version = max(job.version, entry.version)
            if job.state is not State.READY:
                job.priority = min(job.priority, entry.priority)
            if job.state is State.DELAYED and entry.expedite:
                job.state, job.until = State.READY, 0

    def holds(self, item: Settle | Extend) -> Job | None:
        job = self.jobs.get(item.key)
        if job and job.state is State.LEASED and item.fence == Fence(self.epoch, job.fence):
            return job
        return None

    def settle(self, settle: Settle, now_us: int) -> bool:
        job = self.holds(settle)
        if job is None:
            return False
        job.state, job.until = State.READY, 0
        match settle.kind:
            case SettleKind.DONE:
                self.done[settle.key] = max(self.done[settle.key], settle.version)
                self.attempts[settle.key] = 0
                if job.version > settle.version:
                    job.attempts = job.stale = 0
                else:
                    del self.jobs[settle.key]
            case SettleKind.RETRY:
                self.attempts[settle.key] += 1
                job.attempts += 1
                if not 0 < settle.version < job.version:
                    job.state, job.until = State.DELAYED, now_us + settle.delay_ms * 1000
            case SettleKind.RELEASE:
                pass
        return True

    def extend(self, extend: Extend, now_us: int) -> bool:
        job = self.holds(extend)
        if job is None:
            return False
        job.until = now_us + TTL_MS * 1000
        return True

    def wake(self, state: State, now_us: int) -> int:
        """Make ready what is past its time in ``state``; return how many."""
        past = [job for job in self.jobs.values() if job.state is state and job.until <= now_us]
        for job in past:
            job.stale += state is State.LEASED
            job.state, job.until = State.READY, 0
        return len(past)

    def claim(self, claims: tuple[Claim, ...], want: int, now_us: int) -> None:
        ready = {key: job for key, job in self.jobs.items() if job.state is State.READY}
        assert len(claims) == min(want, len(ready)), "as many as are wanted and ready"
        assert len({claim.key for claim in claims}) == len(claims), "one live lease per key"
        for claim in claims:
            assert claim.key in ready, "only ready keys are claimed"
            assert claim.fence > self.last_fence, "fences rise strictly over all claims and lives"
            assert claim.fence.epoch == self.epoch
            assert claim.fence.fence > self.last_number, "and their numbers, while Redis remembers"
            self.last_fence, self.last_number = claim.fence, claim.fence.fence
            job = ready[claim.key]
            assert claim.version == job.version, "a lease carries the newest version"
            assert claim.attempt == self.attempts[claim.key] + 1, "attempts grow by real attempts only"
            assert claim.stale == job.stale
        self._check_fair({claim.key for claim in claims}, ready)
        for claim in claims:
            job = ready[claim.key]
            job.state, job.fence, job.until = State.LEASED, claim.fence.fence, now_us + TTL_MS * 1000
        self.claims += claims

    def _check_fair(self, taken: set[JobKey], ready: dict[JobKey, Job]) -> None:
        """Each flow gives as many as any other, give or take one, unless it runs out; urgent classes first."""
        given = Counter(key.pack()[:32] for key in taken)
        left: defaultdict[bytes, list[int]] = defaultdict(list)
        for key in ready.keys() - taken:
            left[key.pack()[:32]].append(ready[key].priority)
        most = max(given.values(), default=0)
        for flow, priorities in left.items():
            assert given[flow] >= most - 1, "a flow with ready keys gets its share"
            chosen = [ready[key].priority for key in taken if key.pack()[:32] == flow]
            assert max(chosen, default=0) <= min(priorities), "an urgent key goes before a less urgent one of its flow"

    def next_wake_s(self, now_us: int) -> float | None:
        if any(job.state is State.READY for job in self.jobs.values()):
            return 0.0
        return min((max(0, job.until - now_us) / 1e6 for job in self.jobs.values()), default=None)


class Drive:
    """One random history, the same for the same seed."""

    def __init__(self, queue: LeaseQueue, client: redis.Redis, seed: int) -> None:
        self.queue, self.client = queue, client
        self.dice = random.Random(seed)
        self.model = Model()
        self.history: list[object] = [("seed", seed)]
        client.flushall()
        self.time = ServerTime(client)

    async def run(self, steps: int) -> None:
        """Take ``steps`` random steps, then finish all work; AssertionError, with the history, where a rule breaks."""
        try:
            assert await self.queue.reset(1)
            for _ in range(steps):
                await self.step()
            await self.finish()
        except Exception as err:
            told = "\n".join(str(item) for item in self.history)
            raise AssertionError(f"{err!r} after\n{told}") from err

    async def step(self) -> None:
        kind = self.dice.choices(["enqueue", "turn", "time", "life"], weights=[30, 50, 18, 2])[0]
        match kind:
            case "enqueue":
                await self.enqueue()
            case "turn":
                await self.turn(self.dice.randrange(9), self.some_settles(), self.some_extends())
            case "time":
                self.time.advance_ms(self.dice.choice([1, 100, 400, TTL_MS, 3 * TTL_MS, -300]))
                self.history.append(("time", self.time.now_us))
            case _:
                await self.new_life()
        self.check()

    def check(self) -> None:
        """Invariants 1, 5 and 9, and the model's idea of each key."""
        assert read_state(self.client) == self.model.jobs
        for key, wanted in self.model.wanted.items():
            assert wanted <= self.model.done[key] or key in self.model.jobs, "what is wanted and not done has work"

    async def enqueue(self) -> None:
        entries = [self.some_entry() for _ in range(self.dice.randint(1, 8))]
        self.history.append(("enqueue", entries))
        await self.queue.enqueue(self.model.epoch, entries)
        self.model.enqueue(entries)

    def some_entry(self) -> Entry:
        key = self.dice.choice(KEYS)
        version = max(1, self.model.wanted[key] + self.dice.choice([-1, 0, 1, 1]))
        return Entry(key, version, self.dice.choice(list(Priority)), expedite=self.dice.random() < 0.3)

    def some_claims(self) -> list[Claim]:
        """Leases that may be held, old ones, and ones named twice."""
        recent = self.model.claims[-12:]
        return [self.dice.choice(recent) for _ in range(self.dice.randrange(6))] if recent else []

    def some_settles(self) -> list[Settle]:
        settles = []
        for claim in self.some_claims():
            kind = self.dice.choices(list(SettleKind), weights=[6, 3, 2])[0]
            version = claim.version if kind is SettleKind.DONE or self.dice.random() < 0.5 else 0
            settles.append(Settle(claim.key, claim.fence, kind, version, self.dice.choice([0, 200, 2000])))
        return settles

    def some_extends(self) -> list[Extend]:
        return [Extend(claim.key, claim.fence) for claim in self.some_claims()]

    async def turn(self, want: int, settles: list[Settle], extends: list[Extend]) -> TurnResult:
        self.history.append(("turn", want, settles, extends))
        result = await self.queue.turn(self.model.epoch, want, TTL_MS, settles, extends)
        self.history.append(result)
        now_us, model = self.time.now_us, self.model
        assert result.settled == tuple([model.settle(settle, now_us) for settle in settles])
        assert result.extended == tuple([model.extend(extend, now_us) for extend in extends])
        assert result.promoted == model.wake(State.DELAYED, now_us), "delayed keys come when they are due, never early"
        assert result.reaped == model.wake(State.LEASED, now_us), "leases end when they expire, never early"
        model.claim(result.claims, want, now_us)
        assert result.next_wake_s == model.next_wake_s(now_us)
        return result

    async def new_life(self) -> None:
        """A new epoch, on a live queue or after a loss of everything, and perhaps with the clock set back."""
        model = self.model
        if is_loss := self.dice.random() < 0.5:
            self.client.flushall()
            model.last_number = 0
            await self.refused(model.epoch)
        self.time.advance_ms(self.dice.choice([0, 10, -5000]))
        model.epoch += 1
        await self.refused(model.epoch)
        self.history.append(("new life", model.epoch, "after a loss" if is_loss else "", self.time.now_us))
        assert await self.queue.reset(model.epoch)
        assert not await self.queue.reset(model.epoch)
        assert not await self.queue.reset(model.epoch - 1)
        for of_one_life in (model.jobs, model.wanted, model.done, model.attempts):
            of_one_life.clear()
        await self.refused(model.epoch - 1)

    async def refused(self, epoch: int) -> None:
        """No script runs in a life that is not the queue's."""
        assert await self.is_lost(self.queue.turn(epoch, 1, TTL_MS))
        assert await self.is_lost(self.queue.enqueue(epoch, [self.some_entry()]))
        assert await self.is_lost(self.queue.stats(epoch))

    async def is_lost(self, call: Awaitable[object]) -> bool:
        try:
            await call
        except EpochLost:
            return True
        return False

    async def finish(self) -> None:
        """Do all work, and find that nothing stays behind (invariant 9)."""
        for _ in range(20):
            self.time.advance_ms(3 * TTL_MS)
            result = await self.turn(len(KEYS), [], [])
            settles = [Settle(claim.key, claim.fence, SettleKind.DONE, claim.version) for claim in result.claims]
            last = await self.turn(0, settles, [])
            self.check()
            if not self.model.jobs:
                assert last.next_wake_s is None
                return
        raise AssertionError("the work does not end")
