"""The launcher of the embedded PostgreSQL: what it says when it cannot run, and that its data stays."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.devstack.postgres import HBA, EmbeddedPostgres, EmbeddedPostgresError
from tests.fixtures.postgres import PostgresServer, free_port

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
    with pytest.raises(EmbeddedPostgresError, match=rf"cannot enter {closed}\. .*chmod o\+x {closed}"):
        EmbeddedPostgres(closed / "data", free_port()).prepare()
    assert list(closed.iterdir()) == []


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
