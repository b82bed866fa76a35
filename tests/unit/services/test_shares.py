"""No tenant gets more than its share of the places, and no queue is endless."""

import asyncio
from uuid import UUID

import pytest

from control_plane.domain.errors import Overloaded
from control_plane.domain.ids import TenantId
from control_plane.services.shares import Shares

BUSY, OTHER = (TenantId(UUID(int=number)) for number in (1, 2))


async def test_a_busy_tenant_leaves_room_for_another() -> None:
    shares, release, inside = Shares(2, 1, waiting=10), asyncio.Event(), list[TenantId]()

    async def search(tenant: TenantId) -> None:
        async with shares.share(tenant):
            inside.append(tenant)
            await release.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for tenant in (BUSY, BUSY, BUSY, OTHER):
            tasks.create_task(search(tenant))
        while len(inside) < 2:
            await asyncio.sleep(0)
        assert sorted(inside, key=str) == [BUSY, OTHER]
        release.set()
    assert inside.count(BUSY) == 3


async def test_who_cannot_even_wait_is_told_at_once_and_places_come_back() -> None:
    shares = Shares(1, 1, waiting=0)
    for _ in range(3):
        async with shares.share(BUSY):
            with pytest.raises(Overloaded):
                async with shares.share(OTHER):
                    pytest.fail("there was no place")
