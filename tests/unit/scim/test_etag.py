"""If-Match and If-None-Match: RFC 7644 section 3.14, RFC 9110 section 13.1."""

import pytest

from control_plane.scim.errors import PreconditionFailed
from control_plane.scim.etag import check, is_current

NAMES_3 = ['W/"3"', '"3"', '"1", W/"3"', 'W/"1",W/"3"', "*", " * ", '"1", *', '"3",', ' W/"3" ,, "4"']
OTHERS = ['W/"2"', '"33"', '""', "3", "W/3", '"1" "3', '"3', "x", ",", '"3" x', '"*"', 'w/"3"']


@pytest.mark.parametrize("header", NAMES_3)
def test_a_header_that_names_the_version(header: str) -> None:
    check(3, header, "")
    assert is_current(header, 3)
    with pytest.raises(PreconditionFailed, match="If-None-Match"):
        check(3, "", header)


@pytest.mark.parametrize("header", OTHERS)
def test_a_header_that_does_not(header: str) -> None:
    check(3, "", header)
    assert not is_current(header, 3)
    with pytest.raises(PreconditionFailed, match='at version W/"3"'):
        check(3, header, "")


@pytest.mark.parametrize("nothing", ["", "  "])
def test_no_header_is_no_precondition(nothing: str) -> None:
    check(3, nothing, nothing)
    assert not is_current(nothing, 3)


def test_both_must_hold() -> None:
    check(3, 'W/"3"', 'W/"2"')
    with pytest.raises(PreconditionFailed):
        check(3, 'W/"3"', "*")
    with pytest.raises(PreconditionFailed):
        check(3, 'W/"2"', 'W/"2"')
