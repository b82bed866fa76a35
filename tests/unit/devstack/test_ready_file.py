import json
import os
import stat
from pathlib import Path

from control_plane.devstack import ready_file
from control_plane.devstack.ready_file import Ready, ReadyProcess, ReadyTarget, Role

# architecture.md section 5, to the letter.
KEYS = [
    "scim_base_url",
    "tenant",
    "scim_token",
    "second_tenant",
    "second_scim_token",
    "grpc_target",
    "grpc_plaintext",
    "grpc_tls",
    "admin_token",
    "console_url",
    "console_user",
    "console_password",
    "portal_url",
    "postgres_url",
    "redis_url",
    "target",
    "processes",
]


def ready(target: ReadyTarget | None) -> Ready:
    return Ready(
        scim_base_url="http://127.0.0.1:8080/scim/v2",
        tenant="t1",
        scim_token="s1",
        second_tenant="t2",
        second_scim_token="s2",
        grpc_target="127.0.0.1:50051",
        grpc_plaintext=True,
        grpc_tls=None,
        admin_token="a",
        console_url=None,
        console_user=None,
        console_password=None,
        portal_url=None,
        postgres_url="postgresql://postgres@127.0.0.1:5433/muster",
        redis_url="redis://127.0.0.1:6380/0",
        target=target,
        processes=(
            ReadyProcess("postgres", Role.POSTGRES, 11, 5433, None),
            ReadyProcess("worker-1", Role.WORKER, 12, 9150, "http://127.0.0.1:9150/metrics"),
        ),
    )


def test_the_file_has_exactly_the_keys_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    ready_file.write(path, ready(ReadyTarget("id", "name", "scim", "http://127.0.0.1:8090/v2", "token")))
    found = json.loads(path.read_text())
    assert list(found) == KEYS
    assert list(found["target"]) == ["id", "name", "kind", "url", "token"]
    assert [list(process) for process in found["processes"]] == [["name", "role", "pid", "port", "metrics_url"]] * 2
    assert found["grpc_plaintext"] is True
    assert found["console_url"] is None
    assert found["processes"][0] == {
        "name": "postgres",
        "role": "postgres",
        "pid": 11,
        "port": 5433,
        "metrics_url": None,
    }


def test_roles_are_those_of_the_contract() -> None:
    assert {role.value for role in Role} == {
        "control-plane",
        "gateway",
        "console",
        "portal",
        "worker",
        "postgres",
        "redis",
        "target",
    }


def test_without_a_target_its_key_is_null(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    ready_file.write(path, ready(None))
    assert json.loads(path.read_text())["target"] is None


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        ready_file.write(path, ready(None))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["ready.json"]


def test_removing_it_twice_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("{}")
    ready_file.remove(path)
    ready_file.remove(path)
    assert not path.exists()


def test_secrets_stay_out_of_its_repr() -> None:
    text = repr(ready(ReadyTarget("id", "name", "scim", "url", "verysecret")))
    assert "verysecret" not in text
    assert "scim_token" not in text
