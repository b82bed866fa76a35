"""Custom schemas: stored as they are, found in any case, seen by their tenant only, and known to be in use."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from control_plane.domain.errors import NotFound
from control_plane.domain.schemas import CustomSchema
from control_plane.scim.schema import Attribute, AttributeType, Mutability, Returned, Schema, Uniqueness
from control_plane.scim.schema_definition import Extension
from control_plane.storage import schemas, tenants
from control_plane.storage.engine import Storage
from tests.storage.test_plans import MODES, indexes
from tests.storage.world import NOW, World, group, later, make_tenant, user

URN = "urn:Acme:hr"
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def schema(urn: str = URN, resource_type: str = "User") -> CustomSchema:
    attributes = (
        Attribute("badge", mutability=Mutability.IMMUTABLE, uniqueness=Uniqueness.SERVER, case_exact=True),
        Attribute("level", AttributeType.INTEGER, "How far up", required=True, returned=Returned.REQUEST),
        Attribute(
            "offices",
            AttributeType.COMPLEX,
            multi_valued=True,
            sub_attributes=(Attribute("value", canonical_values=("A", "B")),),
        ),
    )
    return CustomSchema(Extension(Schema(urn, "HR", "What HR knows", attributes), resource_type), NOW, NOW)


async def test_a_schema_comes_back_as_it_was_stored(storage: Storage) -> None:
    tenant = await make_tenant(storage)
    async with storage.begin(tenant) as tx:
        await schemas.insert(tx, schema())
        assert await schemas.get(tx, URN.upper(), lock=True) == schema()
        assert await schemas.get(tx, "urn:acme") is None
        changed = replace(schema(), updated_at=later(9))
        await schemas.update(tx, changed)
        assert await schemas.list_all(tx) == [changed]
        await schemas.delete(tx, changed)
        assert await schemas.list_all(tx) == []
        with pytest.raises(NotFound):
            await schemas.update(tx, changed)


async def test_schemas_are_listed_in_order_of_creation(storage: Storage) -> None:
    tenant = await make_tenant(storage)
    made = [replace(schema(f"urn:x:{name}"), created_at=later(at)) for at, name in enumerate("zam")]
    async with storage.begin(tenant) as tx:
        for one in reversed(made):
            await schemas.insert(tx, one)
        assert await schemas.list_all(tx) == made


async def test_another_tenant_neither_sees_nor_changes_a_schema(storage: Storage) -> None:
    mine, theirs = await make_tenant(storage), await make_tenant(storage)
    async with storage.begin(theirs) as tx:
        await schemas.insert(tx, schema())
    async with storage.begin(mine) as tx:
        assert await schemas.get(tx, URN) is None
        await schemas.insert(tx, schema(resource_type="Group"))
        await schemas.delete(tx, schema())
    async with storage.begin(theirs) as tx:
        assert await schemas.list_all(tx) == [schema()]


async def test_a_tenant_is_updated_as_a_whole(storage: Storage) -> None:
    tenant = await make_tenant(storage)
    async with storage.begin(tenant) as tx:
        old = await tenants.get(tx, tenant, lock=True)
        assert old is not None
        new = replace(old, display_name="New", overrides={"replace_creates": True, "from_the_future": False})
        await tenants.update(tx, new)
        assert await tenants.get(tx, tenant) == new
        with pytest.raises(NotFound):
            await tenants.update(tx, replace(new, id=(await make_tenant(storage))))


async def test_a_schema_is_in_use_while_a_resource_of_its_type_has_values(world: World) -> None:
    await world.store(
        user("ada", document={"userName": "ada", URN: {"badge": "7"}}, at=later(5)),
        user("grace", document={"userName": "grace"}, at=later(60)),
        group("Staff"),
    )
    async with world.storage.begin(world.tenant) as tx:
        assert await schemas.is_used(tx, schema(), EVER)
        assert await schemas.is_used(tx, schema(), later(5))
        assert not await schemas.is_used(tx, schema(), later(6))
        assert not await schemas.is_used(tx, schema("urn:acme:other"), EVER)
        assert not await schemas.is_used(tx, schema(resource_type="Group"), EVER)
    other = await make_tenant(world.storage)
    async with world.storage.begin(other) as tx:
        assert not await schemas.is_used(tx, schema(), EVER)


@pytest.mark.parametrize("mode", MODES)
async def test_the_search_for_values_walks_an_index(world: World, mode: str) -> None:
    async with world.storage.begin(world.tenant) as tx:
        params = {"tenant": world.tenant, "type": 1, "since": later(0), "urn": URN}
        assert await indexes(tx, mode, schemas.IN_USE, params) == {"resources_by_update"}
