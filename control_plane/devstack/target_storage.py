"""The storage of the demo's target app: scim2-server's own in-memory storage, plus a journal, so that its data survive.

Only the public interface of ``scim2_server.memory.InMemoryStorage`` is used; each write stands in the journal before
the app answers. One JSON line is one write: ``{"put": <resource>}`` or ``{"delete": [<resource type>, <id>]}``.
"""

import fcntl
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scim2_models import Resource, ResourceType, ScimProvider
from scim2_server.memory import InMemoryStorage

Key = tuple[str, str]
Record = dict[str, Any]


class JournaledStorage(InMemoryStorage):
    """Resources in memory, restored from and journaled to a file."""

    def __init__(self, provider: ScimProvider, path: Path) -> None:
        """Restore what ``path`` holds, and keep only the last state of each resource in it."""
        super().__init__()
        self._provider = provider
        # A server that was told to stop may still answer its last request: it must end before the file is rewritten.
        self._owner = path.with_name(path.name + ".lock").open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._restore(path)
        self._compact(path)
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND)

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Store a new resource; it is in the journal when this returns."""
        with self.lock:
            stored = super().create(resource_type, resource)
            self._append({"put": _dump(stored)})
            return stored

    def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        """Replace a resource; it is in the journal when this returns."""
        with self.lock:
            stored = super().update(resource_type, resource, expected_version=expected_version)
            self._append({"put": _dump(stored)})
            return stored

    def delete(self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None) -> None:
        """Delete a resource; that is in the journal when this returns."""
        with self.lock:
            super().delete(resource_type, resource_id, expected_version=expected_version)
            self._append({"delete": [resource_type.name, resource_id]})

    def close(self) -> None:
        """Let another process have the journal."""
        os.close(self._journal)
        self._owner.close()

    def _append(self, record: Record) -> None:
        # One write(2): after kill -9 a line is there as a whole, or not at all but for a full disk.
        os.write(self._journal, _line(record))

    def _restore(self, path: Path) -> None:
        found: dict[Key, Record] = {}
        for record in _records(path):
            if "delete" in record:
                kind, identifier = record["delete"]
                found.pop((kind, identifier), None)
            else:
                put = record["put"]
                found[put["meta"]["resourceType"], put["id"]] = put
        self.resources = [self._load(put) for put in found.values()]
        # A version must never name two states of a resource.
        self.versions = itertools.count(1 + max((_number(put) for put in found.values()), default=0))

    def _load(self, dumped: Record) -> Resource[Any]:
        model = self._provider.model_for(dumped["meta"]["resourceType"])
        assert model is not None
        assert issubclass(model, Resource)
        with self._provider:
            return model.model_validate(dumped)

    def _compact(self, path: Path) -> None:
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            # It holds what a real app would hold, passwords included.
            fresh.chmod(0o600)
            file.writelines(_line({"put": _dump(resource)}) for resource in self.resources)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def _records(path: Path) -> Iterator[Record]:
    """Yield the journal's records; what stands behind the last line end was never answered for."""
    if not path.exists():
        return
    *complete, _unfinished = path.read_bytes().split(b"\n")
    for line in complete:
        yield json.loads(line)


def _dump(resource: Resource[Any]) -> Record:
    dumped: Record = resource.model_dump()
    return dumped


def _line(record: Record) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _number(dumped: Record) -> int:
    """Return n of the version ``W/"n"``."""
    digits = re.search(r"\d+", dumped["meta"].get("version") or "")
    return int(digits[0]) if digits else 0
