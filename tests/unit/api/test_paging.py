"""Page tokens: bound to what was asked, and readable while their key is a retired one."""

from uuid import UUID

import pytest

from control_plane.api.paging import PageTokens
from control_plane.domain.errors import InvalidArgument

LAST = UUID(int=7)


def test_a_token_goes_on_where_it_was_made() -> None:
    pages = PageTokens(b"k" * 32)
    assert pages.read(pages.make(LAST, "tenants"), "tenants") == LAST
    assert pages.read("", "tenants") is None


@pytest.mark.parametrize("token", ["x", "AAAA", "%%%"])
def test_what_was_not_made_here_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        PageTokens(b"k" * 32).read(token, "tenants")


def test_a_token_is_for_the_same_question() -> None:
    pages = PageTokens(b"k" * 32)
    with pytest.raises(InvalidArgument):
        pages.read(pages.make(LAST, "tenants"), "tokens")


def test_a_token_outlives_the_rotation_of_its_key() -> None:
    before, after = PageTokens(b"k" * 32), PageTokens(b"n" * 32, b"k" * 32)
    assert after.read(before.make(LAST, "tenants"), "tenants") == LAST
    with pytest.raises(InvalidArgument):
        before.read(after.make(LAST, "tenants"), "tenants")
