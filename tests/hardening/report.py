"""What `make harden` adds to pytest: the thirty rows with pass or fail, and the figures that tests recorded."""

from collections import defaultdict
from collections.abc import Iterable

import pytest

from tests.hardening.rows import ROWS


class Report:
    """Collects outcomes by row."""

    def __init__(self) -> None:
        self._rows: dict[str, set[int]] = {}
        self._outcomes: dict[int, list[str]] = defaultdict(list)
        self._figures: dict[int, list[str]] = defaultdict(list)

    def pytest_collection_modifyitems(self, items: Iterable[pytest.Item]) -> None:
        """Remember which rows each test belongs to."""
        for item in items:
            self._rows[item.nodeid] = {number for mark in item.iter_markers("row") for number in mark.args}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take an outcome, and what ``record_property("figure", text)`` said."""
        decides = report.when == "call" or report.outcome != "passed"
        for number in self._rows.get(report.nodeid, set()):
            if decides:
                self._outcomes[number].append(report.outcome)
            if report.when == "call":
                self._figures[number] += [str(value) for name, value in report.user_properties if name == "figure"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        terminalreporter.section("hardening")
        for number, title in ROWS.items():
            terminalreporter.write_line(f"{number:2}  {self.verdict(number):8} {title}")
            for figure in self._figures[number]:
                terminalreporter.write_line(f"              {figure}")

    def verdict(self, number: int) -> str:
        """Return the row's outcome in one word, with the number of its tests."""
        outcomes = self._outcomes[number]
        if not outcomes:
            return "NOT RUN"
        return f"pass {len(outcomes):3}" if set(outcomes) == {"passed"} else "FAIL"

    @property
    def is_complete(self) -> bool:
        """Whether every row has run and passed."""
        return all(self.verdict(number).startswith("pass") for number in ROWS)
