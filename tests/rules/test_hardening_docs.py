"""docs/hardening.md says what tests/hardening does: the rows, where their tests are, and the defaults."""

import re
from pathlib import Path

import pytest

from tests.hardening.__main__ import files
from tests.hardening.rows import ROWS
from tests.rules.test_docs import value_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "hardening.md").read_text()
_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<title>[^|]+) \|(?:[^|]+\|){3} (?P<tests>[^|]+) \|$", re.MULTILINE)
_LIMIT = re.compile(r"^\| [^|]+ \| (?P<value>[\d.]+) \| `(?P<code>[\w.]+:[\w.]+)` \|$", re.MULTILINE)
_MARK = re.compile(r"mark\.row\((\d+)\)")


def marked() -> dict[int, set[str]]:
    """Return the files with tests of each row."""
    found: dict[int, set[str]] = {number: set() for number in ROWS}
    for file in files():
        for number in _MARK.findall(Path(file).read_text()):
            found[int(number)].add(str(Path(file).relative_to(ROOT)))
    return found


def test_every_row_is_told_with_its_title() -> None:
    assert {int(row["number"]): row["title"] for row in _ROW.finditer(PAGE)} == ROWS


def test_every_row_is_told_where_its_tests_are() -> None:
    told = {int(row["number"]): set(re.findall(r"`([\w/.]+)`", row["tests"])) for row in _ROW.finditer(PAGE)}
    assert told == marked()


@pytest.mark.parametrize(("code", "value"), [(row["code"], row["value"]) for row in _LIMIT.finditer(PAGE)])
def test_a_told_default_is_the_codes(code: str, value: str) -> None:
    assert value_of(code) == float(value)
