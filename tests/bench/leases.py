"""Scenario 3: leases through the whole path, with a worker that has nothing to do, against the bare fenced UPDATE.

Both write the same table: the subject's rows belong to an active target, the baseline's to a paused one, which the
queue does not look at.
"""

import asyncio
import time
import urllib.request
from statistics import median
from uuid import UUID

import grpc
import psycopg
import uvloop

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import decode
from control_plane.storage.engine import CONNECTION
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.bench import cpu
from tests.bench.dev_stack import Stack
from tests.bench.errors import BenchError
from tests.bench.lease_worker import NoOpWorker, Worked
from tests.bench.report import Baseline, Throughput
from tests.bench.scale import Scale

SLOTS = 512
BATCH = 64
CALL_LIMIT_S = 60.0
# A sweep puts the raised rows into the queue; there is one every 5 seconds.
QUEUED_LIMIT_S, POLL_S = 60.0, 0.1
NOWHERE = "http://127.0.0.1:9/scim/v2"

RAISE = "UPDATE provisioning SET desired_version = desired_version + 1, dirty_since = now() WHERE target_id = %s"
BEHIND = "SELECT count(*) FROM provisioning WHERE target_id = %s AND desired_version > applied_version"
KEYS = "SELECT resource_id, desired_version FROM provisioning WHERE target_id = %s ORDER BY resource_id"
# What a settled result comes down to: the state, guarded by the fence. One commit for each batch, like the subject.
FENCED_UPDATE = """
    UPDATE provisioning p
    SET applied_version = i.version, epoch = i.epoch, fence = i.fence, leased_at = NULL, attempts = 0,
        dirty_since = NULL, applied_at = now()
    FROM unnest(%(resources)b::uuid[], %(versions)b::bigint[], %(epochs)b::bigint[], %(fences)b::bigint[])
         AS i (resource_id, version, epoch, fence)
    WHERE p.resource_id = i.resource_id AND p.target_id = %(target)b::uuid AND p.tenant_id = %(tenant)b::uuid
      AND (p.epoch, p.fence) <= (i.epoch, i.fence)
"""


def run(stack: Stack, scale: Scale) -> Throughput:
    """Return the line; ``scale.leases`` users must be seeded in the second tenant, whose targets this makes."""
    active, paused = asyncio.run(_make_targets(stack))
    worked: list[Worked] = []
    bare: list[float] = []
    spent: list[dict[str, float]] = []
    with psycopg.connect(stack.superuser_url, autocommit=True) as database:
        for number in range(scale.rounds):
            before = cpu.used_s(stack)
            worked.append(_leases(stack, database, active, scale.leases))
            spent.append(cpu.spent_us(before, cpu.used_s(stack), scale.leases))
            bare.append(_bare(stack, database, paused, fence=number + 1))
    return Throughput(
        name="no-op leases",
        unit="leases",
        rates=tuple(one.per_second for one in worked),
        baselines=(Baseline(f"fenced UPDATE by {BATCH}", tuple(bare)),),
        cpu_us={name: median(one.get(name, 0.0) for one in spent) for name in spent[0]},
    )


async def _make_targets(stack: Stack) -> tuple[UUID, UUID]:
    """Create two targets, which marks every user of the tenant for both, and activate the first."""
    ids: list[UUID] = []
    tenant = str(stack.second_tenant)
    config = pb.ScimTargetConfig(base_url=NOWHERE, bearer_token="never used")
    async with open_channel(stack.grpc_target) as channel:
        admin = ControlPlane(channel, stack.admin_token)
        try:
            for name in ("bench", "bench baseline"):
                request = pb.CreateTargetRequest(tenant_id=tenant, display_name=name, scim=config)
                answer = await admin.targets.CreateTarget(request, metadata=admin.metadata(), timeout=CALL_LIMIT_S)
                ids.append(UUID(answer.target.id))
            activate = pb.ActivateTargetRequest(tenant_id=tenant, id=str(ids[0]))
            await admin.targets.ActivateTarget(activate, metadata=admin.metadata(), timeout=CALL_LIMIT_S)
        except grpc.aio.AioRpcError as err:
            raise BenchError(f"the targets could not be made: {decode(err)}") from err
    return ids[0], ids[1]


def _leases(stack: Stack, database: psycopg.Connection, target: UUID, count: int) -> Worked:
    _raise(database, target)
    _wait_until_queued(stack, count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        worked = runner.run(NoOpWorker(stack.grpc_target, stack.worker_token, SLOTS, count).run())
    behind = _scalar(database, BEHIND, target)
    if behind or worked.lost:
        raise BenchError(f"{behind} of {count} rows are not applied, {worked.lost} leases were lost")
    return worked


def _bare(stack: Stack, database: psycopg.Connection, target: UUID, fence: int) -> float:
    """Return rows a second that one connection writes with the fence check, in batches."""
    _raise(database, target)
    rows = database.execute(KEYS, (target,)).fetchall()
    options = f"{CONNECTION['options']} -c muster.tenants={{{stack.second_tenant}}}"
    with psycopg.connect(stack.batch_url, autocommit=True, options=options) as connection:
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            params = {
                "resources": [row[0] for row in batch],
                "versions": [row[1] for row in batch],
                "epochs": [1] * len(batch),
                "fences": [fence] * len(batch),
                "target": target,
                "tenant": stack.second_tenant,
            }
            connection.execute(FENCED_UPDATE, params, prepare=True)
        rate = len(rows) / (time.perf_counter() - began)
    if behind := _scalar(database, BEHIND, target):
        raise BenchError(f"the baseline left {behind} rows behind")
    return rate


def _raise(database: psycopg.Connection, target: UUID) -> None:
    """Make every row of a target dirty, on a table without the dead rows of the round before."""
    database.execute(RAISE, (target,))
    database.execute("VACUUM ANALYZE provisioning")


def _wait_until_queued(stack: Stack, count: int) -> None:
    deadline = time.monotonic() + QUEUED_LIMIT_S
    while _ready_keys(stack) < count:
        if time.monotonic() > deadline:
            raise BenchError(f"{_ready_keys(stack):g} of {count} keys were queued in {QUEUED_LIMIT_S:g} s")
        time.sleep(POLL_S)


def _ready_keys(stack: Stack) -> float:
    with urllib.request.urlopen(stack.metrics_url, timeout=CALL_LIMIT_S) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith('scim_queue_depth{state="ready"}'):
                return float(line.rpartition(" ")[2])
    return 0.0


def _scalar(database: psycopg.Connection, sql: str, target: UUID) -> int:
    row = database.execute(sql, (target,)).fetchone()
    assert row is not None
    return int(row[0])
