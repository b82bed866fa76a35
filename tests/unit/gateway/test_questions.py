"""Which questions about tokens are asked while bogus ones pour in. The clock belongs to the test."""

from contextlib import ExitStack

import pytest

from control_plane.client.errors import TokenRefused
from scim_gateway.buckets import Buckets, Pace
from scim_gateway.errors import Busy, Throttled
from scim_gateway.questions import GATEWAY_PACE, MAX_QUESTIONS, SOURCE_PACE, Questions
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
    for _ in range(SOURCE_PACE.burst):
        refuse(questions, HERE)
    with pytest.raises(Throttled) as caught:
        accept(questions, HERE)
    assert 0 < caught.value.retry_after_s <= 1 / SOURCE_PACE.per_s
    accept(questions, THERE)
    clock.advance(caught.value.retry_after_s + 0.001)
    accept(questions, HERE)


def test_good_tokens_cost_their_source_nothing() -> None:
    questions = Questions(FakeClock())
    for _ in range(SOURCE_PACE.burst * 3):
        accept(questions, HERE)


def test_a_token_that_was_good_is_asked_about_from_a_bad_source_too() -> None:
    questions = Questions(FakeClock())
    for _ in range(SOURCE_PACE.burst):
        refuse(questions, HERE)
    accept(questions, HERE, was_good=True)


def test_an_attack_from_many_sources_is_bounded_as_a_whole() -> None:
    clock = FakeClock()
    questions = Questions(clock)
    accept(questions, THERE)
    for number in range(GATEWAY_PACE.burst):
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
    for _ in range(SOURCE_PACE.burst * 2):
        with pytest.raises(OSError, match="gone"), questions.asking(HERE, was_good=False):
            raise OSError("gone")
    accept(questions, HERE)


def test_a_bucket_fills_at_its_pace_up_to_its_burst() -> None:
    buckets, pace = Buckets(10), Pace(per_s=2.0, burst=3)
    for _ in range(3):
        assert buckets.wait_s("a", pace, 0.0) == 0
        buckets.take("a", pace, 0.0)
    assert buckets.wait_s("a", pace, 0.0) == 0.5
    assert buckets.wait_s("a", pace, 0.25) == 0.25
    assert buckets.wait_s("a", pace, 0.5) == 0
    for _ in range(3):
        assert buckets.wait_s("a", pace, 1_000.0) == 0
        buckets.take("a", pace, 1_000.0)
    assert buckets.wait_s("a", pace, 1_000.0) == 0.5


def test_what_is_given_back_was_not_taken_but_makes_no_bucket_fuller_than_full() -> None:
    buckets, pace = Buckets(10), Pace(per_s=1.0, burst=1)
    buckets.take("a", pace, 0.0)
    buckets.give_back("a", pace, 0.0)
    assert buckets.wait_s("a", pace, 0.0) == 0
    buckets.give_back("a", pace, 0.0)
    buckets.take("a", pace, 0.0)
    assert buckets.wait_s("a", pace, 0.0) == 1


def test_those_who_come_at_once_do_not_all_pass() -> None:
    questions = Questions(FakeClock())
    for _ in range(SOURCE_PACE.burst - 2):
        refuse(questions, HERE)
    with questions.asking(HERE, was_good=False), questions.asking(HERE, was_good=False), pytest.raises(Throttled):
        accept(questions, HERE)
    accept(questions, HERE)


def test_buckets_do_not_fill_memory_and_the_least_used_goes_first() -> None:
    buckets, pace = Buckets(2), Pace(per_s=1.0, burst=1)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, pace, 0.0)
    assert len(buckets) == 2
    assert buckets.wait_s("b", pace, 0.0) == 0
    assert buckets.wait_s("a", pace, 0.0) > 0
