"""What goes wrong at a target, and what it is called on the wire."""

from datetime import UTC, datetime, timedelta

import pytest

from workers.connectors.base import (
    CredentialRefused,
    Rejected,
    TargetError,
    TargetFailed,
    Throttled,
    Unreachable,
)
from workers.connectors.scim_errors import error_of, retry_after_s
from workers.limits import RETRY_AFTER_MAX_S
from workers.messages import Failure
from workers.outcomes import nack_of

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("999999", RETRY_AFTER_MAX_S),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 12:01:30 -0000", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 12:00:00 GMT", RETRY_AFTER_MAX_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_has_two_forms(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header, NOW) == expected


def test_retry_after_is_relative_to_now() -> None:
    assert retry_after_s("Thu, 01 Jan 2026 12:01:30 GMT", NOW + timedelta(seconds=60)) == 30.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Rejected),
        (400, Rejected),
        (401, CredentialRefused),
        (403, CredentialRefused),
        (404, Rejected),
        (408, TargetFailed),
        (409, Rejected),
        (413, Rejected),
        (425, TargetFailed),
        (429, Throttled),
        (500, TargetFailed),
        (503, TargetFailed),
    ],
)
def test_every_status_has_a_class(status: int, expected: type[TargetError]) -> None:
    error = error_of(status, "said no", 3.0)
    assert type(error) is expected
    assert "said no" in error.text


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TargetFailed("x"), Failure.TRANSIENT),
        (Throttled("x", 5.0), Failure.THROTTLED),
        (CredentialRefused("x"), Failure.AUTH),
        (Rejected("x"), Failure.INVALID),
        (Unreachable("x"), Failure.UNREACHABLE),
    ],
)
def test_every_error_has_a_failure_class(error: TargetError, failure: Failure) -> None:
    nack = nack_of(error, 7, "r1")
    assert (nack.fence, nack.failure, nack.error, nack.remote_id) == (7, failure, "x", "r1")
    assert nack.retry_after_s == error.retry_after_s


def test_a_defect_tells_its_type_and_not_its_text() -> None:
    nack = nack_of(ValueError("token=secret"), 7, "")
    assert nack.failure is Failure.TRANSIENT
    assert nack.error == "defect in the worker: ValueError"
