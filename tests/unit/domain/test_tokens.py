"""SCIM tokens: which text is one, the PBKDF2 record, when one works, limits and rotations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from control_plane.domain.errors import FailedPrecondition, InvalidArgument, TokenRefused
from control_plane.domain.ids import TenantId, TokenId
from control_plane.domain.tenants import Limits, Tenant, TenantState
from control_plane.domain.tokens import (
    Overlap,
    Scope,
    Token,
    Verified,
    end_after,
    hash_token,
    iterations_of,
    matches,
    normal_networks,
    parse,
    refuse_beyond_limit,
    refuse_unless_rotatable,
    refuse_unless_valid,
)
from control_plane.scim.bearer import compose

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOKEN = Token(TokenId(UUID(int=1)), TenantId(UUID(int=2)), "k", "", (Scope.READ,), "h", NOW, None, None, None)
TENANT = Tenant(TOKEN.tenant, "Acme", NOW)


@pytest.mark.parametrize("env", ["live", "test", "dev"])
def test_a_scim_token_parses(env: str) -> None:
    made = compose(env, bytes(range(48)))
    assert parse(made.text) == made


@pytest.mark.parametrize("text", ["hello", compose("live", bytes(48)).text[:-1] + "_", compose("op", bytes(48)).text])
def test_anything_else_is_malformed_api_keys_too(text: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        parse(text)
    assert refused.value.cause == "malformed"


def test_the_record_matches_its_token_only() -> None:
    stored = hash_token("a", b"s" * 16, 10)
    assert stored.startswith("pbkdf2-sha256$10$")
    assert iterations_of(stored) == 10
    assert matches("a", stored)
    assert not matches("b", stored)
    with pytest.raises(ValueError, match="unknown token hash md5"):
        matches("a", stored.replace("pbkdf2-sha256", "md5"))


@pytest.mark.parametrize(
    ("changes", "state", "cause"),
    [
        ({}, TenantState.ACTIVE, None),
        ({}, TenantState.SUSPENDED, None),  # the gateway answers 403
        ({"expires_at": NOW}, TenantState.ACTIVE, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, TenantState.ACTIVE, None),
        ({"revoked_at": NOW}, TenantState.ACTIVE, "revoked"),
        ({}, TenantState.DELETED, "tenant_deleted"),
        ({"allowed_networks": ("192.0.2.0/24",)}, TenantState.ACTIVE, None),
        ({"allowed_networks": ("10.0.0.0/8",)}, TenantState.ACTIVE, "network"),
    ],
)
def test_validity(changes: dict[str, object], state: TenantState, cause: str | None) -> None:
    found = Verified(replace(TOKEN, **changes), state, Limits())  # type: ignore[arg-type]  # test data
    if cause is None:
        refuse_unless_valid(found, "192.0.2.1", NOW)
        return
    with pytest.raises(TokenRefused) as refused:
        refuse_unless_valid(found, "192.0.2.1", NOW)
    assert (refused.value.cause, refused.value.tenant) == (cause, str(TOKEN.tenant))


def test_networks_are_stored_once_and_a_wrong_one_is_named() -> None:
    assert normal_networks(["10.0.0.0/8", "192.0.2.1", "192.0.2.1/32"]) == ("10.0.0.0/8", "192.0.2.1/32")
    with pytest.raises(InvalidArgument, match=r"allowed_networks: '10\.0\.0\.1/8' has bits behind its prefix"):
        normal_networks(["192.0.2.1", "10.0.0.1/8"])


def test_the_limit_names_itself_and_the_tokens_in_the_way() -> None:
    refuse_beyond_limit([TOKEN], TENANT, 2)
    with pytest.raises(FailedPrecondition, match=r"2 active tokens \(limits.max_active_tokens\) and has 2: a, b"):
        refuse_beyond_limit([replace(TOKEN, key_id="a"), replace(TOKEN, key_id="b")], TENANT, 2)


def test_a_rotation_may_be_repeated_until_the_successor_was_used() -> None:
    refuse_unless_rotatable(TOKEN, [replace(TOKEN, key_id="next")], NOW)
    with pytest.raises(FailedPrecondition, match="its successor next was used at 2026-01-01 00:00:00 UTC"):
        refuse_unless_rotatable(TOKEN, [replace(TOKEN, key_id="next", last_used_at=NOW)], NOW)
    ended = replace(TOKEN, expires_at=NOW)
    refuse_unless_rotatable(ended, [replace(TOKEN, key_id="next")], NOW)
    assert end_after(ended, Overlap(), NOW) == NOW  # and it does not come back
    with pytest.raises(FailedPrecondition, match="revoked or expired"):
        refuse_unless_rotatable(ended, [], NOW)
    for gone in (replace(TOKEN, revoked_at=NOW), replace(ended, created_at=NOW - DAY, ttl_s=60)):
        with pytest.raises(FailedPrecondition, match="revoked or expired"):
            refuse_unless_rotatable(gone, [replace(TOKEN, key_id="next")], NOW)


@pytest.mark.parametrize(
    ("ttl_s", "overlap", "ends"),
    [
        (None, Overlap(), NOW + DAY),
        (None, Overlap(timedelta(0)), NOW),
        (None, Overlap(until_revoked=True), None),
        (3600, Overlap(), NOW + timedelta(hours=1)),
        (3600, Overlap(until_revoked=True), NOW + timedelta(hours=1)),
        (3600, Overlap(timedelta(minutes=10)), NOW + timedelta(minutes=10)),
    ],
)
def test_when_a_rotated_token_ends(ttl_s: int | None, overlap: Overlap, ends: datetime | None) -> None:
    # An earlier rotation had already ended it: its own life counts.
    assert end_after(replace(TOKEN, ttl_s=ttl_s, expires_at=NOW + timedelta(minutes=1)), overlap, NOW) == ends
