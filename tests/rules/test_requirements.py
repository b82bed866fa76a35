"""What is installed is locked by hash, and no file names a package registry."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(r"^[A-Za-z0-9][^\n]*==", re.MULTILINE)


def test_every_requirement_has_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        entries = re.split(r"\n(?=[A-Za-z0-9])", path.read_text().strip())
        assert entries
        assert [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_locks_name_no_index() -> None:
    for path in (ROOT / "requirements").glob("*"):
        assert "http" not in re.sub(r"aiohttp|httpx\d?|httpcore|httptools", "", path.read_text())
