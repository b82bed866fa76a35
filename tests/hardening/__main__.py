"""`make harden`: every hardening test, the slow ones too, and the table of the thirty rows; one not run is a fault.

The rows' tests are here and, where a rule is tested elsewhere already, there: whatever is marked `row` counts.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hardening.report import Report

TESTS = Path(__file__).resolve().parents[1]


def files() -> Iterator[str]:
    """Yield the files with marked tests: importing all others would take longer than reading them."""
    return (str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.row(" in path.read_text())


def main() -> int:
    """Run the tests and return the exit status."""
    report = Report()
    # The markers of addopts deselect what `make test` has no time for.
    options = ["-o", "addopts=--strict-markers -p no:cacheprovider", "-q", "-m", "row", *files()]
    status = pytest.main([*options, *sys.argv[1:]], [report])
    return int(status) or (0 if report.is_complete else 1)


if __name__ == "__main__":
    sys.exit(main())
