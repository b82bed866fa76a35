"""kill -9 of anything, FLUSHALL, engines restarted: what was acknowledged arrives, once."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import redis

from tests.e2e.stack import Scim, Stack, a_user, eventually

PER_SECOND = 20
SLOTS = 32  # two workers with 16 each


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A stack that these tests may hurt."""
    folder = Path(tempfile.mkdtemp(prefix="muster-faults-"))
    os.chmod(folder, 0o711)
    one = Stack(folder)
    one.start()
    yield one
    one.stop()
    shutil.rmtree(folder, ignore_errors=True)


class Pusher:
    """Pushes users at a steady rate, and remembers which were acknowledged. Retries what got a 5xx or no answer."""

    def __init__(self, http: aiohttp.ClientSession, stack: Stack) -> None:
        ready = stack.ready()
        self.idp = Scim(http, ready["scim_base_url"], ready["scim_token"])
        self.acknowledged: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Push until told to stop, then finish what is under way."""
        async with asyncio.TaskGroup() as group:
            while not self.stopping.is_set():
                group.create_task(self._push(f"f-{uuid4().hex[:12]}"))
                await asyncio.sleep(1 / PER_SECOND)

    async def _push(self, name: str) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                status, _ = await self.idp.call("POST", "/Users", a_user(name))
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            if status in (201, 409):  # 409: an earlier try whose answer was lost took effect
                self.acknowledged.add(name)
                return
            self.refused[status] += 1
            await asyncio.sleep(0.3)
        raise AssertionError(f"{name} was not taken within 40 s: {self.refused}")


async def total(http: aiohttp.ClientSession, stack: Stack, metric: str) -> float:
    """Return a counter over all control planes now."""
    found = 0.0
    for one in stack.processes("control-plane"):
        async with http.get(one["metrics_url"]) as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{metric} "):
                    found += float(line.split()[1])
    return found


async def all_arrived(stack: Stack, http: aiohttp.ClientSession, wanted: set[str], within_s: float) -> None:
    """Wait until every acknowledged user stands in the target exactly once."""
    target = stack.ready()["target"]
    app = Scim(http, target["url"], target["token"])
    names: Counter[str] = Counter()

    async def complete() -> bool:
        names.clear()
        names.update(one["userName"] for one in await app.all("/Users"))
        return wanted <= names.keys()

    try:
        await eventually(complete, within_s, every_s=0.5)
    except AssertionError:
        pytest.fail(
            f"{len(wanted - names.keys())} of {len(wanted)} did not arrive: {sorted(wanted - names.keys())[:5]}"
        )
    assert {name: count for name, count in names.items() if count > 1} == {}


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_nothing_comes_twice(own_stack: Stack, http: aiohttp.ClientSession) -> None:
    pusher = Pusher(http, own_stack)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(pusher.run())
        await eventually(lambda: len(pusher.acknowledged) > 40, 20)
        await own_stack.restarted("worker", own_stack.kill("worker"))
        await eventually(lambda: len(pusher.acknowledged) > 100, 20)
        await own_stack.restarted("control-plane", own_stack.kill("control-plane"))
        await eventually(lambda: len(pusher.acknowledged) > 160, 30)
        with redis.Redis.from_url(own_stack.ready()["redis_url"]) as client:
            client.flushall()
        await eventually(lambda: len(pusher.acknowledged) > 220, 30)
        await own_stack.restarted("redis", own_stack.kill("redis"))
        await own_stack.restarted("gateway", own_stack.kill("gateway"))
        await eventually(lambda: len(pusher.acknowledged) > 280, 30)
        await own_stack.restarted("postgres", own_stack.kill("postgres"))
        await eventually(lambda: len(pusher.acknowledged) > 360, 40)
        pusher.stopping.set()
        await pushing
    await all_arrived(own_stack, http, pusher.acknowledged, 60)


@pytest.mark.timeout(120)
async def test_leases_of_killed_workers_are_counted_and_recovered(
    own_stack: Stack, http: aiohttp.ClientSession
) -> None:
    ready = own_stack.ready()
    idp = Scim(http, ready["scim_base_url"], ready["scim_token"])
    before = await total(http, own_stack, "scim_job_stale_lease_total")
    granted = await total(http, own_stack, "scim_job_lease_granted_total")
    names = {f"stale-{uuid4().hex[:10]}" for _ in range(SLOTS + 8)}
    target = own_stack.processes("target")[0]["pid"]

    async def push(name: str) -> None:
        assert (await idp.call("POST", "/Users", a_user(name)))[0] == 201

    async def all_slots_are_taken() -> bool:
        return await total(http, own_stack, "scim_job_lease_granted_total") == granted + SLOTS

    # A target that hangs keeps every lease at work, so that exactly as many are held as there are slots.
    os.kill(target, signal.SIGSTOP)
    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(push(name))
        await eventually(all_slots_are_taken, 10, every_s=0.02)
        killed = own_stack.kill("worker")
    finally:
        os.kill(target, signal.SIGCONT)
    await own_stack.restarted("worker", killed)
    await all_arrived(own_stack, http, names, 60)
    assert await total(http, own_stack, "scim_job_stale_lease_total") == before + SLOTS


@pytest.mark.timeout(120)
async def test_503_with_retry_after_while_the_truth_is_away(own_stack: Stack, http: aiohttp.ClientSession) -> None:
    ready = own_stack.ready()
    idp = Scim(http, ready["scim_base_url"], ready["scim_token"])
    seen: list[tuple[int, str | None, dict[str, object]]] = []
    pids = own_stack.kill("postgres")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        headers = {"Authorization": f"Bearer {ready['scim_token']}"}
        async with http.get(idp.base + "/Users?count=1", headers=headers) as answer:
            body = await answer.json(content_type=None)
            seen.append((answer.status, answer.headers.get("Retry-After"), body))
            if answer.status == 200:
                break
    await own_stack.restarted("postgres", pids)
    refused = [one for one in seen if one[0] != 200]
    assert refused, "PostgreSQL came back before anybody could notice"
    for status, retry_after, body in refused:
        assert (status, body["status"]) == (503, "503")
        assert retry_after is not None
        assert int(retry_after) >= 1
