"""What the wire takes of a worker's results: whatever a connector says, the turn that carries it is accepted."""

import unicodedata

import protovalidate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.lease.v1 import lease_pb2
from workers import convert
from workers.leases import TurnDraft
from workers.limits import MAX_ERROR_CHARACTERS, MAX_ID_BYTES, RETRY_AFTER_MAX_S, acceptable, id_fault, shortened
from workers.messages import Done, Effect, Failure, Nack, Result

# Any code points, lone surrogates and NUL among them; long ones too.
texts = st.builds(lambda text, times: text * times, st.text(st.characters(), max_size=20), st.integers(1, 400))
waits = st.none() | st.floats()
dones = st.builds(Done, st.integers(0, 9), st.just(5), texts, st.sampled_from(Effect), st.integers(0, 99))
nacks = st.builds(Nack, st.integers(0, 9), st.sampled_from(Failure), texts, waits, texts)


@pytest.mark.parametrize(
    ("remote_id", "fault"),
    [
        ("", ""),
        ("2819c223-7f76-453a-919d-413861904646", ""),
        ("x" * MAX_ID_BYTES, ""),
        ("x" * (MAX_ID_BYTES + 1), "is longer than 1024 bytes"),
        ("é" * 512, ""),
        ("é" * 513, "is longer than 1024 bytes"),
        ("𝒳" * 257, "is longer than 1024 bytes"),
        ("a b/c?d#e..", ""),
        ("a\0b", "contains control characters"),
        ("a\nb", "contains control characters"),
        ("a\x7fb", "contains control characters"),
        ("a\x85b", "contains control characters"),
        ("a\ud800b", "contains control characters"),
    ],
)
def test_an_id_is_short_and_printable(remote_id: str, fault: str) -> None:
    assert id_fault(remote_id) == fault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n b\t c", "a b c"),
        ("a\0b\x1b[31m\x85c\ud800", "a b [31m c"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 299 + "…"),
    ],
)
def test_errors_are_short_and_on_one_line(text: str, expected: str) -> None:
    assert shortened(text) == expected


@given(texts)
def test_errors_fit_whatever_the_target_says(text: str) -> None:
    short = shortened(text)
    assert len(short) <= MAX_ERROR_CHARACTERS
    assert len(short.encode()) <= 4 * MAX_ERROR_CHARACTERS
    assert not [character for character in short if unicodedata.category(character) in ("Cc", "Cs")]


@given(dones | nacks)
def test_every_result_is_made_one_that_the_wire_takes(result: Result) -> None:
    draft = TurnDraft(1, 0, (acceptable(result),), (), draining=False)
    request = lease_pb2.StreamLeasesRequest(turn=convert.turn(draft))
    assert protovalidate.collect_violations(request) == []
    for nack in request.turn.nack:
        assert 0 <= nack.retry_after.ToTimedelta().total_seconds() <= RETRY_AFTER_MAX_S


@given(dones | nacks)
def test_what_is_acceptable_stays_as_it_is(result: Result) -> None:
    once = acceptable(result)
    assert acceptable(once) == once


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Done(1, 5, "r1", Effect.CREATED, 2), Done(1, 5, "r1", Effect.CREATED, 2)),
        (
            Done(1, 5, "r\0", Effect.CREATED, 2),
            Nack(1, Failure.INVALID, "the target's id cannot be kept: it contains control characters"),
        ),
        (
            Done(1, 5, "r1", 9, 2),  # type: ignore[arg-type]  # a connector that is not typed
            Nack(1, Failure.INVALID, "the connector told an effect that does not exist: 9", None, "r1"),
        ),
        (
            Nack(1, 0, "slow", 2.0, "r1"),  # type: ignore[arg-type]  # a connector that is not typed
            Nack(1, Failure.TRANSIENT, "slow", 2.0, "r1"),
        ),
        (Nack(1, Failure.THROTTLED, "slow", 7200.0, "r\0"), Nack(1, Failure.THROTTLED, "slow", 3600.0, "")),
        (Nack(1, Failure.THROTTLED, "slow", float("nan")), Nack(1, Failure.THROTTLED, "slow", None)),
        (Nack(1, Failure.THROTTLED, "slow", -1.0), Nack(1, Failure.THROTTLED, "slow", 0.0)),
    ],
)
def test_what_a_bad_result_becomes(result: Result, expected: Result) -> None:
    assert acceptable(result) == expected
