"""The attacker: ``python -m tests.bench.bogus PORT KEY_ID RATE SECONDS`` sends so many bogus tokens a second.

A third is garbage, a third tokens that nobody has, a third wrong secrets for ``KEY_ID``; from 25 addresses, over
connections that are opened again when they are closed. It does not wait for answers to keep its pace, but for one
connection's answer before that connection's next request. Prints how many answers of each status there were.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import cycle

import orjson
import uvloop

from control_plane.scim.bearer import checksum, compose
from tests.bench.http_load import answer_end
from tests.bench.users import get_request

CONNECTIONS, ADDRESSES = 1_000, 25
LIMIT_S = 10.0


def tokens(key_id: str, count: int) -> list[str]:
    """Return bogus tokens of three kinds in turn."""
    made = []
    for number in range(count):
        random = compose("dev", os.urandom(48)).text
        body = f"muster_dev_{key_id}_{random.rpartition('_')[2][:43]}"
        made.append((random[:-1], random, body + checksum(body))[number % 3])
    return made


class _Attack:
    """One run."""

    def __init__(self, port: int, key_id: str, rate: int, seconds: float) -> None:
        self._port, self._until = port, time.perf_counter() + seconds
        self._tokens = cycle(tokens(key_id, min(20_000, int(rate * seconds))))
        self._each_s = CONNECTIONS / rate
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        """Send until the time is over."""
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._connection(number))

    async def _connection(self, number: int) -> None:
        source = (f"127.0.1.{1 + number % ADDRESSES}", 0)
        # Spread over the first interval, so that they do not all send at once.
        due = time.perf_counter() + self._each_s * number / CONNECTIONS
        while time.perf_counter() < self._until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=source)
                try:
                    while time.perf_counter() < self._until:
                        await asyncio.sleep(max(0.0, due - time.perf_counter()))
                        due = max(due + self._each_s, time.perf_counter())
                        writer.write(get_request(next(self._tokens), 1))
                        async with asyncio.timeout(LIMIT_S):
                            self.answers[str(await _status(reader))] += 1
                finally:
                    writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    raw = b""
    while (end := answer_end(raw)) is None:
        piece = await reader.read(65536)
        if not piece:
            raise ConnectionResetError
        raw += piece
    return end[0]


def main() -> None:
    """Attack, and print the answers as JSON."""
    port, key_id, rate, seconds = sys.argv[1:]
    attack = _Attack(int(port), key_id, int(rate), float(seconds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(attack.run())
    sys.stdout.buffer.write(orjson.dumps(attack.answers))


if __name__ == "__main__":
    main()
