import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.cli.stack import PORTS
from control_plane.devstack import ports
from control_plane.devstack.blueprint import Options
from control_plane.devstack.errors import PortTaken


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_fixed_ports_are_taken_as_they_are() -> None:
    free = ports.free(["a"], {})
    assert ports.fixed(free) == free


def test_a_fixed_port_in_use_is_named(taken: int) -> None:
    with pytest.raises(PortTaken, match=rf"{taken} \(gateway\).*--free-ports"):
        ports.fixed({"gateway": taken})


def test_free_ports_differ_and_stay_below_those_lent_to_clients() -> None:
    chosen = ports.free([str(n) for n in range(30)], {})
    assert len(set(chosen.values())) == 30
    assert all(ports.LOWEST_FREE <= port < 32_768 for port in chosen.values())


def test_a_remembered_port_is_used_again() -> None:
    remembered = ports.free(["a", "b"], {})
    chosen = ports.free(["b", "c", "a"], remembered)
    assert {name: chosen[name] for name in remembered} == remembered
    assert chosen["c"] not in remembered.values()


def test_a_remembered_port_that_somebody_took_is_replaced(taken: int) -> None:
    chosen = ports.free(["a"], {"a": taken})
    assert chosen["a"] != taken


def test_two_names_never_share_a_port() -> None:
    port = ports.free(["a"], {})["a"]
    chosen = ports.free(["a", "b"], {"a": port, "b": port})
    assert chosen["a"] == port
    assert chosen["b"] != port


def test_the_help_names_the_defaults() -> None:
    for port in (ports.GATEWAY, ports.CONTROL_PLANE, ports.POSTGRES, ports.VALKEY, ports.TARGET):
        assert str(port) in PORTS
    for port in (ports.CONTROL_PLANE_METRICS, ports.GATEWAY_METRICS, ports.WORKER_METRICS):
        assert str(port) in PORTS


def test_default_ports_are_all_different_at_the_largest_size() -> None:
    options = Options(Path("d"), Path("f"), control_planes=20, gateways=20, workers=20)
    chosen = options.default_ports()
    assert len(set(chosen.values())) == len(chosen) == 4 + 20 * 4


def test_without_a_target_it_has_no_port() -> None:
    assert "target" not in Options(Path("d"), Path("f"), with_target=False).default_ports()
