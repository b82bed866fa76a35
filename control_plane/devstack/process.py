"""One supervised process: started, watched, restarted when it dies, stopped within a limit."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.devstack import tether
from control_plane.devstack.errors import StartFailed
from control_plane.devstack.ready_file import Role

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 2.0
# A process that ran this long was healthy: the next restart is quick again.
HEALTHY_AFTER_S = 10.0
# A process that ends this often before it was ever ready will not get better by itself.
MAX_FAILED_STARTS = 5
READY_POLL_S = 0.05
LOG_TAIL_LINES = 15

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run and how to know that it works."""

    name: str
    role: Role
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    port: int
    is_ready: Callable[[], Awaitable[bool]]
    metrics_url: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # (uid, gid) to run as; None: the supervisor's own.
    owner: tuple[int, int] | None = None
    cwd: Path | None = None


def end_of(log_file: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log, or a note that there are none."""
    try:
        text = log_file.read_text(errors="replace")
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing was logged)"


def rotate(log_file: Path) -> None:
    """Move what an earlier run logged aside, to ``<name>.log.1``."""
    with suppress(FileNotFoundError):
        log_file.rename(log_file.with_name(log_file.name + ".1"))


async def spawn(spec: Spec, log_file: Path) -> asyncio.subprocess.Process:
    """Start the command, tied to this process's life, its output appended to ``log_file``."""
    owner = "-" if spec.owner is None else f"{spec.owner[0]}:{spec.owner[1]}"
    tied = (sys.executable, "-I", "-S", tether.__file__, str(int(spec.stop_signal)), str(os.getpid()), owner)
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *tied,
            *spec.command,
            env=dict(spec.env),
            cwd=spec.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A session of its own: Ctrl-C in the terminal reaches the supervisor only, which stops all in order.
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process, stop_signal: signal.Signals, within_s: float) -> bool:
    """Ask a process to end, for ``within_s`` seconds, then kill it; tell whether it ended by itself."""
    try:
        process.send_signal(stop_signal)
        async with asyncio.timeout(within_s):
            await process.wait()
        return True
    except ProcessLookupError:
        return True
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return False


@dataclass(slots=True)
class Child:
    """A process that runs as long as :meth:`run` does; ``on_ready`` hears of the first and of every later readiness."""

    spec: Spec
    log_file: Path
    say: Say
    on_ready: Callable[[], None]
    pid: int = 0
    restarts: int = 0
    _ready: bool = False
    _settled: asyncio.Event = field(default_factory=asyncio.Event)  # ready once, or given up
    _failure: StartFailed | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None

    @property
    def is_ready(self) -> bool:
        """Tell whether the process that runs now has answered."""
        return self._ready

    async def until_ready(self) -> None:
        """Wait for the first time that the process works; StartFailed if it gives up."""
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """Keep the process running until :meth:`stop`, or until it failed too often without ever being ready."""
        failed_starts, backoff_s = 0, BACKOFF_FIRST_S
        while not self._stopping.is_set():
            started = time.monotonic()
            outcome = await self.run_once()
            if self._stopping.is_set():
                return
            failed_starts = 0 if self._settled.is_set() else failed_starts + 1
            if failed_starts >= MAX_FAILED_STARTS:
                self._give_up(outcome)
                return
            if time.monotonic() - started > HEALTHY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            self.say(f"{self.spec.name} {outcome}; restarting it")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            self.restarts += 1
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def run_once(self) -> str:
        """Start the process, announce when it is ready, and return how it ended, in words."""
        self._process = process = await spawn(self.spec, self.log_file)
        self.pid = process.pid
        if self._stopping.is_set():
            # Told to stop while it was being started: stop() saw no process yet.
            process.kill()
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._announce())
                code = await process.wait()
                watch.cancel()
        finally:
            self._ready, self._process = False, None
            if process.returncode is None:
                # Cancelled: the supervisor itself fails, and leaves nothing behind.
                process.kill()
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"({process.pid}) {ended}"

    async def stop(self, within_s: float) -> bool:
        """End the process for good; tell whether it did so by itself within ``within_s`` seconds."""
        self._stopping.set()
        if self._process is None or self._process.returncode is not None:
            return True
        return await end(self._process, self.spec.stop_signal, within_s)

    def _give_up(self, outcome: str) -> None:
        text = f"{self.spec.name} {outcome}, {MAX_FAILED_STARTS} times. The end of {self.log_file}:\n"
        self._failure = StartFailed(text + end_of(self.log_file))
        self._settled.set()

    async def _announce(self) -> None:
        while not await self.spec.is_ready():  # noqa: ASYNC110 - another process cannot set our event
            await asyncio.sleep(READY_POLL_S)
        self._ready = True
        self._settled.set()
        self.on_ready()


async def run_to_end(spec: Spec, log_file: Path, limit_s: float) -> None:
    """Run a command that ends by itself, such as a migration; StartFailed if it fails or takes longer."""
    process = await spawn(spec, log_file)
    try:
        async with asyncio.timeout(limit_s):
            code = await process.wait()
    except TimeoutError:
        raise StartFailed(f"{spec.name} took over {limit_s:g} s. The end of {log_file}:\n{end_of(log_file)}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        raise StartFailed(f"{spec.name} failed with code {code}. The end of {log_file}:\n{end_of(log_file)}")
