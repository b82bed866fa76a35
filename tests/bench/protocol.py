"""Scenario 5: what must not depend on how large the tenant or the group is, and bulk.

Subject and baseline are the same request: against a tenant of 100,000 users and one of 10,000, against a group of
100,000 members and one of 10. Bulk is compared with the same users sent one by one.
"""

import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import orjson

from tests.bench.dev_stack import Stack
from tests.bench.errors import BenchError
from tests.bench.http_load import Load, Measured, measure
from tests.bench.report import MB, Baseline, StreamedGet, Throughput
from tests.bench.scale import Scale
from tests.bench.seed import BIG_GROUP, SMALL_GROUP
from tests.bench.users import (
    PLACEHOLDER,
    create_template,
    filter_request,
    patch_request,
    request,
    seeded_id,
    user_document,
)

STREAM_LIMIT = 64 * MB
CONNECTIONS = 16
# Above the keys of every other scenario: their userNames are taken.
FIRST_KEY = 500_000_000
TITLES = ("Retail Manager", "Senior Retail Manager")
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

Templates = Sequence[Sequence[bytes]]


def run(stack: Stack, scale: Scale) -> Iterator[Throughput]:
    """Yield one line for each comparison; ``seed_protocol`` has been run."""
    small, large = _short(scale.small_tenant), _short(scale.large_tenant)
    for name, make in (("filter eq", _filters), ("PATCH user", _patches), ("page of 100", _pages)):
        for connections in (1, CONNECTIONS):
            yield _pair(
                stack,
                scale,
                f"{name}, {large} c={connections}",
                large=make(stack.second_scim_token, scale.large_tenant),
                small=make(stack.scim_token, scale.small_tenant),
                baseline=f"{small} users",
                connections=connections,
            )
    yield _pair(
        stack,
        scale,
        f"member, {_short(scale.large_group)} c=1",
        large=_member_changes(stack.second_scim_token, BIG_GROUP, scale.large_tenant),
        small=_member_changes(stack.second_scim_token, SMALL_GROUP, scale.large_tenant),
        baseline="group of 10",
        connections=1,
    )
    yield _bulk(stack, scale)


def streamed_get(stack: Stack, scale: Scale) -> StreamedGet:
    """Read a large group and tell by how much the gateway's resident memory rose at its highest."""
    process = stack.process("gateway-1")
    before = process.memory_info().rss
    status = Path(f"/proc/{process.pid}/status")
    # Resets the high-water mark (proc(5), clear_refs).
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", stack.http_port, timeout=60)
    headers = {"Authorization": f"Bearer {stack.second_scim_token}"}
    connection.request("GET", f"/scim/v2/Groups/{BIG_GROUP}", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    # A round that ended between an add and its remove has left somebody behind.
    if answer.status != 200 or len(orjson.loads(body)["members"]) < scale.large_group:
        raise BenchError(f"the large group did not come whole: {answer.status}, {len(body)} bytes")
    line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
    highest = int(line.split()[1]) * 1024
    return StreamedGet(scale.large_group, len(body), seconds, max(0, highest - before), STREAM_LIMIT)


def _pair(
    stack: Stack, scale: Scale, name: str, *, large: Templates, small: Templates, baseline: str, connections: int
) -> Throughput:
    """Measure the same request against large and small in turn."""
    subject: list[Measured] = []
    compared: list[Measured] = []
    for _ in range(scale.rounds):
        for templates, found in ((large, subject), (small, compared)):
            found.append(measure(Load(stack.http_port, connections, templates, scale.seconds, scale.warm_up_s)))
    return Throughput(
        name=name,
        unit="req/s",
        rates=tuple(one.per_second for one in subject),
        baselines=(Baseline(baseline, tuple(one.per_second for one in compared)),),
        p50_ms=tuple(one.p50_ms for one in subject),
        p99_ms=tuple(one.p99_ms for one in subject),
    )


def _bulk(stack: Stack, scale: Scale) -> Throughput:
    """Measure users created a second, by bulk and one by one."""
    bulk, single = [_bulk_template(stack.scim_token, scale.bulk)], [create_template(stack.scim_token)]
    in_bulk: list[Measured] = []
    one_by_one: list[float] = []
    key = FIRST_KEY
    for _ in range(scale.rounds):
        in_bulk.append(measure(Load(stack.http_port, 1, bulk, requests=2, first_key=key)))
        load = Load(stack.http_port, CONNECTIONS, single, scale.seconds, scale.warm_up_s, first_key=key + 10)
        measured = measure(load)
        one_by_one.append(measured.per_second)
        key = measured.next_key + 10
    return Throughput(
        name=f"bulk of {scale.bulk:,}",
        unit="users/s",
        rates=tuple(one.per_second * scale.bulk for one in in_bulk),
        baselines=(Baseline(f"POSTs c={CONNECTIONS}", tuple(one_by_one)),),
        p50_ms=tuple(one.p50_ms for one in in_bulk),
        p99_ms=tuple(one.p99_ms for one in in_bulk),
    )


def _short(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 1_000 else str(count)


def _spread(users: int, make: Callable[[int], bytes]) -> list[list[bytes]]:
    """Return requests on 2,000 users all over the tenant."""
    step = max(1, users // 2_000)
    return [[make(number)] for number in range(0, users, step)]


def _filters(token: str, users: int) -> Templates:
    return _spread(users, lambda number: filter_request(token, number))


def _patches(token: str, users: int) -> Templates:
    def patch(title: str) -> Callable[[int], bytes]:
        return lambda number: patch_request(token, number, title)

    return [one for title in TITLES for one in _spread(users, patch(title))]


def _pages(token: str, users: int) -> Templates:
    return [[request("GET", f"/scim/v2/Users?startIndex={at}&count=100", token)] for at in (1, 101, 201, users // 2)]


def _member_changes(token: str, group: UUID, users: int) -> Templates:
    """Return requests that add somebody and remove them again, so that the group keeps its size."""
    changes: list[list[bytes]] = []
    for number in range(users - 50, users):
        added = {"op": "add", "path": "members", "value": [{"value": str(seeded_id(number))}]}
        removed = {"op": "remove", "path": f'members[value eq "{seeded_id(number)}"]'}
        changes += [[_change(token, group, added)], [_change(token, group, removed)]]
    return changes


def _change(token: str, group: UUID, operation: Mapping[str, object]) -> bytes:
    body = orjson.dumps({"schemas": [PATCH_OP], "Operations": [operation]})
    return request("PATCH", f"/scim/v2/Groups/{group}", token, body)


def _bulk_template(token: str, users: int) -> list[bytes]:
    operations = []
    for number in range(users):
        document = {**user_document(PLACEHOLDER.decode()), "userName": f"bulk.{number}.{PLACEHOLDER.decode()}"}
        operations.append({"method": "POST", "path": "/Users", "bulkId": f"b{number}", "data": document})
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    return request("POST", "/scim/v2/Bulk", token, orjson.dumps(body)).split(PLACEHOLDER)
