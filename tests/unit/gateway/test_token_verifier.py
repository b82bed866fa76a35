"""When a verified token counts, and when it has to be asked about again. Time and answers belong to the test."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from prometheus_client import CollectorRegistry

from control_plane.client.errors import TokenRefused, Unavailable
from scim_gateway.errors import AuthenticationFailed
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.token_verifier import Caller, TokenVerifier

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class OwnedClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def random_bytes(self, count: int) -> bytes:
        return b"k" * count

    def jitter(self) -> float:
        return 0.0


class Plane:
    """Answers to "whose token is this?": by default everybody's token is good."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: Exception | None = None
        self.expires_at: datetime | None = None
        self.gate: asyncio.Event | None = None

    async def ask(self, presented: str) -> Caller:
        self.asked.append(presented)
        fails = self.fails
        if self.gate is not None:
            await self.gate.wait()
        if fails is not None:
            raise fails
        return Caller("tenant", f"id of {presented}", "key", frozenset({1, 2}), self.expires_at)


@pytest.fixture
def clock() -> OwnedClock:
    return OwnedClock()


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def verifier(clock: OwnedClock, plane: Plane) -> TokenVerifier:
    return make(clock, plane)


def make(clock: OwnedClock, plane: Plane, capacity: int = 10) -> TokenVerifier:
    return TokenVerifier(plane.ask, clock, GatewayMetrics(CollectorRegistry()), capacity)


async def settle() -> None:
    """Let everything run that can run without new events."""
    for _ in range(10):
        await asyncio.sleep(0)


def refused(cause: str = "unknown") -> TokenRefused:
    return TokenRefused("no", cause, "unknown")


