"""Token buckets: never more than the rate allows, exact in the long run, bounded, not fooled by clocks."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from control_plane.runtime.buckets import Allowance, Buckets

ALLOWANCES = st.builds(Allowance, st.integers(1, 50), st.integers(1, 1000), st.integers(1, 10))
# Microseconds between two looks: negative when the clock went back.
STEPS = st.lists(st.tuples(st.integers(-5_000_000, 5_000_000), st.integers(1, 60)), max_size=40)


START_US = 10**12


class Model:
    """The same with fractions, slowly and plainly."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance, self.level, self.at_us = allowance, Fraction(allowance.burst), START_US

    def take(self, now_us: int, want: int) -> int:
        if now_us > self.at_us:
            come = Fraction(now_us - self.at_us, 1_000_000) * self.allowance.permits / self.allowance.per_s
            self.level = min(Fraction(self.allowance.burst), self.level + come)
        self.at_us = now_us
        granted = min(want, int(self.level))
        self.level -= granted
        return granted


@given(ALLOWANCES, STEPS)
def test_a_bucket_does_what_the_model_says(allowance: Allowance, steps: list[tuple[int, int]]) -> None:
    buckets, model, now_us = Buckets(), Model(allowance), START_US
    for step_us, want in steps:
        now_us += step_us
        # The quotient of two whole numbers below 2^53 is the same number again when it is multiplied and cut.
        assert buckets.take("k", Fraction(now_us, 1_000_000), allowance, want) == model.take(now_us, want)  # type: ignore[arg-type]  # exact time


@given(ALLOWANCES)
def test_after_the_wait_there_is_a_permit(allowance: Allowance) -> None:
    buckets = Buckets()
    assert buckets.take("k", 0.0, allowance, 10**6) == allowance.burst
    wait_s = buckets.wait_s("k", 0.0, allowance)
    assert wait_s > 0
    assert buckets.take("k", wait_s * 0.9, allowance) == 0
    assert buckets.take("k", wait_s + 1e-5, allowance) == 1


def test_what_is_given_back_is_there_again_and_never_above_the_burst() -> None:
    buckets, allowance = Buckets(), Allowance(burst=2, permits=1)
    assert buckets.take("k", 0.0, allowance, 2) == 2
    buckets.give_back("k", allowance)
    assert buckets.take("k", 0.0, allowance, 2) == 1
    buckets.give_back("k", allowance, 99)
    assert buckets.take("k", 0.0, allowance, 9) == 2
    buckets.give_back("nobody", allowance)
    assert len(buckets) == 1


def test_only_so_many_buckets_are_remembered() -> None:
    buckets, allowance = Buckets(capacity=2), Allowance(burst=1, permits=1)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 0.0, allowance)
    assert len(buckets) == 2
    assert buckets.take("a", 0.0, allowance) == 0
    # The one not asked for longest was forgotten, and is full.
    assert buckets.take("b", 0.0, allowance) == 1
