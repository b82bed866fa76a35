"""POST /Bulk over HTTP (RFC 7644 section 3.7): the body goes through as it is, the BulkResponse is made here."""

from collections.abc import AsyncIterator

import grpc
import pytest

from control_plane.scim.limits import MAX_BULK_BYTES
from protos.directory.v1 import directory_pb2 as wire
from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ
from tests.fakes.control_plane import TENANT, Fault
from tests.fixtures.gateway import RunningGateway, StartGateway

BULK = b'{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[]}'
USER, GROUP = wire.RESOURCE_TYPE_USER, wire.RESOURCE_TYPE_GROUP


async def test_each_operation_has_its_result(gateway: RunningGateway) -> None:
    gateway.control_plane.state.bulk = [
        wire.BulkResult(method="POST", bulk_id="qwerty", type=USER, id="1", version=1, status=201),
        wire.BulkResult(method="PATCH", type=GROUP, id="2", version=7, status=200),
        wire.BulkResult(method="DELETE", type=USER, id="3", status=204),
        wire.BulkResult(method="POST", bulk_id="x", type=USER, status=409, scim_type="uniqueness", detail="taken"),
        wire.BulkResult(method="PUT", type=USER, id="4", status=404, detail="no such User"),
        wire.BulkResult(method="POST", bulk_id="y", status=400, scim_type="invalidPath", detail="no /Devices"),
        wire.BulkResult(status=400, scim_type="invalidSyntax", detail="an operation is an object"),
    ]
    answer = await gateway.send("POST", "/Bulk", BULK, Content_Type="application/scim+json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"

    def failed(status: str, detail: str, scim_type: str | None = None) -> dict[str, object]:
        schemas = ["urn:ietf:params:scim:api:messages:2.0:Error"]
        body: dict[str, object] = {"schemas": schemas, "detail": detail, "status": status}
        return {**body, "scimType": scim_type} if scim_type else body

    users, groups = f"{gateway.base}/Users", f"{gateway.base}/Groups"
    assert answer.json == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"],
        "Operations": [
            {"method": "POST", "bulkId": "qwerty", "location": f"{users}/1", "version": 'W/"1"', "status": "201"},
            {"method": "PATCH", "location": f"{groups}/2", "version": 'W/"7"', "status": "200"},
            {"method": "DELETE", "location": f"{users}/3", "status": "204"},
            {"method": "POST", "bulkId": "x", "status": "409", "response": failed("409", "taken", "uniqueness")},
            {"method": "PUT", "location": f"{users}/4", "status": "404", "response": failed("404", "no such User")},
            {"method": "POST", "bulkId": "y", "status": "400", "response": failed("400", "no /Devices", "invalidPath")},
            {"status": "400", "response": failed("400", "an operation is an object", "invalidSyntax")},
        ],
    }


async def test_the_control_plane_gets_the_body_and_who_acts(gateway: RunningGateway) -> None:
    await gateway.send("POST", "/Bulk/", b"\xef\xbb\xbf" + BULK)
    (call,) = gateway.control_plane.calls("BulkWrite")
    assert (call.message.tenant_id, call.message.document) == (TENANT, BULK.decode())
    assert call.metadata["muster-actor-id"] == "00000default"


async def chunks(size: int) -> AsyncIterator[bytes]:
    """Yield a body without telling its length."""
    for _ in range(0, size, 65_536):
        yield b" " * 65_536


async def test_a_bulk_body_has_a_limit_of_its_own(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_body_bytes=100)
    padded = BULK + b" " * (MAX_BULK_BYTES - len(BULK))
    assert (await gateway.send("POST", "/Bulk", padded)).status == 200
    for body in (padded + b" ", chunks(MAX_BULK_BYTES + 1)):
        answer = await gateway.send("POST", "/Bulk", body)
        assert (answer.status, answer.json["status"]) == (413, "413")
        assert str(MAX_BULK_BYTES) in answer.json["detail"]
    assert len(gateway.control_plane.calls("BulkWrite")) == 1


@pytest.mark.parametrize(
    ("headers", "body", "status", "scim_type"),
    [
        ({"Content_Type": "text/plain"}, BULK, 415, None),
        ({"Content_Encoding": "gzip"}, BULK, 415, None),
        ({}, b"{", 400, "invalidSyntax"),
        ({}, b"\xff", 400, "invalidSyntax"),
    ],
)
async def test_what_is_refused_as_a_whole(
    gateway: RunningGateway, headers: dict[str, str], body: bytes, status: int, scim_type: str | None
) -> None:
    answer = await gateway.send("POST", "/Bulk", body, **headers)
    assert (answer.status, answer.json.get("scimType")) == (status, scim_type)


async def test_a_bulk_request_writes(gateway: RunningGateway) -> None:
    reader = gateway.control_plane.issue("reader", scopes=(SCOPE_SCIM_READ,))
    assert (await gateway.send("POST", "/Bulk", BULK, token=reader)).status == 403


async def test_a_bulk_request_has_a_deadline_of_its_own(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_bulk_timeout_s=0.1)
    await gateway.send("GET", "/Users")
    gateway.control_plane.state.gate.clear()
    assert (await gateway.send("POST", "/Bulk", BULK)).status == 503
    gateway.control_plane.state.gate.set()
    gateway.control_plane.state.faults.call = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (await gateway.send("POST", "/Bulk", BULK)).status == 429