async def test_a_watched_entry_counts_until_it_is_dropped(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    await verifier.verify("a")
    for _ in range(100):
        clock.seconds += 1
        verifier.on_heartbeat()
        await verifier.verify("a")
    assert plane.asked == ["a"]
    verifier.on_dropped("id of a")
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


async def test_dropping_one_token_leaves_the_others(verifier: TokenVerifier, clock: OwnedClock, plane: Plane) -> None:
    verifier.on_reset()
    await verifier.verify("a")
    await verifier.verify("b")
    verifier.on_dropped("id of a")
    clock.seconds += 2
    await verifier.verify("b")
    assert plane.asked == ["a", "b"]


async def test_reset_drops_everything(verifier: TokenVerifier, plane: Plane) -> None:
    verifier.on_reset()
    await verifier.verify("a")
    verifier.on_reset()
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


@pytest.mark.parametrize("how", ["never connected", "cut", "silent"])
async def test_without_the_stream_an_entry_counts_for_a_second(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, how: str
) -> None:
    if how != "never connected":
        verifier.on_reset()
    await verifier.verify("a")
    if how == "cut":
        verifier.on_cut()
    clock.seconds += 0.9
    await verifier.verify("a")
    assert plane.asked == ["a"]
    clock.seconds += 0.2 if how != "silent" else 2.5
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


async def test_without_stream_and_control_plane_it_fails_closed_but_not_as_refused(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    await verifier.verify("a")
    verifier.on_cut()
    plane.fails = Unavailable(grpc.StatusCode.UNAVAILABLE, "down")
    clock.seconds += 1.1
    with pytest.raises(Unavailable):
        await verifier.verify("a")
    plane.fails = None
    assert (await verifier.verify("a")).tenant_id == "tenant"


async def test_an_expired_entry_is_asked_about_again(verifier: TokenVerifier, clock: OwnedClock, plane: Plane) -> None:
    verifier.on_reset()
    plane.expires_at = clock.now() + timedelta(seconds=0.5)
    await verifier.verify("a")
    clock.seconds += 0.5
    plane.fails = refused("expired")
    with pytest.raises(AuthenticationFailed) as caught:
        await verifier.verify("a")
    assert caught.value.reason == "expired"


async def test_refusals_are_remembered_for_ten_seconds(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    plane.fails = refused()
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            await verifier.verify("a")
    assert plane.asked == ["a"]
    clock.seconds += 10
    plane.fails = None
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


async def test_one_question_for_all_who_come_at_once(verifier: TokenVerifier, plane: Plane) -> None:
    plane.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(verifier.verify("a")) for _ in range(20)]
        await settle()
        plane.gate.set()
    assert plane.asked == ["a"]
    assert {task.result().tenant_id for task in tasks} == {"tenant"}


@pytest.mark.parametrize("failure", [refused(), Unavailable(grpc.StatusCode.UNAVAILABLE, "down")])
async def test_those_who_wait_share_the_failure(verifier: TokenVerifier, plane: Plane, failure: Exception) -> None:
    plane.gate, plane.fails = asyncio.Event(), failure
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_all(verifier, 5))
        await settle()
        plane.gate.set()
    assert plane.asked == ["a"]
    assert {type(outcome) for outcome in waiting.result()} == {
        AuthenticationFailed if isinstance(failure, TokenRefused) else Unavailable
    }


async def _all(verifier: TokenVerifier, count: int) -> list[Caller | BaseException]:
    return await asyncio.gather(*(verifier.verify("a") for _ in range(count)), return_exceptions=True)


async def test_when_the_one_who_asks_is_cancelled_another_asks(verifier: TokenVerifier, plane: Plane) -> None:
    plane.gate = asyncio.Event()
    leader = asyncio.ensure_future(verifier.verify("a"))
    await settle()
    follower = asyncio.ensure_future(verifier.verify("a"))
    await settle()
    leader.cancel()
    plane.gate.set()
    assert (await follower).tenant_id == "tenant"
    assert plane.asked == ["a", "a"]
    assert leader.cancelled()


@pytest.mark.parametrize("event", ["dropped", "reset"])
async def test_an_answer_that_crossed_a_revocation_counts_for_a_second_only(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, event: str
) -> None:
    verifier.on_reset()
    plane.gate = asyncio.Event()
    asking = asyncio.ensure_future(verifier.verify("a"))
    await settle()
    clock.seconds += 0.01
    if event == "dropped":
        verifier.on_dropped("id of a")
    else:
        verifier.on_reset()
    plane.gate.set()
    await asking
    clock.seconds += 1.1
    verifier.on_heartbeat()
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


async def test_shortly_after_a_revocation_another_control_planes_yes_is_not_trusted_for_long(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    verifier.on_dropped("id of a")
    clock.seconds += 1
    await verifier.verify("a")
    clock.seconds += 1.1
    verifier.on_heartbeat()
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]


async def test_the_cache_is_bounded_and_forgets_the_least_used(clock: OwnedClock, plane: Plane) -> None:
    verifier = make(clock, plane, capacity=2)
    verifier.on_reset()
    for token in ("a", "b", "a", "c"):
        await verifier.verify(token)
    plane.asked.clear()
    for token in ("a", "c", "b"):
        await verifier.verify(token)
    assert plane.asked == ["b"]


async def test_refused_tokens_do_not_fill_memory(
    verifier: TokenVerifier, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scim_gateway.token_verifier.MAX_REFUSED", 3)
    plane.fails = refused()
    for number in range(10):
        with pytest.raises(AuthenticationFailed):
            await verifier.verify(str(number))
    assert len(verifier._refused) == 3


async def test_more_drops_than_can_be_remembered_make_what_is_being_asked_doubtful(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scim_gateway.token_verifier.MAX_DROPS", 2)
    verifier.on_reset()
    plane.gate = asyncio.Event()
    asking = asyncio.ensure_future(verifier.verify("a"))
    await settle()
    clock.seconds += 0.01
    for number in range(3):
        verifier.on_dropped(str(number))
    plane.gate.set()
    await asking
    clock.seconds += 1.1
    verifier.on_heartbeat()
    await verifier.verify("a")
    assert plane.asked == ["a", "a"]
