"""What is installed is locked by hash, no file names a package registry, and the bill of materials lists all of it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.supply import audit, sbom
from tests.supply.locked import BASE, ROOT, entries, read

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# Options of pip that would take packages from elsewhere, or without a look at their hash.
ELSEWHERE = re.compile(r"https?:|git\+|file:|^\s*-|--(extra-)?index-url|--find-links|--trusted-host| @ ", re.MULTILINE)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_line_is_pinned_and_hashed(path: Path) -> None:
    found = entries(path.read_text())
    assert found
    assert [entry.split("\n")[0] for entry in found if "--hash=sha256:" not in entry] == []
    locked = read(path.read_text())
    assert len(locked) == len(found)
    assert [one.name for one in locked if not one.hashes or "*" in one.version] == []


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_no_file_names_an_index_or_another_source(path: Path) -> None:
    text = re.sub(r"^ +--hash=.*$", "", path.read_text(), flags=re.MULTILINE)
    assert ELSEWHERE.findall(text) == []


def test_installing_looks_at_every_hash() -> None:
    commands = [
        line
        for name in ("Makefile", "Dockerfile")
        for line in (ROOT / name).read_text().splitlines()
        if re.search(r"-r \S*requirements/", line) or re.search(r"-r requirements", line)
    ]
    assert commands
    assert [line for line in commands if "--require-hashes" not in line] == []


def test_what_pyproject_asks_for_is_locked() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=~!; ]", one, maxsplit=1)[0].lower() for one in asked}
    assert names <= {one.name.lower() for one in read(BASE.read_text())}


def test_the_bill_of_materials_lists_everything() -> None:
    locked = read(BASE.read_text())
    bom = sbom.completed(sbom.from_requirements(), locked)
    assert bom == sbom.completed(sbom.from_requirements(), locked)
    assert bom["bomFormat"] == "CycloneDX"
    listed = {(one["name"], one["version"]) for one in bom["components"] if one["type"] == "library"}
    assert listed == {(one.name, one.version) for one in locked}
    assert [one["name"] for one in bom["components"] if one["type"] == "file"] == ["buf/validate/validate.proto"]
    needs = {one["ref"]: one["dependsOn"] for one in bom["dependencies"]}
    assert "pkg:pypi/aiohttp" in " ".join(needs["root-component"])
    assert {ref for refs in needs.values() for ref in refs} == {one["bom-ref"] for one in bom["components"]}


def test_every_vendored_file_is_listed() -> None:
    generated = {str(path.relative_to(ROOT)) for path in (ROOT / "protos" / "buf").rglob("*_pb2.py")}
    assert generated == set(sbom.VENDORED)


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (answer(FINE, FINE), ""),
        (answer(FINE, BAD), "1 packages with known vulnerabilities"),
        (answer(FINE, {"name": "b", "skip_reason": "not found"}), "not every locked package"),
        (answer(), "not every locked package"),
        ("", "0 of 2 packages audited: no route"),
        ("[]", "0 of 2 packages audited: no route"),
    ],
)
def test_an_audit_passes_only_if_everything_was_looked_up(said: str, problem: str) -> None:
    found = audit.verdict(said, "trace\nno route", 2)
    assert (found == "") is (problem == "")
    assert found.startswith(problem)
