"""Sends SCIM requests as an identity provider does."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import aiohttp

LIMIT_S, ATTEMPTS = 30.0, 6
MEDIA_TYPE = "application/scim+json"
Json = dict[str, Any]
T = TypeVar("T")


class PushRefused(Exception):
    """The SCIM endpoint did not do what a provider asked; the message has the request and the answer."""


class ScimClient:
    """One provider's connection to the SCIM endpoint."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session, self._base_url = session, base_url
        self.requests = 0

    async def find(self, path: str, attribute: str, value: str, **more: str) -> Json | None:
        """Look a resource up by ``<attribute> eq "<value>"``."""
        query = {"filter": f"{attribute} eq {json.dumps(value, ensure_ascii=False)}", **more}
        page = await self.send("GET", path, query=query)
        resources: list[Json] = page.get("Resources") or []
        return resources[0] if resources else None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Read."""
        return await self.send("GET", path, query=query)

    async def send(
        self, method: str, path: str, body: Json | None = None, query: Mapping[str, str] | None = None
    ) -> Json:
        """Send one request, again after a 503 or 429 as the answer asks; return the body ({} if there is none)."""
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        text = ""
        for _ in range(ATTEMPTS):
            async with self._session.request(
                method, self._base_url + path, data=data, params=query, headers={"Content-Type": MEDIA_TYPE}
            ) as response:
                self.requests += 1
                text = await response.text()
                if response.ok:
                    answer: Json = json.loads(text) if text else {}
                    return answer
                if response.status not in (429, 503):
                    break
                pause_s = float(response.headers.get("Retry-After", "1"))
            await asyncio.sleep(pause_s)
        raise PushRefused(
            f"{method} {path} {json.dumps(body, ensure_ascii=False)} was answered {response.status}: {text}"
        )


def open_session(token: str, user_agent: str) -> aiohttp.ClientSession:
    """Return a session that presents ``token``."""
    headers = {"Authorization": f"Bearer {token}", "User-Agent": user_agent, "Accept": MEDIA_TYPE}
    return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=LIMIT_S))


async def each(items: Iterable[T], at_once: int, do: Callable[[T], Awaitable[None]]) -> None:
    """Do ``do`` with every item, ``at_once`` at a time; the first failure ends all."""
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(lane())
