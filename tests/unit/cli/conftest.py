from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from control_plane.cli.app import app
from tests.unit.cli.fake_admin import ADMIN_TOKEN, FakeAdmin, serving

Run = Callable[..., Result]


@pytest.fixture
def fake() -> FakeAdmin:
    return FakeAdmin()


@pytest.fixture
def address(fake: FakeAdmin) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the developer may have set away."""
    for name in ("CONTROL_PLANE", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "READY_FILE", "TENANT", "TARGET_TOKEN"):
        monkeypatch.delenv(f"MUSTER_{name}", raising=False)


@pytest.fixture
def muster(address: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `muster ...` against the fake admin API."""
    monkeypatch.setenv("MUSTER_CONTROL_PLANE", address)
    monkeypatch.setenv("MUSTER_ADMIN_TOKEN", ADMIN_TOKEN)

    def run(*arguments: str | Path, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)

    return run
