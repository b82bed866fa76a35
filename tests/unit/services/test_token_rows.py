"""Who asks for a row while others are read is read with those who came too, never by what had begun before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from control_plane.domain.errors import Unavailable
from control_plane.services.token_rows import TokenRows


class Gated:
    """A storage whose transactions begin when the gate is open; its rows are the key ids in capitals."""

    def __init__(self) -> None:
        self.read: list[Sequence[str]] = []
        self.gate = asyncio.Event()
        self.fails: Exception | None = None

    @asynccontextmanager
    async def begin_batch(self, tenants: object, *, token_key: str) -> AsyncIterator[None]:
        self.read.append(token_key.split(","))
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        yield


async def find(_tx: None, key_ids: Sequence[str]) -> dict[str, str]:
    return {key_id: key_id.upper() for key_id in key_ids if key_id != "nobodys"}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Gated:
    monkeypatch.setattr("control_plane.storage.tokens.find_by_key_ids", find)
    return Gated()


async def ask(rows: TokenRows, *key_ids: str) -> list[asyncio.Task[Any]]:
    """Return a task for each key id, after all of them have asked."""
    tasks = [asyncio.create_task(rows.find(key_id)) for key_id in key_ids]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_those_who_come_while_others_are_read_are_read_together(storage: Gated) -> None:
    rows = TokenRows(storage)  # type: ignore[arg-type]  # a fake
    first = await ask(rows, *"ab")
    later = await ask(rows, "c", "nobodys", "c", "d")
    assert storage.read == [["a"], ["b"]]
    storage.gate.set()
    assert await asyncio.gather(*first, *later) == ["A", "B", "C", None, "C", "D"]
    assert storage.read[2:] == [["c", "d", "nobodys"]]


async def test_a_failure_is_everybodys_who_waited(storage: Gated) -> None:
    rows = TokenRows(storage)  # type: ignore[arg-type]  # a fake
    asked = await ask(rows, *"abcd")
    storage.fails = Unavailable("the database")
    storage.gate.set()
    assert {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)} == {Unavailable}
    storage.fails = None
    (again,) = await ask(rows, "a")
    assert await again == "A"


async def test_when_the_leader_goes_away_another_one_leads(storage: Gated) -> None:
    rows = TokenRows(storage)  # type: ignore[arg-type]  # a fake
    _, _, leader, *others = await ask(rows, *"abcde")
    leader.cancel()
    await asyncio.wait([leader])
    storage.gate.set()
    assert await asyncio.gather(*others) == ["D", "E"]
