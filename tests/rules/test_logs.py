"""Every field that the code logs is on the list of what a line may say, and nothing else is."""

import ast
from pathlib import Path

from control_plane.runtime.redaction import COMMON, FIELDS

ROOT = Path(__file__).resolve().parents[2]


def logged() -> dict[str, str]:
    """Return the names of all fields in calls of ``log.<level>(...)``, each with a file that has it."""
    found: dict[str, str] = {}
    for package in ("control_plane", "scim_gateway", "workers"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), keywords=keywords):
                        found |= {one.arg: file.name for one in keywords if one.arg is not None}
    return found


def test_every_field_may_be_said() -> None:
    assert {name: file for name, file in logged().items() if name not in FIELDS} == {}


def test_nothing_is_listed_that_nobody_says() -> None:
    assert FIELDS - COMMON - logged().keys() == set()
