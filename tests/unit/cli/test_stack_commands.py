from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.devstack import demo, dev
from control_plane.devstack.blueprint import Options
from control_plane.devstack.demo import Outcome
from control_plane.devstack.demo_book import Comparison, Difference
from control_plane.devstack.errors import PortTaken


def ending_with(result: bool, asked: dict[str, object]) -> Callable[..., Awaitable[bool]]:
    async def run_demo(**given: object) -> bool:
        asked.update(given)
        return result

    return run_demo


@pytest.mark.parametrize(("arrived", "code"), [(True, 0), (False, 1)])
def test_the_demo_exits_non_zero_if_anything_did_not_arrive(
    monkeypatch: pytest.MonkeyPatch, arrived: bool, code: int
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(demo, "run_demo", ending_with(arrived, asked))
    done = CliRunner().invoke(app, ["demo", "--exit", "--users", "20"])
    assert done.exit_code == code
    assert asked == {"users": 20, "groups": 12, "stay": False}


def test_one_difference_is_not_good_and_neither_is_no_comparison() -> None:
    assert Outcome(Comparison((), ())).is_good
    assert not Outcome(Comparison((), (Difference("account a@x", "present", None),))).is_good
    assert not Outcome().is_good


def test_dev_passes_on_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Options] = []

    async def run_dev(options: Options, *_: object) -> None:
        asked.append(options)

    monkeypatch.setattr(dev, "run_dev", run_dev)
    arguments = ["--data-dir", str(tmp_path / "d"), "--ready-file", str(tmp_path / "f"), "--free-ports"]
    counts = ["--control-planes", "2", "--gateways", "3", "--workers", "4", "--target", "none"]
    assert CliRunner().invoke(app, ["dev", *arguments, *counts]).exit_code == 0
    assert CliRunner().invoke(app, ["dev", *arguments]).exit_code == 0
    assert asked == [
        Options(tmp_path / "d", tmp_path / "f", 2, 3, 4, with_target=False, free_ports=True),
        Options(tmp_path / "d", tmp_path / "f", 1, 1, 2, with_target=True, free_ports=True),
    ]


def test_what_stands_in_the_way_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def run_dev(*_: object) -> None:
        raise PortTaken("already in use: port 8080 (gateway)")

    monkeypatch.setattr(dev, "run_dev", run_dev)
    done = CliRunner().invoke(app, ["dev", "--data-dir", str(tmp_path), "--ready-file", str(tmp_path / "f")])
    assert (done.exit_code, done.stderr) == (1, "muster: already in use: port 8080 (gateway)\n")


@pytest.mark.parametrize("count", ["-1", "21", "many"])
def test_a_count_out_of_range_is_refused(tmp_path: Path, count: str) -> None:
    arguments = ["dev", "--data-dir", str(tmp_path), "--ready-file", str(tmp_path / "f"), "--workers", count]
    assert CliRunner().invoke(app, arguments).exit_code == 2
