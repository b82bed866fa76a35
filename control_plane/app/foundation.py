"""What all use cases stand on: engines, keys, and what is shared between them. Opened in order, closed in reverse."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from control_plane.api.paging import PageTokens
from control_plane.app.keys import Keys, keys_of
from control_plane.domain.tenants import Limits
from control_plane.metrics import Metrics
from control_plane.queue.lease_queue import LeaseQueue
from control_plane.queue.rates import Rates
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.audit_checkpoints import AuditCheckpoints, checkpointing
from control_plane.services.audit_tail import AuditTail
from control_plane.services.dispatch import Dispatcher
from control_plane.services.epoch import EpochKeeper
from control_plane.services.kdf import Kdf
from control_plane.services.leases import LeaseEngine
from control_plane.services.reads import Reads
from control_plane.services.refusals import Refusals
from control_plane.services.relay import Relay
from control_plane.services.results import ResultWriter
from control_plane.services.tenant_rules import TenantRules
from control_plane.services.token_watch import TokenWatch
from control_plane.services.trail import Trail
from control_plane.settings import ControlPlaneSettings
from control_plane.storage.engine import Storage

log = get_logger(__name__)

CLOSE_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Foundation:
    """One of each for a process."""

    settings: ControlPlaneSettings
    clock: Clock
    metrics: Metrics
    keys: Keys
    storage: Storage
    queue: LeaseQueue
    epoch: EpochKeeper
    relay: Relay
    rates: Rates
    kdf: Kdf
    trail: Trail
    tail: AuditTail
    checkpoints: AuditCheckpoints
    reads: Reads
    refusals: Refusals
    engine: LeaseEngine
    rules: TenantRules
    watch: TokenWatch
    pages: PageTokens
    limits: Limits


async def lay(settings: ControlPlaneSettings, clock: Clock, stack: AsyncExitStack) -> Foundation:
    """Open what everything stands on; ``stack`` closes it. SettingsError, or the engines' own errors."""
    metrics, keys = Metrics(), keys_of(settings, clock)
    signing = checkpointing(
        settings.audit_signing_key, settings.audit_checkpoint_dir, settings.audit_checkpoint_interval_s
    )
    storage = await Storage.open(
        settings.postgres_url, pool_size=settings.postgres_pool_size, timeout_s=settings.postgres_timeout_s
    )
    stack.push_async_callback(within, CLOSE_LIMIT_S, "storage", storage.close)
    queue = await LeaseQueue.open(settings.redis_url)
    stack.push_async_callback(within, CLOSE_LIMIT_S, "queue", queue.close)
    epoch = EpochKeeper(storage, queue, metrics)
    await epoch.open()
    rates = Rates.open(settings.redis_url)
    stack.push_async_callback(within, CLOSE_LIMIT_S, "rates", rates.close)
    relay = Relay(storage, queue, epoch, metrics, clock, settings.relay_interval_s)
    relay.request_sweep()
    trail = Trail(keys.keyring, clock)
    reads, refusals = Reads(storage, clock), Refusals(storage, clock)
    # What was counted is written when no call can add to it.
    stack.push_async_callback(within, CLOSE_LIMIT_S, "read counts", reads.flush)
    stack.push_async_callback(within, CLOSE_LIMIT_S, "refusal counts", refusals.flush)
    results = ResultWriter(storage, relay, trail, metrics, clock)
    dispatcher = Dispatcher(storage, keys.keyring, clock)
    engine = LeaseEngine(storage, queue, epoch, relay, dispatcher, results, metrics, settings.lease_ttl_s)
    kdf = Kdf(metrics)
    stack.callback(kdf.close)
    limits = Limits(requests_per_second=settings.tenant_requests_per_second, burst=settings.tenant_burst)
    rules = TenantRules(storage, clock, limits)
    rules.subscribe(engine.recheck)
    # Of a tenant that is purged no process may keep the keys.
    rules.subscribe(lambda tenant: keys.keyring.forget(tenant) if tenant is not None else None)
    return Foundation(
        settings=settings,
        clock=clock,
        metrics=metrics,
        keys=keys,
        storage=storage,
        queue=queue,
        epoch=epoch,
        relay=relay,
        rates=rates,
        kdf=kdf,
        trail=trail,
        tail=AuditTail(storage, trail, storage.listen),
        checkpoints=AuditCheckpoints(storage, signing, metrics, clock),
        reads=reads,
        refusals=refusals,
        engine=engine,
        rules=rules,
        watch=TokenWatch(storage.listen, clock),
        pages=PageTokens(*keys.pages),
        limits=limits,
    )


async def within(limit_s: float, name: str, close: Callable[[], Awaitable[object]]) -> None:
    """Close something in its time: a driver that hangs must not keep the process from ending."""
    try:
        async with asyncio.timeout(limit_s):
            await close()
    except TimeoutError:
        log.error("did not close in time", part=name, limit_s=limit_s)
