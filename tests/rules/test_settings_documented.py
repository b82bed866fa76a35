"""README.md's settings tables say what the code says: every variable, its default and its meaning."""

from pathlib import Path

import pytest

from tests.rules.settings_tables import PROCESSES, rows

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_is_in_the_readme(process: str) -> None:
    text = README.read_text()
    assert f"### `{process}`" in text
    assert [row for row in rows(PROCESSES[process]) if row not in text] == []
