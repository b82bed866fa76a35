"""A worker's settings refuse what could only fail later."""

import pytest

from control_plane.runtime.settings import SettingsError, from_env
from workers.settings import WorkerSettings

BASE = {"MUSTER_WORKER_TOKEN": "t"}


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
