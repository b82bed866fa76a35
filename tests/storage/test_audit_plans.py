"""The trail is searched by index, for a tenant that PostgreSQL knows nothing about among many others."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, LiteralString

import pytest
import pytest_asyncio

from control_plane.domain.audit import AuditQuery, Outcome
from control_plane.domain.ids import ResourceId, TenantId
from control_plane.storage import audit, audit_subjects
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database, PostgresServer
from tests.storage.conftest import filled
from tests.storage.test_administration import event
from tests.storage.test_plans import MODES
from tests.storage.test_plans import indexes as literal_indexes
from tests.storage.test_query_plans import explain, first_columns, indexes
from tests.storage.world import NOW, World, make_world, new_id

NAME = "muster_test_audit_plans"
FILL = """
    INSERT INTO audit_events (id, tenant_id, at, actor_type, actor_id, actor_address, action, resource_type,
                              resource_id, outcome, reason, request_id, details)
        SELECT uuidv7(), t.id, now(), 1, 'key', '', 'user.patch', 'user', gen_random_uuid()::text, 1, '',
               gen_random_uuid()::text, '{}'
        FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 50)) t, generate_series(1, 600);
    INSERT INTO audit_chain SELECT tenant_id, row_number() OVER (PARTITION BY tenant_id), id, '' FROM audit_events;
    INSERT INTO audit_subjects SELECT tenant_id, resource_id::uuid, '', now() FROM audit_events;
"""
EVENTS = 600
LISTING, OF_RESOURCE, OF_REQUEST = "audit_events_listing", "audit_events_of_resource", "audit_events_of_request"
PKEY, CHAIN = "audit_events_pkey", "audit_chain_of_event"


@pytest.fixture(scope="module")
def full_database(postgres_server: PostgresServer, template_database: Database) -> Iterator[Database]:
    """A database with 30,000 events of other tenants, whose statistics are fresh."""
    with filled(postgres_server, template_database, NAME, FILL) as database:
        yield database


@pytest.fixture(scope="module")
def newcomer(full_database: Database) -> TenantId:
    """A tenant that came after the statistics."""

    async def arrive() -> TenantId:
        storage = await Storage.open(full_database.app_url, pool_size=2, timeout_s=10)
        world = await make_world(storage)
        made = [event(world, n, resource_id=f"r{n}", request_id=f"q{n}") for n in range(EVENTS)]
        async with storage.begin(world.tenant) as tx:
            await audit.append(tx, made)
        await storage.close()
        return world.tenant

    return asyncio.run(arrive())


@pytest_asyncio.fixture
async def fresh(full_database: Database, newcomer: TenantId) -> Any:
    """The newcomer, in this test's own loop."""
    storage = await Storage.open(full_database.app_url, pool_size=2, timeout_s=10)
    yield World(storage, newcomer, new_id())
    await storage.close()


SEARCHES: tuple[tuple[AuditQuery, set[str]], ...] = (
    (AuditQuery(), {LISTING, CHAIN}),
    (AuditQuery(action="user.*", outcome=Outcome.FAILURE), {LISTING, CHAIN}),
    (AuditQuery(start=NOW, end=NOW + timedelta(hours=1)), {LISTING, CHAIN}),
    (AuditQuery(resource_id="r7"), {OF_RESOURCE, CHAIN}),
    (AuditQuery(resource_id="r7", action="user.patch", start=NOW), {OF_RESOURCE, CHAIN}),
    (AuditQuery(request_id="q7"), {OF_REQUEST, CHAIN}),
    (AuditQuery(request_id="q7", outcome=Outcome.SUCCESS), {OF_REQUEST, CHAIN}),
)


@pytest.mark.parametrize(("query", "wanted"), SEARCHES)
async def test_a_search_uses_its_index(fresh: World, query: AuditQuery, wanted: set[str]) -> None:
    async with fresh.storage.begin(fresh.tenant, read_only=True) as tx:
        leading = await first_columns(tx)
        for before in (None, new_id()):
            plan = await explain(tx, audit.statement(fresh.tenant, query, before, 100))
            assert indexes(plan, leading) == wanted


LITERAL: dict[str, tuple[LiteralString, set[str]]] = {
    "keys": (audit_subjects.READ, {"audit_subjects_pkey"}),
    "traces": (audit_subjects.TRACES, {OF_RESOURCE, "audit_subjects_pkey", "provisioning_pkey"}),
    "names": (audit_subjects.FORGET_NAMES, {"provisioning_pkey"}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LITERAL)
async def test_a_person_is_found_by_index(fresh: World, mode: str, name: str) -> None:
    sql, wanted = LITERAL[name]
    one = ResourceId(new_id())
    params: dict[str, Any] = {
        "tenant": fresh.tenant, "subject": one, "text": str(one), "tenants": [fresh.tenant], "subjects": [one]
    }  # fmt: skip
    async with fresh.storage.begin(fresh.tenant) as tx:
        assert await literal_indexes(tx, mode, sql, params) == wanted
