"""Reads settings from ``MUSTER_*`` variables into frozen dataclasses.

A field declared by :func:`setting` knows its default and its meaning; its variable is the prefix and the field's name
in capitals. ``<VARIABLE>_FILE`` names a file that holds the value instead, for secrets.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "MUSTER_"
MAX_PORT = 65535
T = TypeVar("T")


class SettingsError(Exception):
    """A variable is missing or cannot be read; the message names it."""


def setting(meaning: str, *, default: Any = dataclasses.MISSING, secret: bool = False) -> Any:
    """Declare a field: what it means (with its unit), and its default; without one it is required."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "secret": secret}, repr=not secret)


@dataclasses.dataclass(frozen=True, slots=True)
class Documented:
    """One variable, for the table in README.md."""

    variable: str
    default: str
    meaning: str


def documented(cls: type[Any]) -> Iterator[Documented]:
    """Yield each variable of a settings class."""
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING
        default = "required" if required else str(field.default) if field.default not in ("", None) else "empty"
        yield Documented(PREFIX + field.name.upper(), default, field.metadata["meaning"])


def from_env(cls: type[T], env: Mapping[str, str]) -> T:
    """Return ``cls`` filled from ``env``; SettingsError names the variable that is missing or wrong."""
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass by contract
        variable = PREFIX + field.name.upper()
        raw = _read(variable, env)
        if raw is not None:
            values[field.name] = _convert(variable, raw, hints[field.name])
        elif field.default is dataclasses.MISSING:
            raise SettingsError(f"{variable} (or {variable}_FILE) must be set: {field.metadata['meaning']}")
    return cls(**values)


def host_and_port(listen: str) -> tuple[str, int]:
    """Return the parts of "host:port" or "[v6 address]:port"; SettingsError if it is neither."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise SettingsError(f"{listen!r} is not host:port")
    return host.strip("[]"), int(port)


def _read(variable: str, env: Mapping[str, str]) -> str | None:
    if variable in env:
        return env[variable]
    if path := env.get(f"{variable}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as err:
            raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {err.strerror}") from err
    return None


def _convert(variable: str, raw: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[raw.lower()]
        if kind not in (int, float):
            return raw
        number: float = kind(raw)
    except (ValueError, KeyError):
        raise SettingsError(f"{variable} is {raw!r}, which is not a {kind.__name__}") from None
    if not 0 <= number < float("inf"):
        raise SettingsError(f"{variable} is {raw!r}, which is not a number from 0 up")
    return number
