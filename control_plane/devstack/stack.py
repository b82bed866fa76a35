"""`muster dev`: starts the whole stack in order, keeps it running, stops it in order."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import IO

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import CallFailed
from control_plane.devstack import certificates, ports, ready_file, state
from control_plane.devstack.blueprint import DATABASE, Blueprint, Options
from control_plane.devstack.database import ensure_database
from control_plane.devstack.errors import StartFailed
from control_plane.devstack.process import Child, Say, Spec, rotate, run_to_end
from control_plane.devstack.ready_file import Ready, ReadyProcess, ReadyTarget, ReadyTls, Role
from control_plane.devstack.seed import TARGET_NAME, Seeder, TargetApp

START_LIMIT_S, MIGRATE_LIMIT_S = 90.0, 60.0
# After kill -9 of the supervisor its children are still on their way out, and hold the ports.
PREDECESSOR_LIMIT_S, PREDECESSOR_POLL_S = 10.0, 0.1
# Edges first, engines last: whoever works on something still finds what it needs. Seconds until SIGKILL, 8.7 in all.
STOP_ORDER: tuple[tuple[Role, float], ...] = (
    (Role.WORKER, 3.3),
    (Role.GATEWAY, 1.5),
    (Role.CONTROL_PLANE, 1.8),
    (Role.TARGET, 0.4),
    (Role.REDIS, 0.4),
    (Role.POSTGRES, 1.3),
)


class Stack:
    """All processes of one data folder: ``async with Stack(...) as stack: await stack.start()``.

    Leaving the block stops everything. Raises StartFailed, PortTaken, FolderInUse, StateUnreadable or
    EmbeddedPostgresError, whose messages are for people.
    """

    def __init__(self, options: Options, say: Say) -> None:
        self.options, self._say = options, say
        self._children: list[Child] = []
        self._group = asyncio.TaskGroup()
        self._complete = False

    async def __aenter__(self) -> "Stack":
        folder = self.options.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        self._logs = folder / "logs"
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._lock: IO[str] = state.lock(folder)
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._complete = False
        ready_file.remove(self.options.ready_file)
        try:
            await self._stop_all()
        finally:
            await self._group.__aexit__(None, None, None)
            state.unlock(self._lock)

    @property
    def ready(self) -> Ready:
        """What the ready file says, as of now."""
        kept, plan = self._state, self._blueprint
        target = None
        if self.options.with_target:
            target = ReadyTarget(kept.target_id, TARGET_NAME, "scim", plan.target_url, kept.secrets.target_token)
        return Ready(
            scim_base_url=plan.scim_base_url,
            tenant=kept.first.tenant_id,
            scim_token=kept.first.token,
            second_tenant=kept.second.tenant_id,
            second_scim_token=kept.second.token,
            grpc_target=plan.control_planes[0],
            grpc_plaintext=plan.tls is None,
            grpc_tls=ReadyTls(plan.tls.ca, plan.tls.cert, plan.tls.key, plan.tls.server_name) if plan.tls else None,
            admin_token=kept.secrets.admin_token,
            console_url=None,
            console_user=None,
            console_password=None,
            portal_url=None,
            postgres_url=plan.engine.superuser_url(DATABASE),
            redis_url=plan.valkey.url(),
            target=target,
            processes=tuple(_ready_process(child) for child in self._children),
        )

    async def start(self) -> None:
        """Start everything; return when all of it works and the ready file says so."""
        ready_file.remove(self.options.ready_file)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await self._choose_ports()
                await self._start_engines()
                await self._start_processes()
                await self._seed()
                for child in self._children:
                    await child.until_ready()
        except TimeoutError:
            late = ", ".join(child.spec.name for child in self._children if not child.is_ready) or "the start"
            raise StartFailed(f"not ready after {START_LIMIT_S:g} s: {late}. Logs are in {self._logs}") from None
        self._complete = True
        self._write_ready_file()

    def child(self, name: str) -> Child:
        """Return a process by its name."""
        return next(child for child in self._children if child.spec.name == name)

    async def _choose_ports(self) -> None:
        folder, options = self.options.data_dir, self.options
        self._state = kept = state.load(folder)
        wanted = options.default_ports()
        if options.free_ports:
            wanted = {name: kept.ports[name] for name in wanted if name in kept.ports}
        if state.left_running(self._lock):
            with suppress(TimeoutError):
                async with asyncio.timeout(PREDECESSOR_LIMIT_S):
                    while not all(ports.is_free(port) for port in wanted.values()):  # noqa: ASYNC110 - not our event
                        await asyncio.sleep(PREDECESSOR_POLL_S)
        names = options.default_ports()
        chosen = ports.free(names, kept.ports) if options.free_ports else ports.fixed(names)
        kept.ports |= chosen
        state.save(folder, kept)
        state.mark_running(self._lock)
        made = certificates.make(folder, options.identities()) if options.mtls else None
        self._blueprint = Blueprint(options, kept, made)

    async def _start_engines(self) -> None:
        plan = self._blueprint
        self._launch(plan.redis())
        if self.options.with_target:
            self._launch(plan.target())
        self._say("starting PostgreSQL and Valkey")
        await asyncio.to_thread(plan.engine.prepare)
        await self._launch(plan.postgres()).until_ready()
        await ensure_database(plan.engine.superuser_url("postgres"), DATABASE)
        log_file = self._log_file("migrate")
        await run_to_end(plan.migrate(), log_file, MIGRATE_LIMIT_S)

    async def _start_processes(self) -> None:
        plan, options = self._blueprint, self.options
        self._say(
            f"starting {options.control_planes} control plane(s), {options.gateways} gateway(s), "
            f"{options.workers} worker(s)"
        )
        control_planes = [self._launch(plan.control_plane(n + 1)) for n in range(options.control_planes)]
        for n in range(options.gateways):
            self._launch(plan.gateway(n + 1))
        for n in range(options.workers):
            self._launch(plan.worker(n + 1))
        for child in control_planes:
            await child.until_ready()

    async def _seed(self) -> None:
        plan, kept = self._blueprint, self._state
        target = TargetApp(plan.target_url, kept.secrets.target_token) if self.options.with_target else None
        async with open_channel(plan.control_planes[0], plan.tls) as channel:
            admin = ControlPlane(channel, kept.secrets.admin_token)
            try:
                await Seeder(admin, kept, lambda: state.save(self.options.data_dir, kept)).run(target)
            except CallFailed as err:
                raise StartFailed(f"the tenants of the demo could not be made: {err}") from err

    async def _stop_all(self) -> None:
        for role, within_s in STOP_ORDER:
            children = [child for child in self._children if child.spec.role is role]
            ended = await asyncio.gather(*(child.stop(within_s) for child in children))
            for child, by_itself in zip(children, ended, strict=True):
                if not by_itself:
                    self._say(f"{child.spec.name} did not end within {within_s:g} s and was killed")

    def _launch(self, spec: Spec) -> Child:
        child = Child(spec, self._log_file(spec.name), self._say, self._on_ready)
        self._children.append(child)
        self._group.create_task(child.run(), name=spec.name)
        return child

    def _log_file(self, name: str) -> Path:
        path = self._logs / f"{name}.log"
        rotate(path)
        return path

    def _on_ready(self) -> None:
        if self._complete:
            self._write_ready_file()

    def _write_ready_file(self) -> None:
        ready_file.write(self.options.ready_file, self.ready)


def _ready_process(child: Child) -> ReadyProcess:
    spec = child.spec
    return ReadyProcess(spec.name, spec.role, child.pid, spec.port, spec.metrics_url)
