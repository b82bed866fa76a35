"""A worker's settings refuse what could only fail later."""

from pathlib import Path

import pytest

from control_plane.runtime.settings import SettingsError, from_env
from tests.fixtures.certificates import Certificates
from workers.app import stream_settings
from workers.settings import WorkerSettings

BASE = {"MUSTER_WORKER_TOKEN": "t"}


def test_the_name_begins_with_that_in_the_certificate(tmp_path: Path) -> None:
    one = Certificates(tmp_path).issue("worker/eu-1")
    variables = {"MUSTER_TLS_CERT": str(one.cert), "MUSTER_TLS_KEY": str(one.key), "MUSTER_TLS_CA": str(one.ca)}
    assert stream_settings(from_env(WorkerSettings, variables)).worker_id.startswith("eu-1-")
    for name in ("eu-1", "eu-1-blue", "eu-1/7"):
        assert stream_settings(from_env(WorkerSettings, variables | {"MUSTER_WORKER_ID": name})).worker_id == name
    with pytest.raises(SettingsError, match="MUSTER_WORKER_ID"):
        stream_settings(from_env(WorkerSettings, variables | {"MUSTER_WORKER_ID": "eu-2"}))


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"MUSTER_TLS_CERT": "c", "MUSTER_TLS_KEY": "k"},
        {"MUSTER_TLS_CERT": "c", "MUSTER_TLS_KEY": "k", "MUSTER_TLS_CA": "a", "MUSTER_PLAINTEXT": "true"},
    ],
)
def test_tls_and_plaintext_are_a_choice_of_one(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"MUSTER_TLS_CERT.*MUSTER_PLAINTEXT=true"):
        stream_settings(from_env(WorkerSettings, BASE | variables))


def test_defaults() -> None:
    settings = from_env(WorkerSettings, BASE)
    assert settings.metrics_address() == ("127.0.0.1", 9103)
    assert settings.name()
    assert "'t'" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MUSTER_WORKER_TOKEN", ""),
        ("MUSTER_WORKER_SLOTS", "0"),
        ("MUSTER_WORKER_SLOTS", "1001"),
        ("MUSTER_WORKER_SLOTS", "many"),
        ("MUSTER_WORKER_CALL_TIMEOUT_S", "0"),
        ("MUSTER_WORKER_DRAIN_S", "-1"),
        ("MUSTER_WORKER_ID", "x" * 201),
        ("MUSTER_METRICS_LISTEN", "9103"),
        ("MUSTER_CONTROL_PLANE", " , "),
    ],
)
def test_refused(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        from_env(WorkerSettings, BASE | {variable: value})
