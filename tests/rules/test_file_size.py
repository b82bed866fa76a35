"""A file holds one idea: at most 400 lines."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400


def python_files() -> list[Path]:
    folders = ("protos", "control_plane", "scim_gateway", "workers", "tests")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if "_pb2" not in path.name and "migrations/versions" not in str(path)]


def test_no_file_is_longer_than_its_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files()
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_nothing_generated_or_local_is_in_git() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return  # an exported tree, or a machine without git, has nothing to look at
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    forbidden = (".venv/", ".muster/", "__pycache__", ".egg-info", "bench.json", "ready.json")
    assert [name for name in listed.stdout.splitlines() if any(part in name for part in forbidden)] == []
