"""Puts one async context manager around a handler, whatever its arity, so that each interceptor is written once."""

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc

# Requests and responses are of any message type here: this file is the one place that does not look at them.
# Generic in the stubs only, hence the quotes.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Around = Callable[[Context], AbstractAsyncContextManager[None]]
Check = Callable[[Any], None]


def split_method(full: str) -> tuple[str, str]:
    """Return service and method of "/package.Service/Method"."""
    service, _, method = full.removeprefix("/").partition("/")
    return service, method


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A handler with ``around`` around each call and ``check`` before each request message."""

    handler: Handler
    around: Around
    check: Check

    def _checked(self, request: Any) -> Any:
        if not self.handler.request_streaming:
            self.check(request)
            return request
        return self._each_checked(request)

    async def _each_checked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self.check(request)
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


def wrap(handler: Handler, around: Around, check: Check) -> Handler:
    """Return ``handler`` with ``around(context)`` around each call, and ``check(message)`` on each request message."""
    wrapped = _Wrapped(handler, around, check)
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    behaviour = wrapped.answer_stream if handler.response_streaming else wrapped.answer
    made = cast("Any", make)(behaviour, handler.request_deserializer, handler.response_serializer)
    return cast("grpc.RpcMethodHandler[Any, Any]", made)


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Base of our interceptors: subclasses say what surrounds a call, and which methods they leave alone."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Wrap the handler of known methods; an unknown method stays unknown (UNIMPLEMENTED)."""
        handler = await continuation(details)
        if handler is None or self.ignores(details.method):
            return handler
        return wrap(handler, lambda context: self.around(details, context), self.check)

    def ignores(self, _method: str) -> bool:
        """Tell whether a method is left alone."""
        return False

    def check(self, _message: Any) -> None:
        """Look at a request message; raise to refuse it."""

    @abstractmethod
    def around(self, details: grpc.HandlerCallDetails, context: Context) -> AbstractAsyncContextManager[None]:
        """Return what surrounds one call."""
