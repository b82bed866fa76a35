"""Run ../shared/conformance/all.sh against a `muster dev` of its own: the second tenant, which is empty.

    python -m tests.conformance.run_shared [--suites FOLDER] [SUITE...]

Exit status: 0 if no check failed, or if the folder is not there and ``--suites`` was not given; 1 if one failed;
2 if the stack does not start or does not stop, or a suite does not end.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
SUITES = ROOT.parent / "shared" / "conformance"
# All suites take half a minute; installing their packages for the first time takes the rest.
SUITES_WITHIN_S = 1800


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
    except (RuntimeError, subprocess.TimeoutExpired) as err:
        print(f"run_shared: {err}", file=sys.stderr)
        return 2
    return 1 if run.returncode else 0


@contextmanager
def stack() -> Iterator[tuple[str, str]]:
    """Start `muster dev` in a temporary folder; yield SCIM base and token of its second tenant; stop it by SIGTERM.

    RuntimeError with the end of its log if it does not start, TimeoutExpired if it does not stop.
    """
    folder = Path(tempfile.mkdtemp(prefix="muster-conformance-"))
    # PostgreSQL runs as a user of its own, who must be able to enter.
    folder.chmod(0o711)
    dev = Stack(folder, ("--target", "none", "--workers", "0"))
    try:
        try:
            dev.start()
            ready = dev.ready()
            yield ready["scim_base_url"], ready["second_scim_token"]
        finally:
            dev.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
