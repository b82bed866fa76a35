"""`make demo`: an onboarding as Entra ID and Okta push it, a worker killed meanwhile, and the target compared."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc
from rich.console import Console

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.devstack import demo_entra, demo_okta, state
from control_plane.devstack.blueprint import LEASE_TTL_S, Options
from control_plane.devstack.demo_book import Book, Comparison, compare
from control_plane.devstack.demo_data import Organisation, organisations
from control_plane.devstack.demo_entra import Entra
from control_plane.devstack.demo_metrics import read_metric
from control_plane.devstack.demo_okta import Okta
from control_plane.devstack.demo_push import PushRefused, ScimClient, each, open_session
from control_plane.devstack.demo_report import delays, print_access, print_report
from control_plane.devstack.demo_screen import Screen
from control_plane.devstack.demo_target import Reading, read_target
from control_plane.devstack.dev import run_stack, unless_stopped
from control_plane.devstack.errors import StackError
from control_plane.devstack.ready_file import Ready, Role
from control_plane.devstack.stack import Stack
from protos.tenancy.v1 import tenancy_pb2 as pb

WORKERS, PROVIDER_LANES = 2, 4
VICTIM = "worker-1"
# What ends the show with a sentence instead of a traceback.
EXPECTED = (PushRefused, aiohttp.ClientError, grpc.RpcError, TimeoutError)
# The victim dies when this share of the users is pushed: it has work in hand then.
KILL_AT = 0.4
KILL_LIMIT_S = 5.0
CONVERGE_LIMIT_S, POLL_S, CALL_LIMIT_S = 90.0, 0.25, 5.0


class DemoFailed(StackError):
    """The show could not be played to its end."""


@dataclass(slots=True)
class Outcome:
    """How the show ended; None: it did not get to the comparison."""

    comparison: Comparison | None = None

    @property
    def is_good(self) -> bool:
        """Tell whether everything arrived."""
        return self.comparison is not None and not self.comparison.differences


async def run_demo(*, users: int, groups: int, stay: bool) -> bool:
    """Play the show on a stack of its own in a temporary folder; tell whether everything arrived."""
    console, outcome = Console(), Outcome()
    screen = Screen(console)
    folder = _folder()
    options = Options(folder / "data", folder / "ready.json", workers=WORKERS, free_ports=True)
    _prefer_default_ports(options)

    async def play(stack: Stack, stopping: asyncio.Event) -> None:
        show = Show(stack, screen, users, groups)
        if not await unless_stopped(show.play(console, outcome), stopping):
            return
        if stay:
            print_access(console, stack.ready)
            screen.say("everything keeps running; Ctrl-C stops it and removes its data")
            await stopping.wait()

    try:
        await run_stack(options, screen.say, play)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome.is_good


@dataclass(slots=True)
class Show:
    """One performance."""

    stack: Stack
    screen: Screen
    users: int
    groups: int
    _providers: tuple[Entra | Okta, ...] = ()
    _arrived: int = 0
    _known: int = 0
    _pushing: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, console: Console, outcome: Outcome) -> None:
        """Push, kill, wait, compare, report."""
        ready = self.stack.ready
        try:
            async with _providers(ready) as self._providers:
                with self.screen:
                    reading = await self._perform(ready)
        except BaseExceptionGroup as failures:
            if failures.split(EXPECTED)[1] is not None:
                raise
            raise DemoFailed("; ".join(str(failure) for failure in _leaves(failures))) from failures
        outcome.comparison = compare(self._book(), reading.book)
        ledgers = [provider.ledger for provider in self._providers]
        print_report(console, outcome.comparison, delays(ledgers, reading))
        requests = sum(provider.client.requests for provider in self._providers)
        stale = await _stale_leases(ready)
        self.screen.say(
            f"{requests} SCIM requests were pushed; {stale} lease(s) of the killed worker ran out and went to others"
        )

    async def _perform(self, ready: Ready) -> Reading:
        entra, okta = organisations(self.users, self.groups)
        self.screen.say(
            f"Entra ID pushes {len(entra.people)} users and {len(entra.teams)} groups, "
            f"Okta {len(okta.people)} and {len(okta.teams)}, to {ready.scim_base_url}"
        )
        async with open_channel(ready.grpc_target) as channel, asyncio.TaskGroup() as group:
            admin = ControlPlane(channel, ready.admin_token)
            watching = group.create_task(self._watch(admin, ready))
            killing = group.create_task(self._kill_a_worker())
            async with asyncio.TaskGroup() as pushes:
                for provider, organisation in zip(self._providers, (entra, okta), strict=True):
                    pushes.create_task(self._onboard(provider, organisation))
            await killing
            self.screen.say("all is pushed; waiting until the target agrees")
            reading = await self._until_agreed(ready)
            watching.cancel()
        return reading

    async def _onboard(self, provider: Entra | Okta, organisation: Organisation) -> None:
        await provider.test_connection()
        await each(organisation.people, PROVIDER_LANES, provider.push_user)
        self.screen.say(f"{provider.name}: {len(organisation.people)} users pushed, now their groups")
        await each(organisation.teams, PROVIDER_LANES, provider.push_team)
        self.screen.say(f"{provider.name}: {len(organisation.teams)} groups pushed, now changes and departures")
        await provider.change(organisation.people, organisation.teams)

    async def _kill_a_worker(self) -> None:
        """Kill a worker that has leases in hand, the hard way, and say so."""
        while self._pushed_users() < KILL_AT * self.users:  # noqa: ASYNC110 - progress is a number, not an event
            await asyncio.sleep(POLL_S / 5)
        victim, clock = self.stack.child(VICTIM), asyncio.get_running_loop()
        end, held = clock.time() + KILL_LIMIT_S, 0.0
        async with aiohttp.ClientSession() as session:
            # Work takes milliseconds: look often, and strike at once.
            while held == 0 and clock.time() < end:
                held = await read_metric(session, victim.spec.metrics_url, "muster_worker_leases_held")
        os.kill(victim.pid, signal.SIGKILL)
        self.screen.say(
            f"kill -9 {victim.pid}: {VICTIM} died with {held:.0f} lease(s) in hand; "
            f"others get that work when the leases run out, after {LEASE_TTL_S} s at most"
        )

    async def _watch(self, admin: ControlPlane, ready: Ready) -> None:
        assert ready.target is not None
        request = pb.GetTargetStatusRequest(tenant_id=ready.tenant, id=ready.target.id)
        while True:
            # A question that fails costs one picture of the progress, not the show.
            with suppress(grpc.aio.AioRpcError):
                found = await admin.targets.GetTargetStatus(request, metadata=admin.metadata(), timeout=CALL_LIMIT_S)
                self._arrived, self._known = found.total - found.pending, found.total
            pushed = self._pushed_users() + sum(len(each.ledger.groups) for each in self._providers)
            self.screen.show(pushed, self.users + self.groups, self._arrived, self._known)
            await asyncio.sleep(POLL_S)

    async def _until_agreed(self, ready: Ready) -> Reading:
        """Return the first reading of the target that agrees, or the last one within the limit."""
        assert ready.target is not None
        says, clock = self._book(), asyncio.get_running_loop()
        end = clock.time() + CONVERGE_LIMIT_S
        while True:
            # Reading the whole target costs it time: first Muster must believe that it is done.
            late = clock.time() >= end
            if late or self._arrived == self._known:
                reading = await read_target(ready.target)
                if late or not compare(says, reading.book).differences:
                    return reading
            await asyncio.sleep(POLL_S)

    def _book(self) -> Book:
        whole = Book()
        for provider in self._providers:
            whole.accounts |= provider.ledger.book.accounts
            whole.groups |= provider.ledger.book.groups
        return whole

    def _pushed_users(self) -> int:
        return sum(len(provider.ledger.users) for provider in self._providers)


@asynccontextmanager
async def _providers(ready: Ready) -> AsyncIterator[tuple[Entra, Okta]]:
    async with (
        open_session(ready.scim_token, demo_entra.USER_AGENT) as first,
        open_session(ready.scim_token, demo_okta.USER_AGENT) as second,
    ):
        yield (
            Entra(ScimClient(first, ready.scim_base_url), PROVIDER_LANES),
            Okta(ScimClient(second, ready.scim_base_url), PROVIDER_LANES),
        )


async def _stale_leases(ready: Ready) -> int:
    """Return how many leases ended without a result, as the control planes count them."""
    urls = [process.metrics_url for process in ready.processes if process.role is Role.CONTROL_PLANE]
    async with aiohttp.ClientSession() as session:
        return int(sum([await read_metric(session, url, "scim_job_stale_lease_total") for url in urls]))


def _folder() -> Path:
    """Return a fresh folder that PostgreSQL's own user can pass through when root runs the demo."""
    # Root's TMPDIR may be private to root.
    folder = Path(tempfile.mkdtemp(prefix="muster-demo-", dir="/tmp" if os.geteuid() == 0 else None))  # noqa: S108
    folder.chmod(0o711)
    return folder


def _prefer_default_ports(options: Options) -> None:
    """Remember the well-known ports beforehand, so that free ones are only taken where those are not."""
    options.data_dir.mkdir()
    kept = state.load(options.data_dir)
    kept.ports = options.default_ports()
    state.save(options.data_dir, kept)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions inside nested groups."""
    found: list[BaseException] = []
    for inner in group.exceptions:
        found.extend(_leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner])
    return found
