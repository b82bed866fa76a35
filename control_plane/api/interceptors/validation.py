"""Checks every request message against the protovalidate rules of the wire contract."""

from collections.abc import AsyncIterator, Iterator
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
        named = {_path(one): one.proto.message or one.proto.rule_id for one in violations}
        if b"\0" in message.SerializeToString():
            named |= dict.fromkeys(_with_nul(message), "must not contain NUL")
        if not named:
            return
        text = "; ".join(f"{field}: {description}" for field, description in named.items())
        raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", text, bad_request(named))


def _with_nul(message: Message, prefix: str = "") -> Iterator[str]:
    """Yield the path of each string that contains NUL: PostgreSQL cannot store one.

    SCIM documents are left to the SCIM language, which refuses NUL in its own words.
    """
    for field, value in message.ListFields():
        if field.name == "document":
            continue
        path = prefix + field.name
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _with_nul(one, path + ".")
            elif isinstance(one, str) and "\0" in one:
                yield path


def _path(violation: protovalidate.Violation) -> str:
    """Return the field's path, such as "scopes[1]" or "scim.base_url"."""
    parts = []
    for element in violation.proto.field.elements if violation.proto.field else ():
        subscript = element.subscript
        parts.append(element.field_name + (f"[{subscript.value}]" if subscript is not None else ""))
    return ".".join(parts)
