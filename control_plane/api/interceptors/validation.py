"""Checks every request message against the protovalidate rules of the wire contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import protovalidate
from google.protobuf.message import Message

from control_plane.api.errors import CallRefused, bad_request
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, split_method
from control_plane.api.policy import OPEN_SERVICES


class ValidationInterceptor(AroundInterceptor):
    """INVALID_ARGUMENT with the path of each field that breaks a rule."""

    def ignores(self, method: str) -> bool:
        """Leave health and reflection alone: their contracts are not ours."""
        return split_method(method)[0] in OPEN_SERVICES

    @asynccontextmanager
    async def around(self, _details: grpc.HandlerCallDetails, _context: Context) -> AsyncIterator[None]:
        """Nothing around the call; the messages are looked at one by one."""
        yield

    def check(self, message: Message) -> None:
        """Raise CallRefused if ``message`` breaks a rule."""
        violations = protovalidate.collect_violations(message)
        if not violations:
            return
        named = {_path(one): one.proto.message or one.proto.rule_id for one in violations}
        text = "; ".join(f"{field}: {description}" for field, description in named.items())
        raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", text, bad_request(named))


def _path(violation: protovalidate.Violation) -> str:
    """Return the field's path, such as "scopes[1]" or "scim.base_url"."""
    parts = []
    for element in violation.proto.field.elements if violation.proto.field else ():
        subscript = element.subscript
        parts.append(element.field_name + (f"[{subscript.value}]" if subscript is not None else ""))
    return ".".join(parts)
