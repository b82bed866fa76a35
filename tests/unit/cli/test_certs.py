"""`muster certs`: an authority that is kept, identities that are renewed, and files that only their owner reads."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from control_plane.cli.app import app
from control_plane.client.names import SERVER_NAME
from control_plane.runtime.settings import SettingsError
from control_plane.runtime.tls_files import TlsFiles, TlsPaths


def certs(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["certs", "--dir", str(folder), *arguments])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leaf(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())


def names(folder: Path) -> x509.SubjectAlternativeName:
    return leaf(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_one_identity_of_each_kind_that_only_its_owner_reads(tmp_path: Path) -> None:
    done = certs(tmp_path / "certs", "--days", "7", "--dns", "cp.internal", "--ip", "10.0.0.7")
    assert done.exit_code == 0, done.stderr
    assert "development" in done.stdout
    for name in ("control-plane-1", "gateway-1", "worker-1", "admin-1", "ca"):
        folder = tmp_path / "certs" / name
        assert mode(folder) == 0o700
        assert mode(folder / ("ca.key" if name == "ca" else "tls.key")) == 0o600
    server = names(tmp_path / "certs" / "control-plane-1")
    assert server.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://muster/control-plane/1"]
    assert server.get_values_for_type(x509.DNSName) == [SERVER_NAME, "localhost", "cp.internal"]
    assert "10.0.0.7" in [str(ip) for ip in server.get_values_for_type(x509.IPAddress)]
    # Nobody else's certificate has a name that a server could be dialled by.
    worker = tmp_path / "certs" / "worker-1"
    assert names(worker).get_values_for_type(x509.DNSName) == []
    assert leaf(worker).not_valid_after_utc - datetime.now(UTC) < timedelta(days=7)


def test_the_authority_is_kept_and_identities_are_renewed(tmp_path: Path) -> None:
    assert certs(tmp_path, "--trust-domain", "staging").exit_code == 0
    authority, former = (tmp_path / "ca" / "ca.crt").read_bytes(), leaf(tmp_path / "worker-1").serial_number
    bundle = (tmp_path / "gateway-1" / "ca.crt").read_bytes() + authority
    (tmp_path / "gateway-1" / "ca.crt").write_bytes(bundle)
    assert certs(tmp_path, "issue", "worker/1", "worker/eu-1", "gateway/1").exit_code == 0
    assert (tmp_path / "ca" / "ca.crt").read_bytes() == authority
    assert (tmp_path / "gateway-1" / "ca.crt").read_bytes() == bundle
    assert leaf(tmp_path / "worker-1").serial_number != former
    named = TlsFiles(paths(tmp_path / "worker-eu-1")).material
    assert named.spiffe_id == "spiffe://staging/worker/eu-1"
    assert not list(tmp_path.rglob(".*"))


def paths(folder: Path) -> TlsPaths:
    return TlsPaths(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


@pytest.mark.parametrize("gone", ["ca.key", "ca.crt"])
def test_half_an_authority_is_not_replaced(tmp_path: Path, gone: str) -> None:
    assert certs(tmp_path).exit_code == 0
    (tmp_path / "ca" / gone).unlink()
    done = certs(tmp_path)
    assert done.exit_code == 1
    assert "never overwritten" in done.stderr
    assert not (tmp_path / "ca" / gone).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trust-domain", "other"], "trust domain"),
        (["issue", "worker"], "<role>/<id>"),
        (["issue", "root/1"], "<role>/<id>"),
        (["issue", "worker/../../etc"], "<role>/<id>"),
        (["--ip", "localhost"], "cannot be used"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert certs(tmp_path).exit_code == 0
    done = certs(tmp_path, *arguments)
    assert done.exit_code == 1
    assert said in done.stderr


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    assert certs(tmp_path).exit_code == 0
    mixed = TlsPaths(tmp_path / "worker-1" / "tls.crt", tmp_path / "admin-1" / "tls.key", tmp_path / "ca" / "ca.crt")
    with pytest.raises(SettingsError, match=r"admin-1/tls\.key is not the key"):
        TlsFiles(mixed)
    with pytest.raises(SettingsError, match=r"nowhere/tls\.crt cannot be read"):
        TlsFiles(paths(tmp_path / "nowhere"))
