"""Users that are there before the clock runs, stored by the product's own code."""

import asyncio
from datetime import UTC, datetime

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.scim.json_door import parse_object
from control_plane.scim.registry import default_registry
from control_plane.scim.validate import normalise
from control_plane.storage import resources
from control_plane.storage.engine import Storage
from tests.bench.dev_stack import Stack
from tests.bench.users import seeded_id, user_body

BATCH = 500
TIMEOUT_S = 60.0


def seed_users(stack: Stack, tenant: TenantId, count: int) -> None:
    """Store users 0 to ``count`` - 1 in ``tenant``; those that are there already stay."""
    asyncio.run(_seed(stack, tenant, count))


async def _seed(stack: Stack, tenant: TenantId, count: int) -> None:
    storage = await Storage.open(stack.app_url, pool_size=1, timeout_s=TIMEOUT_S)
    try:
        for start in range(0, count, BATCH):
            rows = [_row(number) for number in range(start, min(start + BATCH, count))]
            async with storage.begin(tenant) as tx:
                await resources.insert(tx, rows)
    finally:
        await storage.close()


def _row(number: int) -> NewResource:
    document = normalise("User", parse_object(user_body(number)), default_registry()).document
    return NewResource(
        id=ResourceId(seeded_id(number)),
        type=ResourceType.USER,
        user_name=document["userName"],
        external_id=document["externalId"],
        display_name=document["displayName"],
        active=True,
        document=document,
        at=datetime.now(UTC),
    )
