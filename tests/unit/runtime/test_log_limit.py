"""Lines that strangers cause are bounded, and what was left out is told."""

import structlog
from structlog.testing import capture_logs

from control_plane.runtime.log_limit import LINES, TELL_EVERY_S, LogLimit
from tests.fakes.clock import FakeClock


def test_beyond_the_limit_lines_are_left_out_and_counted() -> None:
    clock = FakeClock()
    limit = LogLimit(structlog.stdlib.get_logger("x"), "left out", clock.monotonic)
    with capture_logs() as said:
        assert [limit.allows() for _ in range(LINES.burst + 3)] == [True] * LINES.burst + [False] * 3
        assert said == []
        clock.advance(1.0)
        assert limit.allows()
        assert [(line["event"], line["count"]) for line in said] == [("left out", 3)]


def test_what_was_left_out_is_told_seldom() -> None:
    clock = FakeClock()
    limit = LogLimit(structlog.stdlib.get_logger("x"), "left out", clock.monotonic)
    with capture_logs() as said:
        for _ in range(int(TELL_EVERY_S) - 1):
            for _ in range(LINES.burst + 1):
                limit.allows()
            clock.advance(1.0)
        assert len(said) == 1
        clock.advance(TELL_EVERY_S)
        limit.allows()
        assert len(said) == 2
