"""Runs a transaction again that others were in the way of."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from control_plane.domain.errors import Contended

TRIES = 3

T = TypeVar("T")


async def again(work: Callable[[], Awaitable[T]]) -> T:
    """Return ``await work()``, a whole transaction; at most twice more while it is Contended.

    At once, without a wait: the database looked for the deadlock only after a second, and ended it by undoing this one.
    The other goes on, and the next try queues behind it for the first lock they share.
    """
    for _ in range(TRIES - 1):
        try:
            return await work()
        except Contended:
            continue
    return await work()
