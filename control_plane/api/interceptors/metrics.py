"""Counts and times every call."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, split_method
from control_plane.api.policy import OPEN_SERVICES, POLICY
from control_plane.metrics import Metrics

# What a SCIM client did wrong is no failure of the control plane.
_CLIENT_FAULTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}
_NAMES = {code.value[0]: code for code in grpc.StatusCode}


class MetricsInterceptor(AroundInterceptor):
    """grpc_server_handled_total, grpc_server_handling_seconds and scim_admin_failure_total."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Time the call and read its status afterwards."""
        service, method = split_method(details.method)
        if details.method not in POLICY and service not in OPEN_SERVICES:
            # A method that there is not is a caller's text, and labels have few values.
            service = method = "unknown"
        began = time.perf_counter()
        cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            code = grpc.StatusCode.CANCELLED if cancelled else _code(context)
            self._metrics.handled.labels(service, method, code.name).inc()
            self._metrics.handling_s.labels(service, method).observe(time.perf_counter() - began)
            if code is not grpc.StatusCode.OK and _is_admin_failure(service, method, code):
                endpoint = f"{service.rsplit('.', 1)[-1]}/{method}"
                self._metrics.admin_failures.labels(endpoint, code.name.lower()).inc()


def _code(context: Context) -> grpc.StatusCode:
    code = context.code()
    if isinstance(code, int):
        return _NAMES.get(code, grpc.StatusCode.UNKNOWN)
    return grpc.StatusCode.OK if code is None else code


def _is_admin_failure(service: str, method: str, code: grpc.StatusCode) -> bool:
    if method == "VerifyToken" and code is grpc.StatusCode.UNAUTHENTICATED:
        return False  # the gateway counts it as scim_auth_failure_total
    return not (service.endswith(".DirectoryService") and code in _CLIENT_FAULTS)
