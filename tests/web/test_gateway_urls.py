"""Where the URLs in answers start: the setting, a trusted proxy, the request; in that order (RFC 7239)."""

import pytest

from tests.fixtures.gateway import RunningGateway, StartGateway

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com"}
HERE = "127.0.0.1/32"


@pytest.mark.parametrize("public", ["https://scim.example", "https://scim.example/", "https://example.com/gw/"])
async def test_urls_come_from_the_setting(start_gateway: StartGateway, public: str) -> None:
    gateway = await start_gateway(gateway_public_url=public)
    created = await gateway.send("POST", "/Users", USER, Host="evil.example")
    expected = f"{public.rstrip('/')}/scim/v2/Users/{created.json['id']}"
    assert created.json["meta"]["location"] == created.headers["Location"] == expected


async def test_urls_come_from_the_host_header_otherwise(gateway: RunningGateway) -> None:
    created = await gateway.send("POST", "/Users", USER, Host="scim.example:8443")
    assert created.headers["Location"] == f"http://scim.example:8443/scim/v2/Users/{created.json['id']}"
    assert created.json["meta"]["location"] == created.headers["Location"]
    for host in ('a"b', "a/b", "a b", "user@host", "ä"):
        assert (await gateway.send("POST", "/Users", USER, Host=host)).status == 400


@pytest.mark.parametrize(
    ("trusted", "headers", "origin"),
    [
        (HERE, {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "scim.example"}, "https://scim.example"),
        (HERE, {"X_Forwarded_Proto": "HTTPS"}, "https://inner:1"),
        (HERE, {"X_Forwarded_Host": "evil.example, scim.example:8443"}, "http://scim.example:8443"),
        (HERE, {"Forwarded": "for=192.0.2.1;proto=https;host=scim.example"}, "https://scim.example"),
        (HERE, {"Forwarded": 'for="[2001:db8::1]:4711";host="scim.example:8443"'}, "http://scim.example:8443"),
        (HERE, {"Forwarded": 'host=evil.example, for=unknown ; Host="[2001:db8::9]" ;'}, "http://[2001:db8::9]"),
        (HERE, {"Forwarded": 'host="evil, host=scim.example'}, "http://scim.example"),
        (HERE, {"Forwarded": "proto=https", "X_Forwarded_Host": "evil.example"}, "https://inner:1"),
        (HERE, {}, "http://inner:1"),
        ("10.0.0.0/8, ::1, 127.0.0.0/8", {"X_Forwarded_Proto": "https"}, "https://inner:1"),
        ("", {"X_Forwarded_Proto": "https", "Forwarded": "host=evil.example"}, "http://inner:1"),
        ("10.0.0.0/8,2001:db8::/32", {"X_Forwarded_Host": "evil.example", "Forwarded": "nonsense"}, "http://inner:1"),
    ],
)
async def test_forwarded_headers_are_believed_from_trusted_proxies_only(
    start_gateway: StartGateway, trusted: str, headers: dict[str, str], origin: str
) -> None:
    gateway = await start_gateway(gateway_trusted_proxies=trusted)
    created = await gateway.send("POST", "/Users", USER, Host="inner:1", **headers)
    expected = f"{origin}/scim/v2/Users/{created.json['id']}"
    assert created.json["meta"]["location"] == created.headers["Location"] == expected
    assert gateway.control_plane.calls("CreateResource")[0].message.reference_base == f"{origin}/scim/v2"


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_Proto": "gopher"},
        {"X_Forwarded_Host": 'a"b'},
        {"X_Forwarded_Host": "a/b"},
        {"Forwarded": "nonsense"},
        {"Forwarded": ""},
        {"Forwarded": 'host="scim.example'},
        {"Forwarded": 'host="evil, host=scim.example;foo="x"'},
        {"Forwarded": "host=scim.example;proto"},
        {"Forwarded": 'host="user@scim.example"'},
    ],
)
async def test_what_a_trusted_proxy_must_not_say(start_gateway: StartGateway, headers: dict[str, str]) -> None:
    gateway = await start_gateway(gateway_trusted_proxies=HERE)
    answer = await gateway.send("GET", "/Users", **headers)
    assert (answer.status, answer.json["status"]) == (400, "400")


async def test_the_setting_wins_over_every_header(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_public_url="https://scim.example", gateway_trusted_proxies=HERE)
    headers = {"Forwarded": "host=other.example;proto=http", "X_Forwarded_Host": 'a"b'}
    created = await gateway.send("POST", "/Users", USER, **headers)
    assert created.headers["Location"].startswith("https://scim.example/scim/v2/Users/")
