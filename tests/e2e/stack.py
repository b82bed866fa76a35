"""A running `muster dev`, as its users meet it: the ready file, HTTP, gRPC, signals."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

READY_WITHIN_S = 60
STOP_WITHIN_S = 15
Json = dict[str, Any]


@dataclass
class Stack:
    """One `muster dev` on a folder; start it again on the same folder to see what it kept."""

    folder: Path
    arguments: tuple[str, ...] = ("--workers", "2")
    process: "subprocess.Popen[bytes] | None" = None
    log: list[str] = field(default_factory=list)

    @property
    def ready_file(self) -> Path:
        return self.folder / "ready.json"

    def start(self) -> float:
        """Start and wait for the ready file; return the seconds it took."""
        self.ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "control_plane", "dev", "--data-dir", str(self.folder / "data")]
        command += ["--ready-file", str(self.ready_file), "--free-ports", *self.arguments]
        began = time.monotonic()
        with (self.folder / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() - began > READY_WITHIN_S:
                raise RuntimeError(f"muster dev did not get ready: {(self.folder / 'dev.log').read_text()[-3000:]}")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> float:
        """Send SIGTERM and wait; return the seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return time.monotonic() - began

    def ready(self) -> Json:
        """Return what the ready file says now; it is rewritten after each restart."""
        content: Json = json.loads(self.ready_file.read_text())
        return content

    def processes(self, role: str) -> list[Json]:
        """Return the processes of a role."""
        return [one for one in self.ready()["processes"] if one["role"] == role]

    def kill(self, role: str) -> list[int]:
        """Send SIGKILL to every process of a role; return their pids."""
        pids = [int(one["pid"]) for one in self.processes(role)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    async def restarted(self, role: str, old: list[int], within_s: float = 30) -> None:
        """Wait until every process of a role is another one."""
        await eventually(
            lambda: not set(old) & {one["pid"] for one in self.processes(role)} and bool(self.processes(role)), within_s
        )


async def eventually(check: Any, within_s: float, every_s: float = 0.1) -> None:
    """Poll ``check`` (plain or async) until it is true; fail after ``within_s`` seconds with its last word."""
    deadline = time.monotonic() + within_s
    while True:
        outcome = check()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s: {getattr(check, '__name__', check)}")
        await asyncio.sleep(every_s)


class Scim:
    """A SCIM client that knows nothing of Muster: plain HTTP."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self._session, self.base = session, base
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}

    async def call(self, method: str, path: str, body: Json | None = None, **options: Any) -> tuple[int, Json]:
        """Return status and JSON body ({} if there is none)."""
        data = json.dumps(body) if body is not None else None
        async with self._session.request(
            method, self.base + path, data=data, headers={**self._headers, **options.pop("headers", {})}, **options
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else {}

    async def all(self, path: str) -> list[Json]:
        """Return every resource of an endpoint, page by page."""
        found: list[Json] = []
        while True:
            status, page = await self.call("GET", f"{path}?startIndex={len(found) + 1}&count=100")
            assert status == 200, page
            found += page.get("Resources", [])
            if len(found) >= page["totalResults"] or not page.get("Resources"):
                return found


ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


def a_user(name: str) -> Json:
    """Return a user as Entra would create it."""
    return {
        "schemas": [USER, ENTERPRISE],
        "userName": name,
        "externalId": f"ext-{name}",
        "active": True,
        "displayName": f"Display {name}",
        "name": {"givenName": "Zoë", "familyName": name},
        "emails": [{"primary": True, "type": "work", "value": f"{name}@example.com"}],
        ENTERPRISE: {"department": "Sales", "employeeNumber": "42"},
    }
