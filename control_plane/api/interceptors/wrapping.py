"""Puts one async context manager around a handler, whatever its arity, so that each interceptor is written once."""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from control_plane.api.errors import CallRefused

# Requests and responses are of any message type here: this file is the one place that does not look at them.
# Generic in the stubs only, hence the quotes.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Around = Callable[[Context], AbstractAsyncContextManager[None]]
Check = Callable[[Any], None]
# So long may a caller take to send the one message of a call. gRPC would wait for it as long as the connection lasts.
MESSAGE_S = 10.0
_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def split_method(full: str) -> tuple[str, str]:
    """Return service and method of "/package.Service/Method"."""
    service, _, method = full.removeprefix("/").partition("/")
    return service, method


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A handler with ``around`` around each call and ``check`` before each request message."""

    handler: Handler
    around: Around
    check: Check | None

    def _checked(self, request: Any) -> Any:
        if self.check is None:
            return request
        if not self.handler.request_streaming:
            self.check(request)
            return request
        return self._each_checked(request, self.check)

    async def _each_checked(self, requests: AsyncIterator[Any], check: Check) -> AsyncIterator[Any]:
        async for request in requests:
            check(request)
            yield request

    async def answer(self, request: Any, context: Context) -> Any:
        """Handle a call with one response."""
        behaviour = self.handler.stream_unary if self.handler.request_streaming else self.handler.unary_unary
        async with self.around(context):
            return await cast("Any", behaviour)(self._checked(request), context)

    async def answer_stream(self, request: Any, context: Context) -> None:
        """Handle a call with a stream of responses, from a generator or from a handler that writes by itself."""
        behaviour = self.handler.stream_stream if self.handler.request_streaming else self.handler.unary_stream
        async with self.around(context):
            outcome = cast("Any", behaviour)(self._checked(request), context)
            if inspect.isawaitable(outcome):
                await outcome
                return
            # Closed at once when the call ends: a generator may hold a database transaction.
            async with aclosing(outcome) as messages:
                async for message in messages:
                    await context.write(message)


def wrap(handler: Handler, around: Around, check: Check | None = None) -> Handler:
    """Return ``handler`` with ``around(context)`` around each call, and ``check(message)`` on each request message."""
    wrapped = _Wrapped(handler, around, check)
    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    behaviour = wrapped.answer_stream if handler.response_streaming else wrapped.answer
    made = cast("Any", make)(behaviour, handler.request_deserializer, handler.response_serializer)
    return cast("grpc.RpcMethodHandler[Any, Any]", made)


@dataclass(frozen=True, slots=True)
class _Unread:
    """A handler that reads and parses its messages itself, so that something can come before that."""

    handler: Handler

    def _parsed(self, raw: Any) -> Any:
        parse = self.handler.request_deserializer
        if parse is None:
            return raw
        try:
            return parse(raw)
        except DecodeError as err:
            text = "the request is no message of this method"
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", text) from err

    async def _each_parsed(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for raw in requests:
            yield self._parsed(raw)

    async def _only(self, context: Context) -> Any:
        async with asyncio.timeout(MESSAGE_S):
            # Not the iterator, which costs 60 us more.
            raw = await context.read()
        if raw is grpc.aio.EOF:
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "the request has no message")
        return self._parsed(raw)

    def given(self, behaviour: Any) -> Callable[[AsyncIterator[Any], Context], Any]:
        """Return ``behaviour`` for raw messages that are still to come."""
        if self.handler.request_streaming:
            return lambda requests, context: behaviour(self._each_parsed(requests), context)

        async def answer(_requests: AsyncIterator[Any], context: Context) -> Any:
            return await behaviour(await self._only(context), context)

        return answer


def read_late(handler: Handler) -> Handler:
    """Return ``handler`` without gRPC's own reading: its messages are read when what is wrapped around lets it.

    gRPC begins a call with one request only when that has come: until then nothing of ours runs, and whoever sends
    none would hold one of the few places for calls. So it becomes a call with a stream of requests, of which one is
    read; on the wire both are the same. A handler with a stream of responses must write them by itself.
    """
    unread = _Unread(handler)
    behaviour = {
        (False, False): handler.unary_unary,
        (True, False): handler.stream_unary,
        (False, True): handler.unary_stream,
        (True, True): handler.stream_stream,
    }[handler.request_streaming, handler.response_streaming]
    make = cast("Any", _MAKERS[True, handler.response_streaming])
    made = make(unread.given(behaviour), None, handler.response_serializer)
    return cast("grpc.RpcMethodHandler[Any, Any]", made)


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Base of our interceptors: subclasses say what surrounds a call, and which methods they leave alone."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Wrap the handler that gRPC finds."""
        return self.wrapped(await continuation(details), details)

    def wrapped(self, handler: Found, details: grpc.HandlerCallDetails) -> Found:
        """Wrap the handler of known methods; an unknown method stays unknown (UNIMPLEMENTED)."""
        if handler is None or self.ignores(details.method):
            return handler
        # Whoever does not look at messages does not stand in their way.
        check = None if type(self).check is AroundInterceptor.check else self.check
        return wrap(handler, lambda context: self.around(details, context), check)

    def ignores(self, _method: str) -> bool:
        """Tell whether a method is left alone."""
        return False

    def check(self, _message: Any) -> None:
        """Look at a request message; raise to refuse it."""

    @abstractmethod
    def around(self, details: grpc.HandlerCallDetails, context: Context) -> AbstractAsyncContextManager[None]:
        """Return what surrounds one call."""


class Chain(grpc.aio.ServerInterceptor):
    """Several of ours as one, outermost first: what gRPC does for each of them costs more than most of them do."""

    def __init__(self, *layers: AroundInterceptor) -> None:
        self._inside_out = layers[::-1]

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Wrap the handler in every layer."""
        handler = await continuation(details)
        for layer in self._inside_out:
            handler = layer.wrapped(handler, details)
        return handler
