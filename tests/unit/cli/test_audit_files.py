"""An export appears whole or not at all; `muster audit verify --file` needs no server."""

import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.cli.audit_files import read_key, whole_file
from tests.unit.domain.test_audit_forms import KEY, checkpoint, export

SPELLED = base64.b64encode(KEY.public.raw).decode()


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "verify", *(str(one) for one in arguments)])
    return done.exit_code, done.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(export()))
    return path


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("before")
    with pytest.raises(RuntimeError):
        _write_half(path)
    assert path.read_text() == "before"
    with whole_file(path) as file:
        file.write(b"whole")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("whole", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def _write_half(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_key_is_spelled_in_three_ways(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SPELLED + "\n")
    for spelled in (SPELLED, KEY.public.raw.hex(), str(tmp_path / "key")):
        assert read_key(spelled) == KEY.public.raw
    with pytest.raises(ValueError, match="32 bytes"):
        read_key("c2hvcnQ=")


def test_a_whole_export(file: Path, tmp_path: Path) -> None:
    code, output = run("--file", file, "--public-key", SPELLED)
    assert code == 0
    assert "Whole: 5 events, 1 to 5, checkpoint 1." in output
    assert "No checkpoint vouches for what is behind 4" in output
    checkpoints = tmp_path / "checkpoints.jsonl"
    checkpoints.write_bytes(checkpoint(4)[0].line())
    assert run("--file", file, "--checkpoints", checkpoints, "--public-key", SPELLED)[0] == 0


def test_a_changed_export_names_the_place_and_fails(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"event-3", b"event-x"))
    code, output = run("--file", file, "--public-key", SPELLED, "--json")
    assert code == 1
    told = json.loads(output)
    assert (told["is_whole"], told["problems"][0]["kind"], told["problems"][0]["seq"]) == (False, "CHANGED", 3)


def test_what_is_missing_is_said(file: Path, tmp_path: Path) -> None:
    assert run()[0] == 2
    assert run("--file", file)[0] == 2
    assert "cannot be read" in run("--file", tmp_path / "nothing", "--public-key", SPELLED)[1]
    assert "32 bytes" in run("--file", file, "--public-key", "x")[1]
    (tmp_path / "table.csv").write_text("seq,time\n")
    assert "not that of an export" in run("--file", tmp_path / "table.csv", "--public-key", SPELLED)[1]
