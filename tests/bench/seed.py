"""Users that are there before the clock runs, stored by the product's own code."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import orjson

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.scim.core_schemas import GROUP_URN
from control_plane.scim.json_door import parse_object
from control_plane.scim.keys import keyed_values
from control_plane.scim.registry import default_registry
from control_plane.scim.rules import DEFAULT_RULES
from control_plane.scim.validate import normalise
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage
from tests.bench.dev_stack import Stack
from tests.bench.scale import Scale
from tests.bench.users import seeded_id, user_body

BATCH = 500
TIMEOUT_S = 60.0
SMALL_GROUP, BIG_GROUP = UUID("01900001-0000-7000-8000-000000000001"), UUID("01900001-0000-7000-8000-000000000002")
SMALL_MEMBERS = 10
MEMBERS_BATCH = 10_000


def seed_users(stack: Stack, tenant: TenantId, count: int) -> None:
    """Store users 0 to ``count`` - 1 in ``tenant``; those that are there already stay."""
    asyncio.run(_seed(stack, tenant, count))


def seed_protocol(stack: Stack, scale: Scale) -> None:
    """Store both tenants that are compared, and in the large one a small and a large group."""
    seed_users(stack, stack.tenant, scale.small_tenant)
    seed_users(stack, stack.second_tenant, scale.large_tenant)
    asyncio.run(_seed_groups(stack, stack.second_tenant, scale))


async def _seed_groups(stack: Stack, tenant: TenantId, scale: Scale) -> None:
    storage = await Storage.open(stack.app_url, pool_size=1, timeout_s=TIMEOUT_S)
    try:
        for group_id, size in ((SMALL_GROUP, SMALL_MEMBERS), (BIG_GROUP, scale.large_group)):
            async with storage.begin(tenant) as tx:
                await resources.insert(tx, [_group(ResourceId(group_id), f"Group of {size}")])
                for start in range(0, size, MEMBERS_BATCH):
                    some = range(start, min(start + MEMBERS_BATCH, size))
                    await memberships.add(tx, ResourceId(group_id), [ResourceId(seeded_id(number)) for number in some])
    finally:
        await storage.close()


def _group(group_id: ResourceId, name: str) -> NewResource:
    body = parse_object(orjson.dumps({"schemas": [GROUP_URN], "displayName": name}))
    document = normalise("Group", body, DEFAULT_RULES).document
    return NewResource(group_id, ResourceType.GROUP, None, None, name, None, document, datetime.now(UTC))


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
    document = normalise("User", parse_object(user_body(number)), DEFAULT_RULES).document
    return NewResource(
        id=ResourceId(seeded_id(number)),
        type=ResourceType.USER,
        user_name=document["userName"],
        external_id=document["externalId"],
        display_name=document["displayName"],
        active=True,
        document=document,
        at=datetime.now(UTC),
        keys=keyed_values(default_registry().model("User"), document),
    )
