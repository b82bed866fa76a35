"""What is told of tokens: counted once, kept until it has arrived, never without bounds."""

import asyncio
from collections.abc import Iterable

import grpc
import pytest

from control_plane.client.errors import CallFailed, Unavailable
from protos.tenancy.v1.tenancy_pb2 import ReportTokenUseRequest
from scim_gateway.caller import Caller, Client
from scim_gateway.reports import TokenReports
from tests.fakes.clock import FakeClock

HERE, THERE = Client("192.0.2.1", "okta/1"), Client("192.0.2.2", "okta/2")
DOWN = Unavailable(grpc.StatusCode.UNAVAILABLE, "down")


class Plane:
    """Takes reports, unless it fails."""

    def __init__(self, fails: Iterable[Exception] = ()) -> None:
        self.told: list[ReportTokenUseRequest] = []
        self.fails = list(fails)

    async def send(self, message: ReportTokenUseRequest) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.told.append(message)


def caller(token: str) -> Caller:
    return Caller("tenant", token, "key", frozenset(), None)


async def test_uses_are_counted_by_token_and_the_last_client_is_told() -> None:
    plane, clock = Plane(), FakeClock()
    reports = TokenReports(plane.send, clock)
    reports.used(caller("a"), HERE)
    reports.used(caller("b"), HERE)
    clock.advance(5)
    reports.used(caller("a"), THERE)
    assert await reports.run_once() == 2
    uses = {use.token_id: use for use in plane.told[0].uses}
    assert {token: use.count for token, use in uses.items()} == {"a": 2, "b": 1}
    assert (uses["a"].address, uses["a"].user_agent) == ("192.0.2.2", "okta/2")
    assert uses["a"].time.ToDatetime().second == 5
    assert await reports.run_once() == 0
    assert len(plane.told) == 1


async def test_refusals_are_counted_by_key_id_address_and_cause() -> None:
    plane = Plane()
    reports = TokenReports(plane.send, FakeClock())
    for client, cause in ((HERE, "revoked"), (HERE, "revoked"), (THERE, "revoked"), (HERE, "throttled")):
        reports.refused("k" * 12, client, cause)
    reports.refused("k" * 12, HERE, "unknown")
    reports.refused("k" * 12, HERE, "malformed")
    assert await reports.run_once() == 3
    told = [(one.address, one.cause, one.count) for message in plane.told for one in message.refusals]
    assert sorted(told) == [("192.0.2.1", "revoked", 2), ("192.0.2.1", "throttled", 1), ("192.0.2.2", "revoked", 1)]


async def test_what_did_not_arrive_is_told_the_next_time_with_what_came_since() -> None:
    plane, clock = Plane([DOWN]), FakeClock()
    reports = TokenReports(plane.send, clock)
    reports.used(caller("a"), HERE)
    reports.refused("k" * 12, HERE, "revoked")
    assert await reports.run_once() == 0
    clock.advance(1)
    reports.used(caller("a"), THERE)
    assert await reports.run_once() == 2
    assert (plane.told[0].uses[0].count, plane.told[0].uses[0].address) == (2, "192.0.2.2")
    assert plane.told[0].refusals[0].count == 1


async def test_a_report_that_is_refused_is_not_sent_for_ever() -> None:
    plane = Plane([CallFailed(grpc.StatusCode.INVALID_ARGUMENT, "no")])
    reports = TokenReports(plane.send, FakeClock())
    reports.used(caller("a"), HERE)
    assert await reports.run_once() == 0
    assert await reports.run_once() == 0
    assert plane.told == []


async def test_a_cancelled_report_is_kept() -> None:
    plane = Plane()
    plane.fails = [asyncio.CancelledError()]  # type: ignore[list-item]  # not an Exception, and that is the point
    reports = TokenReports(plane.send, FakeClock())
    reports.used(caller("a"), HERE)
    with pytest.raises(asyncio.CancelledError):
        await reports.run_once()
    assert await reports.run_once() == 1


async def test_calls_are_bounded_and_so_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scim_gateway.reports.MAX_IN_CALL", 3)
    monkeypatch.setattr("scim_gateway.reports.MAX_USES", 7)
    monkeypatch.setattr("scim_gateway.reports.MAX_THROTTLED", 2)
    plane = Plane()
    reports = TokenReports(plane.send, FakeClock())
    for number in range(20):
        reports.used(caller(str(number)), HERE)
        reports.refused(f"{number:012}", HERE, "throttled")
    assert await reports.run_once() == 7 + 2
    assert [len(message.uses) for message in plane.told] == [3, 3, 1]
    assert {use.token_id for message in plane.told for use in message.uses} == {str(n) for n in range(13, 20)}
