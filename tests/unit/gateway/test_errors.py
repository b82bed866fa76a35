"""Each exception has one status, and texts from inside stay inside."""

import grpc
import orjson
import pytest

from control_plane.client.errors import CallFailed, DeadlineExceeded, Overloaded, Unavailable
from control_plane.scim import errors as scim
from scim_gateway.errors import AuthenticationFailed, WrongMethod, error_response

DOWN = grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("err", "status", "scim_type", "headers"),
    [
        (scim.InvalidFilter("bad"), 400, "invalidFilter", {}),
        (scim.Uniqueness("taken"), 409, "uniqueness", {}),
        (scim.PreconditionFailed("changed"), 412, None, {}),
        (scim.ServiceUnavailable("later"), 503, None, {"Retry-After": "1"}),
        (AuthenticationFailed("revoked"), 401, None, {"WWW-Authenticate": "Bearer"}),
        (WrongMethod("GET, POST"), 405, None, {"Allow": "GET, POST"}),
        (Overloaded(grpc.StatusCode.RESOURCE_EXHAUSTED, "secret", retry_after_s=2.5), 429, None, {"Retry-After": "3"}),
        (Unavailable(DOWN, "secret", retry_after_s=0.0), 503, None, {"Retry-After": "1"}),
        (DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, "secret"), 503, None, {"Retry-After": "1"}),
        (CallFailed(grpc.StatusCode.CANCELLED, "secret"), 503, None, {"Retry-After": "1"}),
        (CallFailed(grpc.StatusCode.INTERNAL, "secret"), 500, None, {}),
        (CallFailed(grpc.StatusCode.UNAUTHENTICATED, "secret"), 500, None, {}),
        (RuntimeError("secret"), 500, None, {}),
    ],
)
def test_status_and_headers(err: Exception, status: int, scim_type: str | None, headers: dict[str, str]) -> None:
    response = error_response(err)
    assert response.status == status
    assert response.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    for name, value in headers.items():
        assert response.headers[name] == value
    assert isinstance(response.body, bytes)
    body = orjson.loads(response.body)
    assert body["status"] == str(status)
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert body.get("scimType") == scim_type
    assert "secret" not in body["detail"]
    assert "revoked" not in body["detail"]
