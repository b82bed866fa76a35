"""The token's form: what is composed is valid, and one wrong character makes it invalid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.scim.bearer import API_KEY_ENVS, PATTERN, SCIM_ENVS, compose, env_of, key_id_of

ENVS = SCIM_ENVS + API_KEY_ENVS


@given(st.binary(min_size=48, max_size=48), st.sampled_from(ENVS))
def test_a_composed_token_is_valid(random: bytes, env: str) -> None:
    made = compose(env, random)
    assert PATTERN.fullmatch(made.text)
    assert key_id_of(made.text) == made.key_id
    assert (key_id_of(made.text), env_of(made.text)) == (made.key_id, env)


def test_a_live_token_has_73_characters_and_more_of_prefix() -> None:
    assert len(compose("live", bytes(48)).text) == len("muster_live_") + 12 + 1 + 43 + 6


@given(st.integers(0, 73), st.sampled_from("0Zz_ \u0663"))
def test_one_wrong_character_is_invalid(at: int, wrong: str) -> None:
    text = compose("live", bytes(range(48))).text
    at = min(at, len(text) - 1)
    if text[at] == wrong:
        return
    changed = text[:at] + wrong + text[at + 1 :]
    assert key_id_of(changed) is None
    assert key_id_of(changed) is None


@pytest.mark.parametrize(
    "text", ["", "hello", "muster_live_", "muster_prod_" + "a" * 12 + "_" + "b" * 49, "\ud800" * 74]
)
def test_garbage_is_invalid(text: str) -> None:
    assert key_id_of(text) is None
    assert env_of(text) is None
