"""May this caller do that, and for how long: the policy table applied. What it does not list is denied."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.protobuf.message import Message

from control_plane.api.errors import CallRefused
from control_plane.api.interceptors.auth import identity
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, split_method
from control_plane.api.policy import OPEN_SERVICES, POLICY, allows, is_for_tenant


class PolicyInterceptor(AroundInterceptor):
    """PERMISSION_DENIED unless the table allows it; the table's deadline where the caller set none or a longer one."""

    def ignores(self, method: str) -> bool:
        """Leave health and reflection open."""
        return split_method(method)[0] in OPEN_SERVICES

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, _context: Context) -> AsyncIterator[None]:
        """Check role and scope, then run under the deadline. A caller's shorter deadline cancels the call by itself."""
        rule = POLICY.get(details.method)
        if rule is None or not allows(rule, identity()):
            raise _denied("this credential may not call this method")
        async with asyncio.timeout(rule.deadline_s):
            yield

    def check(self, message: Message) -> None:
        """Raise CallRefused if the caller is for some tenants only, and the message is not for one of them."""
        if not is_for_tenant(message, identity()):
            raise _denied("this credential may not act for this tenant")


def _denied(text: str) -> CallRefused:
    return CallRefused(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", text)
