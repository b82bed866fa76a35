"""What every answer carries, whoever made it: headers against browsers and caches, and no banner."""

from collections.abc import Mapping

from aiohttp import hdrs, web

# A year: a client that came over TLS once does not try without it (RFC 6797).
HSTS = "max-age=31536000"


def edge_headers(public_url: str) -> Mapping[str, str]:
    """Return the headers of every answer; with HSTS if the gateway's own URL says that TLS stands in front."""
    headers = {
        hdrs.CACHE_CONTROL: "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if public_url.lower().startswith("https://"):
        headers["Strict-Transport-Security"] = HSTS
    return headers


def dress(response: web.StreamResponse, headers: Mapping[str, str]) -> None:
    """Set the headers, and take off what tells the software and its version."""
    response.headers.update(headers)
    response.headers.popall(hdrs.SERVER, None)
