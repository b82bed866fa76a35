"""Who calls, as far as no database is asked: fixed tokens and certificates."""

from typing import Any, cast

import pytest

from control_plane.domain.identities import Identity, Role
from control_plane.domain.peers import Peer, PeerKind
from control_plane.runtime.settings import SettingsError
from control_plane.services.authentication import Authenticator, FixedTokens, Presented
from control_plane.services.key_checks import CredentialRefused

ADMIN, GATEWAY, WORKER = "admin" * 10, "gateway" * 10, "worker" * 10
TOKENS = {Role.OWNER: ADMIN, Role.GATEWAY: GATEWAY, Role.WORKER: WORKER}


class NoKeys:
    """No API key is known."""

    async def identify(self, _text: str, _address: str, _spiffe_id: str) -> Identity:
        raise CredentialRefused("unknown")


async def identify(bearer: str, kind: PeerKind | None = None, tokens: dict[Role, str] = TOKENS) -> Identity:
    peer = Peer(kind, "one", f"spiffe://muster/{kind.value}/one") if kind else None
    known = Authenticator(cast("Any", None), FixedTokens(tokens), cast("Any", NoKeys()), None)
    return await known.identify(Presented(bearer, peer, "192.0.2.7"))


@pytest.mark.parametrize(("bearer", "role"), [(ADMIN, Role.OWNER), (GATEWAY, Role.GATEWAY), (WORKER, Role.WORKER)])
async def test_without_a_certificate_the_token_says_who_calls(bearer: str, role: Role) -> None:
    found = await identify(bearer)
    assert (found.role, found.peer) == (role, "")


@pytest.mark.parametrize(
    ("kind", "fits", "role"),
    [(PeerKind.GATEWAY, GATEWAY, Role.GATEWAY), (PeerKind.WORKER, WORKER, Role.WORKER)],
)
async def test_a_process_with_a_certificate_needs_no_token_and_may_send_its_own(
    kind: PeerKind, fits: str, role: Role
) -> None:
    for bearer in ("", fits):
        found = await identify(bearer, kind)
        assert (found.role, found.id, found.peer) == (role, "one", f"spiffe://muster/{kind.value}/one")
    for bearer in {ADMIN, GATEWAY, WORKER, "nonsense"} - {fits}:
        with pytest.raises(CredentialRefused):
            await identify(bearer, kind)


async def test_an_administrators_certificate_needs_a_persons_token() -> None:
    found = await identify(ADMIN, PeerKind.ADMIN)
    assert (found.role, found.id, found.peer) == (Role.OWNER, "admin", "spiffe://muster/admin/one")
    for bearer in ("", GATEWAY, WORKER, "nonsense"):
        with pytest.raises(CredentialRefused):
            await identify(bearer, PeerKind.ADMIN)


async def test_a_token_that_is_not_configured_is_off() -> None:
    off = dict.fromkeys(TOKENS, "")
    for bearer in ("", ADMIN, "nonsense"):
        with pytest.raises(CredentialRefused):
            await identify(bearer, None, off)


async def test_an_oidc_token_is_nothing_where_no_provider_is_configured() -> None:
    with pytest.raises(CredentialRefused, match="refused"):
        await identify("eyJh.eyJi.c2ln")


@pytest.mark.parametrize("tokens", [{Role.OWNER: "short"}, {Role.OWNER: ADMIN, Role.WORKER: ADMIN}])
def test_a_short_token_and_one_for_two_roles_are_refused_at_the_start(tokens: dict[Role, str]) -> None:
    with pytest.raises(SettingsError):
        FixedTokens(tokens)
