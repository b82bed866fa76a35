import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.devstack import process, tether
from control_plane.devstack.errors import StartFailed
from control_plane.devstack.process import Child, Spec, end_of, rotate, run_to_end
from control_plane.devstack.ready_file import Role

LIMIT_S = 10.0
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
OBEDIENT = "import time; print('up', flush=True); time.sleep(60)"


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not check():
            await asyncio.sleep(0.02)


def said_up(log: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return log.exists() and "up" in log.read_text()

    return check


def spec(code: str, is_ready: Callable[[], Awaitable[bool]]) -> Spec:
    return Spec("child", Role.WORKER, (sys.executable, "-S", "-c", code), dict(os.environ), 0, is_ready)


class Heard:
    """What a child told its supervisor."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.times_ready = 0

    def ready(self) -> None:
        self.times_ready += 1


@asynccontextmanager
async def running(code: str, log: Path, heard: Heard) -> AsyncIterator[Child]:
    child = Child(spec(code, said_up(log)), log, heard.lines.append, heard.ready)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.run())
        async with asyncio.timeout(LIMIT_S):
            await child.until_ready()
        yield child
        await child.stop(within_s=0.3)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    heard = Heard()
    async with running(OBEDIENT, tmp_path / "log", heard) as child:
        first = child.pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: child.pid != first and child.is_ready)
        assert heard.times_ready == 2
        assert child.restarts == 1
        assert f"child ({first}) was ended by SIGKILL; restarting it" in heard.lines
        second = child.pid
    assert not exists(second)


async def test_stopping_ends_a_child_that_obeys(tmp_path: Path) -> None:
    async with running(OBEDIENT, tmp_path / "log", Heard()) as child:
        pid = child.pid
        assert await child.stop(within_s=LIMIT_S)
        assert not exists(pid)


async def test_stopping_kills_a_child_that_does_not_obey(tmp_path: Path) -> None:
    async with running(STUBBORN, tmp_path / "log", Heard()) as child:
        pid, started = child.pid, time.monotonic()
        assert not await child.stop(within_s=0.3)
        assert time.monotonic() - started < 3
        assert not exists(pid)


async def test_a_child_told_to_stop_stays_down(tmp_path: Path) -> None:
    heard = Heard()
    async with running(OBEDIENT, tmp_path / "log", heard) as child:
        await child.stop(within_s=LIMIT_S)
    assert heard.lines == []
    assert child.restarts == 0


async def test_a_child_that_never_starts_is_given_up_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BACKOFF_MAX_S", 0.01)
    monkeypatch.setattr(process, "BACKOFF_FIRST_S", 0.01)
    log, heard = tmp_path / "log", Heard()
    child = Child(spec("raise SystemExit('no such setting')", said_up(log)), log, heard.lines.append, heard.ready)
    async with asyncio.timeout(LIMIT_S):
        await child.run()
    with pytest.raises(StartFailed, match=r"(?s)ended with code 1, 5 times.*no such setting"):
        await child.until_ready()


async def test_a_command_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"(?s)failed with code 1.*no database"):
        await run_to_end(spec("raise SystemExit('no database')", said_up(tmp_path)), tmp_path / "log", LIMIT_S)


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"took over 0\.3 s"):
        await run_to_end(spec(OBEDIENT, said_up(tmp_path)), tmp_path / "log", 0.3)


async def test_a_command_that_succeeds_returns(tmp_path: Path) -> None:
    await run_to_end(spec("print('done')", said_up(tmp_path)), tmp_path / "log", LIMIT_S)
    assert (tmp_path / "log").read_text() == "done\n"


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    parent_code = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, '-I', '-S', {tether.__file__!r}, '15', str(os.getpid()), '-',"
        " sys.executable, '-S', '-c', 'import time; time.sleep(60)']\n"
        "print(subprocess.Popen(command).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-S", "-c", parent_code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    # Until it has become the command, it may not have asked for the signal yet; then it sees that its parent is gone.
    parent.kill()
    parent.communicate()
    await eventually(lambda: not exists(child) or is_zombie(child))


def is_zombie(pid: int) -> bool:
    """Tell whether only its entry is left: in a container nobody may be there to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    command = [sys.executable, "-I", "-S", tether.__file__, "15", "1", "-", sys.executable, "-c", "print('ran')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stdout) == (tether.PARENT_IS_GONE, "")


def test_logs_of_an_earlier_run_are_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "worker-1.log"
    rotate(log)
    log.write_text("first run")
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "worker-1.log.1").read_text() == "first run"


def test_the_end_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n\xff\nfour\n")
    assert end_of(log, lines=2) == "�\nfour"
    assert end_of(tmp_path / "missing") == "(nothing was logged)"
