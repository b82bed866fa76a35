"""A contended transaction is run again, a bounded number of times; any other failure is not."""

import pytest

from control_plane.domain.errors import Contended, Unavailable
from control_plane.services.again import TRIES, again


class Work:
    """Fails with each of ``failures`` in turn, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.runs = list(failures), 0

    async def __call__(self) -> str:
        self.runs += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_contention_is_waited_out() -> None:
    work = Work(*[Contended()] * (TRIES - 1))
    assert (await again(work), work.runs) == ("done", TRIES)


async def test_contention_without_end_is_told() -> None:
    work = Work(*[Contended()] * TRIES)
    with pytest.raises(Contended):
        await again(work)
    assert work.runs == TRIES


async def test_what_may_have_been_done_is_not_done_again() -> None:
    work = Work(Unavailable("the database"))
    with pytest.raises(Unavailable):
        await again(work)
    assert work.runs == 1
