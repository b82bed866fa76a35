"""Reads a compiled requirements file: names, versions, hashes, and who needs what."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "requirements" / "base.txt"
ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^ ;\\]+)")
VIA = re.compile(r"^ +# +(?:via +)?([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Locked:
    """One pinned package. ``needed_by`` are packages, and ``muster`` for what pyproject.toml asks for."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]


def entries(text: str) -> list[str]:
    """Return the requirements of a compiled file, each with its hashes and comments."""
    return [one for one in re.split(r"\n(?=\S)", text.strip()) if not one.startswith("#")]


def read(text: str) -> list[Locked]:
    """Return what a compiled requirements file pins; ValueError for a line that pins nothing."""
    found = []
    for entry in entries(text):
        match = ENTRY.match(entry)
        if match is None:
            raise ValueError(f"not a pinned requirement: {entry.splitlines()[0]}")
        needed_by = tuple(name for name in VIA.findall(entry) if name != "via")
        found.append(Locked(match[1], match[2], tuple(HASH.findall(entry)), needed_by))
    return found
