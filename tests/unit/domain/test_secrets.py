"""Secrets at rest: they open where they were sealed, with the key that sealed them, and nowhere else."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.domain.ids import TenantId
from control_plane.domain.secrets import (
    SEALED_COLUMNS,
    TARGET_SECRETS,
    FormerKey,
    SealedColumn,
    TenantSealer,
    header,
    sealed_version,
)

ACME, UMBRELLA = TenantId(UUID(int=1)), TenantId(UUID(int=2))
ROW, OTHER_ROW = UUID(int=7), UUID(int=8)
OLD, NEW = AESGCM(b"o" * 32), AESGCM(b"n" * 32)
NONCE = b"n" * 12
PLACE = TARGET_SECRETS.place(ROW)


def sealed(sealer: TenantSealer, secret: bytes = b"s3cret") -> bytes:
    return sealer.seal(secret, PLACE, NONCE)


def test_a_place_names_table_row_and_column() -> None:
    assert f"targets|{ROW}|secret_sealed" == PLACE


@given(st.binary(max_size=200), st.binary(min_size=12, max_size=12), st.integers(1, 2**32 - 1))
def test_what_is_sealed_opens_again(secret: bytes, nonce: bytes, version: int) -> None:
    sealer = TenantSealer(ACME, {version: NEW})
    value = sealer.seal(secret, PLACE, nonce)
    assert sealer.open(value, PLACE) == secret
    assert value[:1] == b"\x02"
    assert value.startswith(header(version))
    assert sealed_version(value) == version


@pytest.mark.parametrize(
    ("tenant", "place"),
    [
        (UMBRELLA, PLACE),
        (ACME, TARGET_SECRETS.place(OTHER_ROW)),
        (ACME, SealedColumn("targets", "id", "base_url").place(ROW)),
        (ACME, SealedColumn("tokens", "id", "secret_sealed").place(ROW)),
    ],
    ids=["tenant", "row", "column", "table"],
)
def test_a_value_that_was_swapped_does_not_open(tenant: TenantId, place: str) -> None:
    # Even if both tenants had the same key, which they never have.
    value = sealed(TenantSealer(ACME, {1: NEW}))
    with pytest.raises(FailedPrecondition, match="cannot be opened"):
        TenantSealer(tenant, {1: NEW}).open(value, place)


def test_a_value_does_not_pass_for_that_of_another_version() -> None:
    value = sealed(TenantSealer(ACME, {1: NEW}))
    forged = header(2) + value[len(header(2)) :]
    with pytest.raises(FailedPrecondition, match="cannot be opened"):
        TenantSealer(ACME, {1: OLD, 2: NEW}).open(forged, PLACE)


@given(st.integers(0, 40), st.integers(1, 255))
def test_no_bit_can_change(at: int, flip: int) -> None:
    sealer = TenantSealer(ACME, {1: NEW})
    value = bytearray(sealed(sealer))
    value[at % len(value)] ^= flip
    with pytest.raises(FailedPrecondition):
        sealer.open(bytes(value), PLACE)


@pytest.mark.parametrize(
    "value", [b"", b"\x02", b"\x02\x00\x00\x00\x01", b"\x02\x00\x00\x00\x01short", b"\x01", b"\x03x"]
)
def test_what_is_too_short_or_of_no_form_does_not_open(value: bytes) -> None:
    with pytest.raises(FailedPrecondition):
        TenantSealer(ACME, {1: NEW}, [FormerKey(b"k" * 32)]).open(value, PLACE)


def test_the_newest_key_seals_and_older_ones_open() -> None:
    old = sealed(TenantSealer(ACME, {1: OLD}))
    sealer = TenantSealer(ACME, {1: OLD, 2: NEW})
    assert sealer.version == 2
    assert sealer.open(old, PLACE) == b"s3cret"
    assert sealed_version(sealed(sealer)) == 2
    with pytest.raises(FailedPrecondition, match="no data key of version 1"):
        TenantSealer(ACME, {2: NEW}).open(old, PLACE)


def test_a_key_that_cannot_be_had_says_so_when_it_is_needed() -> None:
    old = sealed(TenantSealer(ACME, {1: OLD}))
    sealer = TenantSealer(ACME, {1: Unavailable("the key provider"), 2: NEW})
    assert sealer.open(sealed(sealer), PLACE) == b"s3cret"
    with pytest.raises(Unavailable):
        sealer.open(old, PLACE)


def test_what_the_sealing_key_sealed_itself_opens_with_it_and_with_no_other() -> None:
    key, retired = b"k" * 32, b"r" * 32
    value = b"\x01" + NONCE + AESGCM(retired).encrypt(NONCE, b"s3cret", f"{ACME}|targets|{ROW}|secret".encode())
    sealer = TenantSealer(ACME, {1: NEW}, [FormerKey(key), FormerKey(retired)])
    assert sealed_version(value) == 0
    assert sealer.open(value, PLACE) == b"s3cret"
    for other, place in (
        (TenantSealer(ACME, {1: NEW}, [FormerKey(key)]), PLACE),
        (TenantSealer(UMBRELLA, {1: NEW}, [FormerKey(retired)]), PLACE),
        (sealer, TARGET_SECRETS.place(OTHER_ROW)),
    ):
        with pytest.raises(FailedPrecondition):
            other.open(value, place)


def test_every_place_is_listed_once() -> None:
    assert len(set(SEALED_COLUMNS)) == len(SEALED_COLUMNS)
