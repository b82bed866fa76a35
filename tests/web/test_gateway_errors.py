"""Every refusal is a SCIM error, whoever refuses: router, limits, media types, discovery, our own faults."""

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.gateway import Answer, RunningGateway, StartGateway

USER = b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada"}'
LIMIT = 4_096


def assert_scim_error(answer: Answer, status: int, scim_type: str | None = None) -> None:
    assert (answer.status, answer.json["status"]) == (status, str(status))
    assert answer.json.keys() == {"schemas", "detail", "status"} | ({"scimType"} if scim_type else set())
    assert answer.json.get("scimType") == scim_type
    assert answer.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    assert_common_headers(answer)


def assert_common_headers(answer: Answer) -> None:
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("POST", "/", 405, "GET, HEAD"),
        ("DELETE", "", 405, "GET, HEAD"),
        ("GET", "/Users/1/emails", 404, None),
        ("GET", "/users", 404, None),
        ("GET", "/018f0000-0000-7000-8000-000000000001", 404, None),
        ("GET", "/Users/" + "1" * 201, 404, None),
        ("GET", "/Users/%FF", 404, None),
        ("GET", "/Users/a%2Fb", 404, None),
        ("GET", "/Schemas/nosuch", 404, None),
        ("GET", "/ResourceTypes/Device", 404, None),
        ("PUT", "/Users", 405, "GET, HEAD, POST"),
        ("DELETE", "/Groups", 405, "GET, HEAD, POST"),
        ("POST", "/Users/1", 405, "GET, HEAD, PUT, PATCH, DELETE"),
        ("PROPFIND", "/Users", 405, "GET, HEAD, POST"),
        ("OPTIONS", "/Users", 405, "GET, HEAD, POST"),
        ("POST", "/ServiceProviderConfig", 405, "GET, HEAD"),
        ("PUT", "/Schemas", 405, "GET, HEAD"),
        ("PATCH", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", 405, "GET, HEAD"),
        ("DELETE", "/ResourceTypes/User", 405, "GET, HEAD"),
        ("GET", "/Schemas/" + "u" * 201, 404, None),
        ("GET", "/Schemas/%00", 404, None),
        ("GET", "/Schemas/%FF", 404, None),
        ("GET", "/Bulk", 405, "POST"),
        ("PUT", "/Bulk/", 405, "POST"),
        ("GET", "/.search", 405, "POST"),
        ("GET", "/Users/.search", 405, "POST"),
        ("DELETE", "/Groups/.search/", 405, "POST"),
        *((method, "/Me", 501, None) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
        ("GET", "/Me/", 501, None),
        ("GET", "/ServiceProviderConfig?filter=id%20pr", 403, None),
        ("GET", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User?filter=id%20pr", 403, None),
        ("GET", "/Schemas?filter=id%20pr", 403, None),
        ("GET", "/ResourceTypes?filter=id%20pr", 403, None),
        ("GET", "/Users?attributes=userName&excludedAttributes=emails", 400, None),
    ],
)
async def test_paths_and_methods(
    gateway: RunningGateway, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await gateway.send(method, path)
    assert_scim_error(answer, status, "invalidValue" if status == 400 else None)
    assert answer.headers.get("Allow") == allow
    # Authentication comes first: without it nobody learns what exists.
    assert (await gateway.send(method, path, token=None)).status == 401


@pytest.mark.parametrize("path", ["//", "//metrics", "//scim", "//scim/v1/Users", "//scim/v2x"])
async def test_outside_the_scim_base_there_is_nothing(gateway: RunningGateway, path: str) -> None:
    for token in ("", None):
        assert_scim_error(await gateway.send("GET", path, token=token), 404)


async def test_me_says_why_it_is_not_there(gateway: RunningGateway) -> None:
    assert "provisioning client" in (await gateway.send("GET", "/Me")).json["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/scim+json"}, 201),
        ({"Content_Type": "application/json; charset=UTF-8"}, 201),
        ({"Content_Type": "Application/SCIM+JSON;charset=utf-8"}, 201),
        ({}, 201),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/xml"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json", "Content_Encoding": "identity"}, 201),
        ({"Content_Type": "application/json", "Content_Encoding": "gzip"}, 415),
        ({"Content_Type": "application/json", "Content_Encoding": "br"}, 415),
        ({"Accept": "text/html"}, 201),
        ({"Expect": "100-continue"}, 201),
        ({"Expect": "a miracle"}, 417),
    ],
)
async def test_media_types(gateway: RunningGateway, headers: dict[str, str], status: int) -> None:
    answer = await gateway.send("POST", "/Users", USER, **headers)
    if status == 201:
        assert answer.status == 201
    else:
        assert_scim_error(answer, status)


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"userName":"\xff"}', b"\xc3\x28"])
async def test_bodies_that_are_not_json(gateway: RunningGateway, body: bytes) -> None:
    assert_scim_error(await gateway.send("POST", "/Users", body), 400, "invalidSyntax")


async def chunks(size: int) -> AsyncIterator[bytes]:
    """Yield a body without telling its length."""
    for _ in range(0, size, 512):
        yield b" " * 512


async def test_bodies_beyond_the_limit_by_length_and_by_chunks(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_body_bytes=LIMIT)
    padded = USER[:-1] + b" " * (LIMIT - len(USER)) + b"}"
    assert (await gateway.send("POST", "/Users", padded)).status == 201
    assert_scim_error(await gateway.send("POST", "/Users", padded + b" "), 413)
    assert_scim_error(await gateway.send("PUT", "/Users/1", chunks(LIMIT + 1)), 413)
    assert len(gateway.control_plane.calls("CreateResource")) == 1


async def test_a_request_id_is_echoed_if_it_is_harmless(gateway: RunningGateway) -> None:
    for given, kept in (("idp-1:2.3_4", True), ("a" * 65, False), ("a b", False), ("é", False), ("<script>", False)):
        answer = await gateway.send("GET", "/Users", X_Request_Id=given)
        assert answer.status == 200
        assert (answer.headers["X-Request-Id"] == given) is kept


async def test_a_bug_is_500_with_a_reference_that_stands_in_the_log(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("scim_gateway.handlers.lists.search_of", broken)
    answer = await gateway.send("GET", "/Users")
    assert_scim_error(answer, 500)
    reference = answer.headers["X-Request-Id"]
    assert reference in answer.json["detail"]
    assert b"secret" not in answer.body
    assert "a secret of the inside" in capsys.readouterr().out


async def test_each_request_is_one_log_line_without_token_or_body(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    await gateway.send("POST", "/Users", USER)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "request" in line]
    for part in ("/scim/v2/Users", "POST", "201", "00000default", "duration_ms", "tenant"):
        assert part in line
    assert gateway.token not in line
    assert "userName" not in line


async def test_metrics_know_templates_only(gateway: RunningGateway) -> None:
    await gateway.send("GET", "/Users/one")
    await gateway.send("GET", "/Users/two/")
    await gateway.send("GET", "/who/knows")
    await gateway.send("GET", "//outside", token=None)

    def count(route: str, code: str) -> float:
        return gateway.metric("scim_http_requests_total", route=route, method="GET", code=code)

    assert count("/scim/v2/Users/{id}", "404") == 2
    assert count("/scim/v2/{unknown}", "404") == 1
    assert count("/{outside}", "404") == 1
    assert gateway.metric("scim_http_request_duration_seconds_count", route="/scim/v2/Users/{id}") == 2
    assert gateway.metric("scim_http_inflight") == 0
