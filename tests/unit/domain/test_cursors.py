"""Cursors of RFC 9865: what was sealed comes back, for the same tenant and query, in time; nothing else opens."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.cursors import Bookmark, Cursors
from control_plane.domain.ids import TenantId
from control_plane.scim.errors import ExpiredCursor, InvalidCursor

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TENANT, OTHER = (TenantId(UUID(f"0192f0c1-2345-7abc-8def-01234567890{n}")) for n in (1, 2))
CURSORS = Cursors(b"k" * 32)
NONCE = b"n" * 12


def sealed(position: object = "ada") -> str:
    return CURSORS.seal(TENANT, "query", Bookmark(position, NOW + timedelta(hours=1)), NONCE)


@given(st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(), st.lists(st.text(), max_size=3)))
def test_a_position_comes_back_as_it_was(position: object) -> None:
    assert CURSORS.open(TENANT, "query", sealed(position), NOW) == position


def test_a_cursor_is_safe_in_a_url_and_hides_the_position() -> None:
    cursor = sealed("somebody@example.com")
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert "c29tZWJvZHk" not in cursor  # the name in base64


@pytest.mark.parametrize(("tenant", "query"), [(OTHER, "query"), (TENANT, "another query"), (TENANT, "query ")])
def test_a_cursor_is_bound_to_its_tenant_and_query(tenant: TenantId, query: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.open(tenant, query, sealed(), NOW)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(InvalidCursor):
        Cursors(b"x" * 32).open(TENANT, "query", sealed(), NOW)


def test_an_old_cursor_has_expired() -> None:
    with pytest.raises(ExpiredCursor):
        CURSORS.open(TENANT, "query", sealed(), NOW + timedelta(hours=1))


@given(st.text(max_size=200))
def test_whatever_else_is_sent_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.open(TENANT, "query", text, NOW)


@given(st.integers(0, len(sealed()) - 1), st.sampled_from("AZaz09-_"))
def test_a_changed_character_makes_it_invalid(at: int, to: str) -> None:
    cursor = sealed()
    changed = cursor[:at] + to + cursor[at + 1 :]
    # The last character has bits that decode to nothing: only another text of the same bytes may pass.
    if changed != cursor and at < len(cursor) - 1:
        with pytest.raises(InvalidCursor):
            CURSORS.open(TENANT, "query", changed, NOW)


def test_a_cursor_outlives_the_rotation_of_its_key() -> None:
    later = Cursors(b"x" * 32, b"k" * 32)
    assert later.open(TENANT, "query", sealed(), NOW) == "ada"
    with pytest.raises(InvalidCursor):
        CURSORS.open(
            TENANT, "query", later.seal(TENANT, "query", Bookmark("ada", NOW + timedelta(hours=1)), NONCE), NOW
        )
