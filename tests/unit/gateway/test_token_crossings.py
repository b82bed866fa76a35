"""Answers of the control plane that cross what the watch stream tells meanwhile, or come late."""

import asyncio

import pytest

from control_plane.client.errors import TokenRefused
from scim_gateway.errors import AuthenticationFailed
from scim_gateway.token_verifier import TokenVerifier
from tests.unit.gateway.test_token_verifier import HERE, OwnedClock, Plane, make, refused, settle


@pytest.fixture
def clock() -> OwnedClock:
    return OwnedClock()


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def verifier(clock: OwnedClock, plane: Plane) -> TokenVerifier:
    return make(clock, plane)


@pytest.mark.parametrize("event", ["dropped", "reset"])
async def test_an_answer_that_crossed_a_revocation_is_not_kept(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, event: str
) -> None:
    verifier.on_reset()
    plane.gate = asyncio.Event()
    asking = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    clock.seconds += 0.01
    if event == "dropped":
        verifier.on_dropped("id of a")
    else:
        verifier.on_reset()
    plane.gate.set()
    await asking
    await verifier.verify("a", HERE)
    assert plane.asked == ["a", "a"]


@pytest.mark.parametrize("is_watched", [True, False])
async def test_a_slow_answer_lets_nobody_in_who_came_long_after_the_question(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane, is_watched: bool
) -> None:
    """The row was read before the token was revoked, and PBKDF2 had to wait: who comes a second later is refused."""
    if is_watched:
        verifier.on_reset()
    plane.gate = asyncio.Event()
    first = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    clock.seconds += 0.1
    if is_watched:
        verifier.on_dropped("id of a")
    clock.seconds += 0.9
    late = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    plane.fails = refused("revoked")
    plane.gate.set()
    assert (await first).token_id == "id of a"
    with pytest.raises(AuthenticationFailed, match="revoked"):
        await late


async def test_a_slow_answer_that_the_stream_vouches_for_is_for_all_who_wait(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    plane.gate = asyncio.Event()
    first = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    clock.seconds += 3
    verifier.on_heartbeat()
    late = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    plane.gate.set()
    await asyncio.gather(first, late)
    assert plane.asked == ["a"]


async def test_a_refusal_that_crossed_a_restoration_is_not_kept(
    verifier: TokenVerifier, clock: OwnedClock, plane: Plane
) -> None:
    verifier.on_reset()
    plane.fails, plane.gate = TokenRefused("no", "tenant_deleted", "tenant"), asyncio.Event()
    asking = asyncio.ensure_future(verifier.verify("a", HERE))
    await settle()
    clock.seconds += 0.01
    verifier.on_tenant_dropped("tenant")
    plane.fails = None
    plane.gate.set()
    with pytest.raises(AuthenticationFailed):
        await asking
    assert (await verifier.verify("a", HERE)).tenant_id == "tenant"
