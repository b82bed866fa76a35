"""Short ways to call a control plane."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


class Refusal:
    """What a failed call said: code, text, and the google.rpc details by type."""

    def __init__(self, err: grpc.aio.AioRpcError) -> None:
        self.code, self.text = err.code(), err.details() or ""
        self.info = error_details_pb2.ErrorInfo()
        self.fields: dict[str, str] = {}
        self.retry_after_s: float | None = None
        for key, value in err.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                for detail in status_pb2.Status.FromString(value).details:
                    self._take(detail)

    def _take(self, detail: object) -> None:
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        for message in (self.info, bad, retry):
            if detail.Is(message.DESCRIPTOR):  # type: ignore[attr-defined]  # an Any message
                detail.Unpack(message)  # type: ignore[attr-defined]  # an Any message
        self.fields |= {one.field: one.description for one in bad.field_violations}
        if retry.HasField("retry_delay"):
            self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()


async def refused(call: object) -> Refusal:
    """Return how ``call`` was refused; fail if it was not."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call  # type: ignore[misc]  # a unary call
    except grpc.aio.AioRpcError as err:
        return Refusal(err)
    pytest.fail("the call was not refused")
