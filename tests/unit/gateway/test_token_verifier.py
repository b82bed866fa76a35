"""When a verified token counts, and when it has to be asked about again. Time and answers belong to the test."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from prometheus_client import CollectorRegistry

from control_plane.client.errors import TokenRefused, Unavailable
from scim_gateway.caller import Caller
from scim_gateway.errors import AuthenticationFailed, Throttled
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.token_verifier import TokenVerifier

HERE = "192.0.2.1"
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
        self.tenants: dict[str, str] = {}
        self.fails: Exception | None = None
        self.expires_at: datetime | None = None
        self.gate: asyncio.Event | None = None

    async def ask(self, presented: str, _address: str) -> Caller:
        self.asked.append(presented)
        fails = self.fails
        if self.gate is not None:
            await self.gate.wait()
        if fails is not None:
            raise fails
        return Caller(
            self.tenants.get(presented, "tenant"), f"id of {presented}", "key", frozenset({1, 2}), self.expires_at
        )


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
    await verifier.verify("a", HERE)
    for _ in range(100):
        clock.seconds += 1
        verifier.on_heartbeat()
        await verifier.verify("a", HERE)
    assert plane.asked == ["a"]
    verifier.on_dropped("id of a")
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


async def test_dropping_one_token_leaves_the_others(verifier: TokenVerifier, clock: OwnedClock, plane: Plane) -> None:
    verifier.on_reset()
    await verifier.verify("a", HERE)
    await verifier.verify("b", HERE)
    verifier.on_dropped("id of a")
    clock.seconds += 0.8
    await verifier.verify("b", HERE)
    assert plane.asked == ["a", "b"]


async def test_reset_drops_everything(verifier: TokenVerifier, plane: Plane) -> None:
    verifier.on_reset()
    await verifier.verify("a", HERE)
    verifier.on_reset()
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


@pytest.mark.parametrize("how", ["never connected", "cut", "silent"])
async def test_without_the_stream_an_entry_counts_for_less_than_a_second(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, how: str
) -> None:
    if how != "never connected":
        verifier.on_reset()
    await verifier.verify("a", HERE)
    if how == "cut":
        verifier.on_cut()
    clock.seconds += 0.7
    await verifier.verify("a", HERE)
    assert plane.asked == ["a"]
    clock.seconds += 0.2 if how != "silent" else 2.5
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


async def test_without_stream_and_control_plane_it_fails_closed_but_not_as_refused(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    await verifier.verify("a", HERE)
    verifier.on_cut()
    plane.fails = Unavailable(grpc.StatusCode.UNAVAILABLE, "down")
    clock.seconds += 1.1
    with pytest.raises(Unavailable):
        await verifier.verify("a", HERE)
    plane.fails = None
    assert (await verifier.verify("a", HERE)).tenant_id == "tenant"


async def test_an_expired_entry_is_asked_about_again(verifier: TokenVerifier, clock: OwnedClock, plane: Plane) -> None:
    verifier.on_reset()
    plane.expires_at = clock.now() + timedelta(seconds=0.5)
    await verifier.verify("a", HERE)
    clock.seconds += 0.5
    plane.fails = refused("expired")
    with pytest.raises(AuthenticationFailed) as caught:
        await verifier.verify("a", HERE)
    assert caught.value.reason == "expired"


async def test_refusals_are_remembered_for_ten_seconds(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    plane.fails = refused()
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            await verifier.verify("a", HERE)
    assert plane.asked == ["a"]
    clock.seconds += 10
    plane.fails = None
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


async def test_one_question_for_all_who_come_at_once(verifier: TokenVerifier, plane: Plane) -> None:
    plane.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(verifier.verify("a", HERE)) for _ in range(20)]
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
    return await asyncio.gather(*(verifier.verify("a", HERE) for _ in range(count)), return_exceptions=True)


async def test_when_the_one_who_asks_is_cancelled_another_asks(verifier: TokenVerifier, plane: Plane) -> None:
    plane.gate = asyncio.Event()
    leader = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    follower = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    leader.cancel()
    plane.gate.set()
    assert (await follower).tenant_id == "tenant"
    assert plane.asked == ["a", "a"]
    assert leader.cancelled()


async def test_shortly_after_a_revocation_another_control_planes_yes_is_not_trusted_for_long(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    verifier.on_dropped("id of a")
    clock.seconds += 1
    await verifier.verify("a", HERE)
    clock.seconds += 1.1
    verifier.on_heartbeat()
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


async def test_the_cache_is_bounded_and_forgets_the_least_used(clock: OwnedClock, plane: Plane) -> None:
    verifier = make(clock, plane, capacity=2)
    verifier.on_reset()
    for token in ("a", "b", "a", "c"):
        await verifier.verify(token, HERE)
    plane.asked.clear()
    for token in ("a", "c", "b"):
        await verifier.verify(token, HERE)
    assert plane.asked == ["b"]


async def test_refused_tokens_do_not_fill_memory(
    verifier: TokenVerifier, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scim_gateway.token_verifier.MAX_REFUSED", 3)
    plane.fails = refused()
    for number in range(10):
        with pytest.raises(AuthenticationFailed):
            await verifier.verify(str(number), HERE)
    assert len(verifier._refused) == 3


async def test_more_drops_than_can_be_remembered_make_what_is_being_asked_doubtful(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scim_gateway.token_verifier.MAX_DROPS", 2)
    verifier.on_reset()
    plane.gate = asyncio.Event()
    asking = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    clock.seconds += 0.01
    for number in range(3):
        verifier.on_dropped(str(number))
    plane.gate.set()
    await asking
    clock.seconds += 1.1
    verifier.on_heartbeat()
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


async def test_a_tenants_tokens_are_dropped_together_and_others_are_not(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    plane.tenants = {"c": "another"}
    for token in ("a", "b", "c"):
        await verifier.verify(token, HERE)
    verifier.on_tenant_dropped("tenant")
    clock.seconds += 0.8
    for token in ("a", "b", "c"):
        await verifier.verify(token, HERE)
    assert plane.asked == ["a", "b", "c", "a", "b"]
    verifier.on_heartbeat()
    clock.seconds += 1.1
    await verifier.verify("a", HERE)
    assert plane.asked[5:] == ["a"], "shortly after a change, another control plane's word is not trusted for long"


async def test_a_restored_tenants_tokens_work_at_once(verifier: TokenVerifier, plane: Plane) -> None:
    verifier.on_reset()
    plane.fails = TokenRefused("no", "tenant_deleted", "tenant")
    with pytest.raises(AuthenticationFailed):
        await verifier.verify("a", HERE)
    plane.fails = None
    verifier.on_tenant_dropped("tenant")
    assert (await verifier.verify("a", HERE)).tenant_id == "tenant"


async def test_a_token_that_was_not_looked_at_is_throttled_and_not_refused(
    verifier: TokenVerifier, plane: Plane
) -> None:
    plane.fails = refused("throttled")
    with pytest.raises(Throttled):
        await verifier.verify("a", HERE)
    plane.fails = None
    assert (await verifier.verify("a", HERE)).tenant_id == "tenant"


async def test_a_wrong_network_is_remembered_for_its_address_only(verifier: TokenVerifier, plane: Plane) -> None:
    plane.fails = refused("network")
    for _ in range(2):
        with pytest.raises(AuthenticationFailed):
            await verifier.verify("a", HERE)
    assert plane.asked == ["a"]
    plane.fails = None
    assert (await verifier.verify("a", "198.51.100.1")).tenant_id == "tenant"


async def test_those_who_wait_elsewhere_do_not_share_a_wrong_network(verifier: TokenVerifier, plane: Plane) -> None:
    plane.gate, plane.fails = asyncio.Event(), refused("network")
    here = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    elsewhere = asyncio.ensure_future(verifier.verify("a", "198.51.100.1"))
    await settle()
    plane.fails = None
    plane.gate.set()
    with pytest.raises(AuthenticationFailed):
        await here
    assert (await elsewhere).tenant_id == "tenant"


async def test_bogus_tokens_are_throttled_but_those_that_were_good_are_asked_about(
    verifier: TokenVerifier, plane: Plane
) -> None:
    verifier.on_reset()
    await verifier.verify("good", HERE)
    plane.fails = refused()
    outcomes = await asyncio.gather(*(verifier.verify(f"bogus {n}", HERE) for n in range(500)), return_exceptions=True)
    plane.fails = None
    kinds = {kind: sum(type(each) is kind for each in outcomes) for kind in (AuthenticationFailed, Throttled)}
    assert kinds == {AuthenticationFailed: 50, Throttled: 450}
    assert len(plane.asked) == 51
    verifier.on_reset()
    assert (await verifier.verify("good", HERE)).tenant_id == "tenant"
    with pytest.raises(Throttled):
        await verifier.verify("new", HERE)
