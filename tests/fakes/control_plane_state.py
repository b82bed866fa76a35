"""What the fake control plane holds and does to calls: its state, its faults, and how a call ends in an error."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from control_plane.scim import errors as scim
from control_plane.scim.limits import MAX_BULK_BYTES, MAX_BULK_OPERATIONS
from control_plane.scim.registry import SchemaRegistry, default_registry
from protos.directory.v1 import directory_pb2 as directory
from protos.tenancy.v1 import tenancy_pb2 as tenancy

GATEWAY_TOKEN = "fake-gateway-token"
TENANT = "018f0000-0000-7000-8000-000000000001"
OTHER_TENANT = "018f0000-0000-7000-8000-000000000002"
CREATED = datetime(2026, 3, 1, 9, 30, 0, 123_456, tzinfo=UTC)

LIMITS = {
    "requests_per_second": 1_000,
    "burst": 2_000,
    "max_body_bytes": 1024 * 1024,
    "max_bulk_operations": MAX_BULK_OPERATIONS,
    "max_bulk_bytes": MAX_BULK_BYTES,
}

Context = Any  # grpc.aio.ServicerContext, whose stubs do not know abort_with_status


@dataclass
class Fault:
    """What goes wrong at the next calls, until cleared."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after_s: float | None = None


@dataclass
class Faults:
    """Switches of the fake."""

    call: Fault | None = None  # every unary call and list fails with it, but for permits and reports
    lists_silent: bool = False  # a list begins to answer when its caller has gone
    members_after: int | None = None  # StreamMembers breaks after so many pieces
    members_gone: bool = False  # StreamMembers says that the group does not exist
    permits: Fault | None = None
    reports: Fault | None = None
    watch_refused: bool = False
    watch_silent: bool = False  # streams stay open and say nothing


@dataclass
class Seen:
    """A call that arrived."""

    method: str
    message: Any
    metadata: dict[str, str]


@dataclass
class State:
    """Everything the fake holds."""

    tokens: dict[str, tenancy.VerifyTokenResponse] = field(default_factory=dict)
    refusals: dict[str, tuple[str, str]] = field(default_factory=dict)  # token -> cause, tenant
    resources: dict[tuple[str, str], directory.Resource] = field(default_factory=dict)  # (tenant, id)
    members: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # group id -> member objects
    groups: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # user id -> group objects
    bulk: list[directory.BulkResult] = field(default_factory=list)  # what BulkWrite answers
    registries: dict[str, SchemaRegistry] = field(default_factory=dict)  # tenant -> its schemas, if not the default
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: calls wait before they answer
    limits: tenancy.TenantLimits = field(default_factory=lambda: tenancy.TenantLimits(**LIMITS))  # of tokens to come
    permits: dict[str, int] = field(default_factory=dict)  # tenant -> how many are left; absent: any number
    permits_asked: list[tuple[str, int]] = field(default_factory=list)  # tenant, how many
    reports: list[tenancy.ReportTokenUseRequest] = field(default_factory=list)
    watchers: set[asyncio.Queue[tenancy.WatchTokensResponse | None]] = field(default_factory=set)

    def registry(self, tenant: str) -> SchemaRegistry:
        """Return the schemas of a tenant."""
        return self.registries.get(tenant, default_registry())

    async def enter(self, method: str, message: Any, context: Context) -> None:
        """Record the call and let it fail as the switches say."""
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.seen.append(Seen(method, message, metadata))
        if metadata.get("authorization") != f"Bearer {GATEWAY_TOKEN}":
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "bad service token", "SERVICE_TOKEN_REFUSED")
        await self.gate.wait()
        if (fault := self.faults.call) is not None:
            await abort(context, fault.code, "secret internals", fault.reason, retry_after_s=fault.retry_after_s)


async def scim_abort(context: Context, err: scim.ScimError) -> NoReturn:
    """End the call with a SCIM error."""
    metadata = {"status": str(err.status), "scim_type": err.scim_type or ""}
    await abort(context, grpc.StatusCode.INVALID_ARGUMENT, err.detail, "SCIM_ERROR", metadata)


async def abort(
    context: Context,
    code: grpc.StatusCode,
    message: str,
    reason: str,
    metadata: dict[str, str] | None = None,
    retry_after_s: float | None = None,
) -> NoReturn:
    """End the call as control_plane/api/errors.py does."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="muster", metadata=metadata or {}))
    details = [info]
    if retry_after_s is not None:
        retry = any_pb2.Any()
        delay = duration_pb2.Duration(nanos=int(retry_after_s % 1 * 1e9), seconds=int(retry_after_s))
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        details.append(retry)
    status = status_pb2.Status(code=code.value[0], message=message, details=details)
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status always raises")
