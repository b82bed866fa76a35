"""Turns exceptions into statuses with google.rpc details; the only place that logs an unexpected one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from control_plane.api.errors import to_status
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context
from control_plane.client.names import DETAILS_KEY
from control_plane.runtime.context import REQUEST_ID_HEADER, request_id
from control_plane.runtime.logs import get_logger

log = get_logger(__name__)


class ErrorsInterceptor(AroundInterceptor):
    """Aborts the call with the status of whatever was raised."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Catch, encode, abort."""
        try:
            yield
        except asyncio.CancelledError:
            raise
        except grpc.aio.AbortError:
            raise
        except BaseExceptionGroup as group:
            await self._abort(details.method, context, _first(group))
        except Exception as err:
            await self._abort(details.method, context, err)

    async def _abort(self, method: str, context: Context, err: BaseException) -> None:
        if not isinstance(err, Exception):
            raise err
        code, status = to_status(err, request_id.get())
        if code is grpc.StatusCode.INTERNAL:
            log.error("call failed", method=method, exc_info=err)
        metadata = ((REQUEST_ID_HEADER, request_id.get()), (DETAILS_KEY, status.SerializeToString()))
        await context.abort(code, status.message, metadata)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first leaf of an exception group: a TaskGroup wraps what its tasks raise."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
