"""`make demo` plays to its end, and says so by its exit code."""

import subprocess
import sys

import pytest


@pytest.mark.timeout(180)
def test_the_demo_ends_with_no_differences() -> None:
    command = [sys.executable, "-m", "control_plane", "demo", "--exit", "--users", "60", "--groups", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Nothing is missing, nothing is there twice, nothing differs." in done.stdout
    assert "kill -9" in done.stdout
