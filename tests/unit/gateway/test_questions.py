"""Which questions about tokens are asked while bogus ones pour in. The clock belongs to the test."""

from contextlib import ExitStack

import pytest

from control_plane.client.errors import TokenRefused
from scim_gateway.errors import Busy, Throttled
from scim_gateway.questions import MAX_QUESTIONS, OF_ALL, OF_SOURCE, Questions
from tests.fakes.clock import FakeClock

HERE, THERE = "192.0.2.1", "192.0.2.2"


def refuse(questions: Questions, source: str, *, was_good: bool = False) -> None:
    """Ask once about a token that is nobody's."""
    with pytest.raises(TokenRefused), questions.asking(source, was_good=was_good):
        raise TokenRefused("no", "unknown", "unknown")


def accept(questions: Questions, source: str, *, was_good: bool = False) -> None:
    with questions.asking(source, was_good=was_good):
        pass


def test_beyond_its_burst_a_source_is_not_asked_about_until_time_has_passed() -> None:
    clock = FakeClock()
    questions = Questions(clock)
    for _ in range(OF_SOURCE.burst):
        refuse(questions, HERE)
    with pytest.raises(Throttled) as caught:
        accept(questions, HERE)
    assert 0 < caught.value.retry_after_s <= 1 / OF_SOURCE.permits
    accept(questions, THERE)
    clock.advance(caught.value.retry_after_s + 0.001)
    accept(questions, HERE)


def test_good_tokens_cost_their_source_nothing() -> None:
    questions = Questions(FakeClock())
    for _ in range(OF_SOURCE.burst * 3):
        accept(questions, HERE)


def test_a_token_that_was_good_is_asked_about_from_a_bad_source_too() -> None:
    questions = Questions(FakeClock())
    for _ in range(OF_SOURCE.burst):
        refuse(questions, HERE)
    accept(questions, HERE, was_good=True)


def test_an_attack_from_many_sources_is_bounded_as_a_whole() -> None:
    clock = FakeClock()
    questions = Questions(clock)
    accept(questions, THERE)
    for number in range(OF_ALL.burst):
        refuse(questions, f"source {number}")
    with pytest.raises(Busy) as caught:
        accept(questions, "a new source")
    assert caught.value.retry_after_s >= 1
    accept(questions, HERE, was_good=True)
    accept(questions, THERE)
    clock.advance(1)
    accept(questions, "a new source")


def test_so_many_questions_at_a_time_and_as_many_again_for_tokens_that_were_good() -> None:
    questions = Questions(FakeClock())
    with ExitStack() as at_work:
        for number in range(MAX_QUESTIONS):
            at_work.enter_context(questions.asking(f"source {number}", was_good=False))
        with pytest.raises(Busy):
            accept(questions, HERE)
        for _ in range(MAX_QUESTIONS):
            at_work.enter_context(questions.asking(HERE, was_good=True))
        with pytest.raises(Busy):
            accept(questions, HERE, was_good=True)
    accept(questions, HERE)


def test_other_failures_are_nobodys_fault() -> None:
    questions = Questions(FakeClock())
    for _ in range(OF_SOURCE.burst * 2):
        with pytest.raises(OSError, match="gone"), questions.asking(HERE, was_good=False):
            raise OSError("gone")
    accept(questions, HERE)


def test_those_who_come_at_once_do_not_all_pass() -> None:
    questions = Questions(FakeClock())
    for _ in range(OF_SOURCE.burst - 2):
        refuse(questions, HERE)
    with questions.asking(HERE, was_good=False), questions.asking(HERE, was_good=False), pytest.raises(Throttled):
        accept(questions, HERE)
    accept(questions, HERE)
