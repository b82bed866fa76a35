import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.cli.connection import Connection, NoConnection, resolve
from control_plane.client.tls import ClientTls
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import ADMIN_TOKEN


def ready_file(folder: Path, address: str, token: str) -> Path:
    path = folder / "ready.json"
    path.write_text(json.dumps({"grpc_target": address, "admin_token": token}))
    return path


def test_options_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_CONTROL_PLANE", "127.0.0.1:1")
    monkeypatch.setenv("MUSTER_ADMIN_TOKEN", "env")
    assert resolve("127.0.0.1:2", "option", None) == Connection("127.0.0.1:2", "option")
    assert resolve("", "", None) == Connection("127.0.0.1:1", "env")


def test_a_ready_file_named_by_option_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MUSTER_ADMIN_TOKEN", "env")
    path = ready_file(tmp_path, "127.0.0.1:3", "ready")
    assert resolve("", "", path) == Connection("127.0.0.1:3", "ready")


def test_a_ready_file_of_the_environment_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSTER_READY_FILE", str(ready_file(tmp_path, "127.0.0.1:3", "ready")))
    assert resolve("", "", None) == Connection("127.0.0.1:3", "ready")
    monkeypatch.setenv("MUSTER_CONTROL_PLANE", "127.0.0.1:1")
    monkeypatch.setenv("MUSTER_ADMIN_TOKEN", "env")
    assert resolve("", "", None) == Connection("127.0.0.1:1", "env")


def test_the_token_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("MUSTER_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    assert resolve("", "", None) == Connection("127.0.0.1:50051", "from-file")


def test_tls_comes_from_where_the_control_plane_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain, secure = ready_file(tmp_path, "127.0.0.1:3", "ready"), tmp_path / "secure.json"
    told = json.loads(plain.read_text())
    secure.write_text(json.dumps(told | {"grpc_tls": {"ca": "a", "cert": "c", "key": "k", "server_name": "n"}}))
    assert resolve("", "", secure).tls == ClientTls("c", "k", "a", "n")
    monkeypatch.setenv("MUSTER_READY_FILE", str(secure))
    assert resolve("", "", None).tls == ClientTls("c", "k", "a", "n")
    assert resolve("127.0.0.1:9", "", None).tls is None
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.setenv(f"MUSTER_TLS_{name}", name)
    assert resolve("127.0.0.1:9", "", None).tls == ClientTls("CERT", "KEY", "CA")
    assert resolve("", "", plain).tls is None
    monkeypatch.delenv("MUSTER_TLS_KEY")
    with pytest.raises(NoConnection, match="MUSTER_TLS_KEY"):
        resolve("", "", None)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.5:50051", "127.0.0.1:1,10.0.0.5:1", "control-plane:50051", "localhost.evil:1", "127.evil.example:1"],
)
def test_no_token_goes_in_plaintext_to_another_machine_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with pytest.raises(NoConnection, match="MUSTER_PLAINTEXT"):
        resolve(address, "token", None)
    monkeypatch.setenv("MUSTER_PLAINTEXT", "true")
    assert resolve(address, "token", None) == Connection(address, "token")


@pytest.mark.parametrize("address", ["127.0.0.1:1,127.0.0.2:1", "localhost:1", "[::1]:1"])
def test_plaintext_on_this_machine_needs_no_asking(address: str) -> None:
    assert resolve(address, "token", None) == Connection(address, "token")


def test_without_a_token_it_is_said_how_to_give_one() -> None:
    with pytest.raises(NoConnection, match="MUSTER_ADMIN_TOKEN"):
        resolve("", "", None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"grpc_target": 1}'])
def test_another_file_is_not_taken_for_a_ready_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(NoConnection, match="is not a ready file"):
        resolve("", "", tmp_path / "f")


def test_a_ready_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoConnection, match="nothing-here"):
        resolve("", "", tmp_path / "nothing-here")


def test_commands_take_the_ready_file(address: str, tmp_path: Path) -> None:
    path = ready_file(tmp_path, address, ADMIN_TOKEN)
    done = CliRunner().invoke(app, ["tenant", "list", "--json", "--ready-file", str(path)])
    assert json.loads(done.stdout) == {"tenants": []}


def test_a_wrong_token_is_one_line(muster: Run) -> None:
    done = muster("tenant", "list", "--admin-token", "wrong")
    assert done.exit_code == 1
    assert "does not accept this token" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_control_plane_that_is_away_is_named(muster: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        done = muster("tenant", "list", "--control-plane", address)
    assert done.exit_code == 1
    assert f"the control plane at {address} cannot serve this now" in done.stderr


def test_an_address_that_is_none_is_one_line(muster: Run) -> None:
    done = muster("tenant", "list", "--control-plane", "localhost:1,localhost:2")
    assert done.exit_code == 1
    assert done.stderr.startswith("muster: several control planes")
