"""Puts into the audit trail what no use case writes: what was refused, and that the directory was read.

What succeeds is written by the use case, in the transaction of its effect. Of errors that leave open whether there was
an effect (UNAVAILABLE and the like) nothing is written here: what was committed has its event.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.message import Message

from control_plane.api.errors import CallRefused, to_status
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, split_method
from control_plane.api.policy import OPEN_SERVICES, POLICY, tenant_named
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import TenantId, parse_resource_id
from control_plane.domain.resources import ResourceType
from control_plane.runtime.context import request_id
from control_plane.scim.errors import ScimError
from control_plane.services.caller import Deed
from control_plane.services.reads import Reader, Reads
from control_plane.services.refusal_text import scim_reason, without_values
from control_plane.services.refusals import Refusals

UNDECIDED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
DENIED = "access.deny"
READS = {
    "/muster.directory.v1.DirectoryService/GetResource": "get",
    "/muster.directory.v1.DirectoryService/ListResources": "list",
    "/muster.directory.v1.DirectoryService/StreamMembers": "get",
}
_ID_FIELDS = ("id", "token_id", "resource_id")
# What may stand in a field that names a thing without being a UUID: a schema.
_URN = re.compile(r"urn:[A-Za-z0-9:._-]{1,196}")

_message: ContextVar[Any] = ContextVar("audited message", default=None)


class AuditInterceptor(AroundInterceptor):
    """Stands behind the interceptor that knows who calls, and before all that may refuse."""

    def __init__(self, refusals: Refusals, reads: Reads) -> None:
        self._refusals, self._reads = refusals, reads

    def ignores(self, method: str) -> bool:
        """Leave health and reflection alone."""
        return split_method(method)[0] in OPEN_SERVICES

    def check(self, message: Any) -> None:
        """Remember the request: what it names is what the event is about."""
        if _message.get() is None:
            _message.set(message)

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, _context: Context) -> AsyncIterator[None]:
        """Let the call happen, then write what became of it."""
        _message.set(None)
        try:
            yield
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except BaseExceptionGroup:
            # Out of a use case's own tasks: nothing that was refused.
            raise
        except Exception as err:
            await self._refused(details.method, err)
            raise
        if details.method in READS:
            self._read(details.method)

    async def _refused(self, method: str, err: Exception) -> None:
        code, _ = to_status(err, request_id.get())
        rule, message = POLICY.get(method), _message.get()
        if code in UNDECIDED or rule is None:
            return
        is_denied = code is grpc.StatusCode.PERMISSION_DENIED
        if not (rule.audit_action or is_denied):
            return
        service, name = split_method(method)
        rpc = f"{service.rsplit('.', 1)[-1]}/{name}"
        deed = _deed(method, rule.audit_action, message, rpc)
        await self._refusals.record(caller(), _tenant(message), deed, _reason(err, message))

    def _read(self, method: str) -> None:
        message = _message.get()
        tenant = _tenant(message)
        if tenant is None:
            return
        # One caller is one reader, from wherever it reads.
        actor = replace(caller().actor, address="", agent="")
        self._reads.note(Reader(tenant, actor, _noun(message, "resource"), READS[method]))


def _deed(method: str, action: str, message: Any, rpc: str) -> Deed:
    """Return what was tried; the action of a write to the directory depends on the resource type."""
    if action == "<type>.<verb>":
        noun, action = "bulk", "bulk.write"
    elif action.startswith("<type>."):
        noun = _noun(message, "resource")
        action = action.replace("<type>", noun)
    elif action:
        noun = action.partition(".")[0]
    elif method in READS:
        noun = _noun(message, "resource")
        action = f"{noun}.{READS[method]}"
    else:
        return Deed(DENIED, "rpc", rpc, {"rpc": rpc})
    return Deed(action, noun, _resource_id(message), {"rpc": rpc})


def _noun(message: Any, otherwise: str) -> str:
    """Return which type of resource a request to the directory is about."""
    if message is None or "type" not in message.DESCRIPTOR.fields_by_name:
        return ResourceType.GROUP.noun if message is not None else otherwise
    try:
        return ResourceType(message.type).noun
    except ValueError:
        return otherwise


def _resource_id(message: Any) -> str:
    """Return the id that a request names, if it is one: whatever else stands there may be somebody's name."""
    for part in _parts(message):
        for field in _ID_FIELDS:
            text = getattr(part, field, "")
            if isinstance(text, str) and (parse_resource_id(text) is not None or _URN.fullmatch(text)):
                return text
    return ""


def _tenant(message: Any) -> TenantId | None:
    """Return the tenant that a request names; None if it names none."""
    found = _uuid(tenant_named(message)) if message is not None else None
    return None if found is None else TenantId(found)


def _parts(message: Any) -> list[Any]:
    """Return a request and the messages in it: an update names what it changes inside of what it sets."""
    if message is None:
        return []
    return [message, *(value for _, value in message.ListFields() if isinstance(value, Message))]


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _reason(err: Exception, message: Any) -> str:
    """Return the stable reason and the message, without values of the request."""
    match err:
        case ScimError():
            return scim_reason(err, getattr(message, "document", ""))
        case CallRefused() | MusterError():
            return f"{err.reason}: {without_values(str(err))}"
        case _:
            return type(err).__name__
