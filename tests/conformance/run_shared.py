"""Run ../shared/conformance/all.sh against a `muster dev` of its own: the second tenant, which is empty.

    python -m tests.conformance.run_shared [--suites FOLDER] [SUITE...]

Exit status: 0 if no check failed, or if the folder is not there and ``--suites`` was not given; 1 if one failed;
2 if the stack does not start or does not stop.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES = ROOT.parent / "shared" / "conformance"
READY_WITHIN_S = 120
STOP_WITHIN_S = 30
# All suites take half a minute; installing their packages for the first time takes the rest.
SUITES_WITHIN_S = 1800


class StackError(Exception):
    """The stack did not do what it was told; says what its log said last."""


def main() -> int:
    """Run the suites and return the exit status."""
    parser = argparse.ArgumentParser(prog="run_shared", description="Run the shared conformance suites on a new stack.")
    parser.add_argument("--suites", type=Path, help=f"the folder with all.sh (default: {SUITES}, if it is there)")
    parser.add_argument("names", nargs="*", metavar="SUITE", help="such as okta_spec.py (default: all)")
    chosen = parser.parse_args()
    program = (chosen.suites or SUITES) / "all.sh"
    if not program.is_file():
        print(f"{program} is not there: nothing to run", file=sys.stderr)
        return 2 if chosen.suites else 0
    try:
        with stack() as (base, token):
            run = subprocess.run([program, base, token, *chosen.names], check=False, timeout=SUITES_WITHIN_S)
    except StackError as err:
        print(f"run_shared: {err}", file=sys.stderr)
        return 2
    return 1 if run.returncode else 0


@contextmanager
def stack() -> Iterator[tuple[str, str]]:
    """Start `muster dev` in a temporary folder; yield SCIM base and token of its second tenant; stop it by SIGTERM."""
    folder = Path(tempfile.mkdtemp(prefix="muster-conformance-"))
    # PostgreSQL runs as a user of its own, who must be able to enter.
    folder.chmod(0o711)
    log_file, ready_file = folder / "dev.log", folder / "ready.json"
    command = [sys.executable, "-m", "control_plane", "dev", "--free-ports", "--target", "none", "--workers", "0"]
    command += ["--data-dir", str(folder / "data"), "--ready-file", str(ready_file)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=_environment()
        )
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"muster dev did not get ready: {_end_of(log_file)}")
            time.sleep(0.1)
        ready = json.loads(ready_file.read_text())
        yield ready["scim_base_url"], ready["second_scim_token"]
        if process.poll() is not None:
            raise StackError(f"muster dev ended by itself: {_end_of(log_file)}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise StackError(f"muster dev did not stop: {_end_of(log_file)}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return this environment without settings that are meant for another stack."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}


def _end_of(log_file: Path) -> str:
    return log_file.read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    sys.exit(main())
