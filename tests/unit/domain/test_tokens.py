"""The token's form: checksum first, one text for every refusal, PBKDF2 record."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import TokenRefused
from control_plane.domain.ids import TenantId, TokenId
from control_plane.domain.tokens import PATTERN, Scope, Token, compose, hash_token, matches, parse, refuse_unless_valid

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.binary(min_size=48, max_size=48), st.sampled_from(["live", "test", "dev"]))
def test_a_composed_token_parses(random: bytes, env: str) -> None:
    made = compose(env, random)
    assert PATTERN.fullmatch(made.text)
    assert parse(made.text) == made


@given(st.integers(0, 73), st.sampled_from("0Zz_ "))
def test_one_wrong_character_is_malformed(at: int, wrong: str) -> None:
    text = compose("live", bytes(range(48))).text
    at = min(at, len(text) - 1)
    if text[at] == wrong:
        return
    with pytest.raises(TokenRefused) as refused:
        parse(text[:at] + wrong + text[at + 1 :])
    assert refused.value.cause == "malformed"


def test_the_record_matches_its_token_only() -> None:
    stored = hash_token("a", b"s" * 16, 10)
    assert stored.startswith("pbkdf2-sha256$10$")
    assert matches("a", stored)
    assert not matches("b", stored)


@pytest.mark.parametrize(
    ("expires", "revoked", "cause"),
    [(None, None, None), (NOW, None, "expired"), (NOW + timedelta(seconds=1), None, None), (None, NOW, "revoked")],
)
def test_validity(expires: datetime | None, revoked: datetime | None, cause: str | None) -> None:
    token = Token(TokenId(UUID(int=1)), TenantId(UUID(int=2)), "k", "", (Scope.READ,), "h", NOW, None, expires, revoked)
    if cause is None:
        refuse_unless_valid(token, NOW)
        return
    with pytest.raises(TokenRefused) as refused:
        refuse_unless_valid(token, NOW)
    assert refused.value.cause == cause
