"""Scenario 4: resident memory of gateway, control plane and one worker: idle, and while requests go through."""

from tests.bench.dev_stack import Stack
from tests.bench.http_load import Load, measure
from tests.bench.report import MB, MemoryUse
from tests.bench.scale import Scale
from tests.bench.users import filter_request, get_request, patch_request

LIMIT = 400 * MB
PROCESSES = ("gateway-1", "control-plane-1", "worker-1")
CONNECTIONS = 16
TITLES = ("Retail Manager", "Senior Retail Manager")


def idle(stack: Stack) -> dict[str, int]:
    """Return what each process has in memory now."""
    return {name: stack.process(name).memory_info().rss for name in PROCESSES}


def run(stack: Stack, before: dict[str, int], scale: Scale) -> MemoryUse:
    """Send a mix of requests and look at the memory now and then; ``before`` is :func:`idle` on a fresh stack."""
    requests = _mixed(stack.scim_token, scale.users)
    after, sent = [], 0
    for count in (scale.memory_first, *[scale.memory_step] * scale.memory_steps):
        measured = measure(Load(stack.http_port, CONNECTIONS, requests, requests=count, first_key=sent))
        sent = measured.next_key
        after.append((sent, idle(stack)))
    return MemoryUse(LIMIT, before, tuple(after))


def _mixed(token: str, users: int) -> list[list[bytes]]:
    """Return GET, filter and PATCH of each user in turn; the second round of PATCHes undoes the first."""
    return [
        [request]
        for title in TITLES
        for number in range(users)
        for request in (
            get_request(token, number),
            filter_request(token, number),
            patch_request(token, number, title),
        )
    ]
