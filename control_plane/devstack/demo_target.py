"""Reads the target app itself, not what Muster thinks of it: every user and group, with the target's own times."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from control_plane.devstack.demo_book import Account, Book, Group
from control_plane.devstack.ready_file import ReadyTarget

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PAGE_SIZE = 100
LIMIT_S = 30.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """When the target stored something, by its own clock: seconds since 1970."""

    created_at: float
    changed_at: float


@dataclass(slots=True)
class Reading:
    """All that the target holds. Two users of one userName, or groups of one displayName, are told apart by a mark."""

    book: Book = field(default_factory=Book)
    users: dict[str, Stored] = field(default_factory=dict)
    groups: dict[str, Stored] = field(default_factory=dict)


async def read_target(target: ReadyTarget) -> Reading:
    """Read everything, page by page."""
    reading, names = Reading(), {}
    headers = {"Authorization": f"Bearer {target.token}"}
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, raise_for_status=True) as session:
        async for user in _resources(session, f"{target.url}/Users"):
            name = _unique(user["userName"], reading.book.accounts)
            names[user["id"]] = name
            reading.book.accounts[name] = _account(user, name)
            reading.users[name] = _stored(user)
        async for group in _resources(session, f"{target.url}/Groups"):
            name = _unique(group["displayName"], reading.book.groups)
            # A member that is no user of the target shows as what it is.
            members = {names.get(each["value"], each["value"]) for each in group.get("members") or []}
            reading.book.groups[name] = Group(name, members)
            reading.groups[name] = _stored(group)
    return reading


async def _resources(session: aiohttp.ClientSession, url: str) -> AsyncIterator[Json]:
    start = 1
    while True:
        async with session.get(url, params={"startIndex": str(start), "count": str(PAGE_SIZE)}) as response:
            page: Json = await response.json(content_type=None)
        found: list[Json] = page.get("Resources") or []
        for resource in found:
            yield resource
        start += len(found)
        if not found or start > int(page["totalResults"]):
            return


def _account(user: Json, name: str) -> Account:
    enterprise: Json = user.get(ENTERPRISE) or {}
    person: Json = user.get("name") or {}
    emails = [each["value"] for each in user.get("emails") or [] if each.get("type") == "work"]
    return Account(
        user_name=name,
        active=user.get("active", False),
        display_name=user.get("displayName", ""),
        given_name=person.get("givenName", ""),
        family_name=person.get("familyName", ""),
        work_email=", ".join(emails),
        title=user.get("title", ""),
        department=enterprise.get("department", ""),
        employee_number=enterprise.get("employeeNumber", ""),
    )


def _stored(resource: Json) -> Stored:
    meta: Json = resource["meta"]
    return Stored(_seconds(meta["created"]), _seconds(meta["lastModified"]))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _unique(name: str, known: dict[str, Any]) -> str:
    """Return ``name``, marked if it is there twice: a double must show as a difference, not hide the other."""
    marked, count = name, 1
    while marked in known:
        count += 1
        marked = f"{name} (number {count})"
    return marked
