"""Requests that another server might take for another one: 400 and the connection ends, whatever comes behind."""

import asyncio

import orjson
import pytest

from tests.fixtures.gateway import RunningGateway

SOON_S = 1.5
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"
# What an attacker hopes to be the next request of somebody else.
HIDDEN = b"GET /scim/v2/Groups HTTP/1.1\r\nHost: x\r\n\r\n"


async def exchange(gateway: RunningGateway, sent: bytes) -> bytes:
    """Send bytes, AUTH replaced by a good token's header, and read to the gateway's close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    try:
        writer.write(sent.replace(b"AUTH", f"Authorization: Bearer {gateway.token}".encode()))
        async with asyncio.timeout(SOON_S):
            return await reader.read()
    finally:
        writer.transport.abort()


def post(*headers: bytes, body: bytes = b"{}", version: bytes = b"1.1") -> bytes:
    head = b"POST /scim/v2/Users HTTP/" + version + b"\r\nHost: x\r\nAUTH\r\n" + b"".join(h + b"\r\n" for h in headers)
    return head + b"\r\n" + body


def get(target: bytes = b"/scim/v2/Users", *, head: bytes = b"Host: x\r\nAUTH\r\n", end: bytes = b"\r\n") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + head + end


AMBIGUOUS = {
    "a length beside a coding": post(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=CHUNKED),
    "a coding beside a length": post(b"Transfer-Encoding: chunked", b"Content-Length: 2", body=CHUNKED),
    "two lengths": post(b"Content-Length: 2", b"Content-Length: 3"),
    "a length twice": post(b"Content-Length: 2", b"Content-Length: 2"),
    "a list of lengths": post(b"Content-Length: 2, 2"),
    "a signed length": post(b"Content-Length: +2"),
    "a coding twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=CHUNKED),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED),
    "a list of codings": post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED),
    "an unknown coding before chunked": post(b"Transfer-Encoding: x, chunked", body=CHUNKED),
    "an unknown coding": post(b"Transfer-Encoding: xchunked", body=CHUNKED),
    "a vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED),
    "a blank before the colon": post(b"Transfer-Encoding : chunked", body=CHUNKED),
    "a coding in HTTP/1.0": post(b"Transfer-Encoding: chunked", body=CHUNKED, version=b"1.0"),
    "bare LF after a chunk's size": post(b"Transfer-Encoding: chunked", body=b"2\n{}\r\n0\r\n\r\n"),
    "bare LF after a chunk": post(b"Transfer-Encoding: chunked", body=b"2\r\n{}\n0\r\n\r\n"),
    "bare LF in a chunk's extension": post(b"Transfer-Encoding: chunked", body=b"2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size with 0x": post(b"Transfer-Encoding: chunked", body=b"0x2\r\n{}\r\n0\r\n\r\n"),
    "bare LF everywhere": b"GET /scim/v2/Users HTTP/1.1\nHost: x\nAUTH\n\n",
    "bare LF after the first line": b"GET /scim/v2/Users HTTP/1.1\nHost: x\r\nAUTH\r\n\r\n",
    "bare LF after a header": get(head=b"Host: x\nAUTH\r\n"),
    "bare LF at the end": get(end=b"\n"),
    "bare CR in a header": get(head=b"Host: x\rX-A: 1\r\nAUTH\r\n"),
    "NUL in a header": get(head=b"Host: x\r\nX-A: a\0b\r\nAUTH\r\n"),
    "a folded header": get(head=b"Host: x\r\nAUTH\r\nX-A: 1\r\n 2\r\n"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKED),
    "a blank before the first header": get(head=b" X-A: 1\r\nHost: x\r\nAUTH\r\n"),
    "tabs in the first line": b"GET\t/scim/v2/Users\tHTTP/1.1\r\nHost: x\r\nAUTH\r\n\r\n",
    "two Hosts": get(head=b"Host: x\r\nHost: y\r\nAUTH\r\n"),
    "a Host twice": get(head=b"Host: x\r\nHost: x\r\nAUTH\r\n"),
    "no Host": get(head=b"AUTH\r\n"),
    "an empty Host": get(head=b"Host:\r\nAUTH\r\n"),
    "a Host with a blank": get(head=b"Host: x y\r\nAUTH\r\n"),
    "a Host with a path": get(head=b"Host: x/y\r\nAUTH\r\n"),
    "a Host with user info": get(head=b"Host: a@x\r\nAUTH\r\n"),
    "a URL of another host": get(b"http://evil.example/scim/v2/Users"),
    "a URL of another port": get(b"http://x:81/scim/v2/Users"),
    "a URL with user info": get(b"http://a:b@x/scim/v2/Users"),
    "a URL of another scheme": get(b"ftp://x/scim/v2/Users"),
    "a fragment": get(b"/scim/v2/Users#/../Groups"),
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_ambiguous_request_is_400_and_the_last_of_its_connection(gateway: RunningGateway, sent: bytes) -> None:
    answer = await exchange(gateway, sent + HIDDEN)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert answer.count(b"HTTP/1.") == 1
    assert b"application/scim+json" in head
    assert orjson.loads(body)["status"] == "400"
    assert not [call for call in gateway.control_plane.state.seen if call.method != "VerifyToken"]


@pytest.mark.parametrize(
    "target", [b"http://x/scim/v2/Users", b"HTTP://X:80/scim/v2/Users", b"https://x/scim/v2/Users"]
)
async def test_a_url_of_our_own_host_is_a_path(gateway: RunningGateway, target: bytes) -> None:
    answer = await exchange(gateway, get(target, head=b"Host: x\r\nConnection: close\r\nAUTH\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_after_the_offer_of_another_protocol_the_connection_ends(gateway: RunningGateway) -> None:
    answer = await exchange(
        gateway, get(head=b"Host: x\r\nAUTH\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n") + HIDDEN
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.") == 1


async def test_a_request_in_a_body_stays_a_body(gateway: RunningGateway) -> None:
    hidden = get(b"/scim/v2/Groups")
    length = (
        b"Content-Length: "
        + str(len(hidden.replace(b"AUTH", f"Authorization: Bearer {gateway.token}".encode()))).encode()
    )
    answer = await exchange(gateway, post(length, b"Connection: close", body=hidden))
    assert answer.count(b"HTTP/1.") == 1
    assert not gateway.control_plane.calls("ListResources")
