"""A queue in its first life, on the server of the test run, with the time in the test's hand."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis

from control_plane.queue.lease_queue import LeaseQueue
from tests.queue.server_time import ServerTime, queue_at_test_time

EPOCH = 1


@pytest.fixture
def client(queue_url: str) -> Iterator[redis.Redis]:
    """A plain client, for looking inside."""
    with redis.Redis.from_url(queue_url) as plain:
        yield plain


@pytest.fixture
def server_time(client: redis.Redis) -> ServerTime:
    """The time of the Redis host."""
    return ServerTime(client)


@pytest_asyncio.fixture
async def queue(queue_url: str, server_time: ServerTime) -> AsyncIterator[LeaseQueue]:
    """The queue in epoch 1."""
    opened = queue_at_test_time(queue_url)
    await opened.reset(EPOCH)
    yield opened
    await opened.close()
