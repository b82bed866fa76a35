"""Says in the audit trail why something was refused, without the values that the refused request carried."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from control_plane.scim.errors import ScimError

MAX_TEXT = 300
CUT = "…"
# Of a larger request nothing is compared, and so nothing told but the kind of error.
MAX_DOCUMENT_BYTES, MAX_VALUES = 64 * 1024, 2_000
# What is shorter is part of every other word.
MIN_VALUE = 3
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|'[^']*$|"[^"]*$""")
_ADDRESS = re.compile(r"\S*@\S*")
_BETWEEN = re.compile(r"[^\w@.+-]+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9$_-]{0,60}")


def scim_reason(err: ScimError, document: str | dict[str, Any]) -> str:
    """Return status, scimType and detail of an error; of the detail, what was not in the refused document.

    A detail may repeat somebody's userName, and this is for all to see who read the trail.
    """
    kind = f"{err.status} {err.scim_type}" if err.scim_type else str(err.status)
    values = _values(document)
    if values is None:
        return kind
    said = without_values(err.detail)
    for value in sorted(values, key=len, reverse=True):
        said = said.replace(value, CUT)
    return f"{kind}: {said}"


def without_values(text: str) -> str:
    """Return ``text`` without what is quoted in it, and without addresses."""
    return _ADDRESS.sub(CUT, _QUOTED.sub(CUT, text))[:MAX_TEXT]


def _values(document: str | dict[str, Any]) -> set[str] | None:
    """Return the strings of a document but names of attributes, and their words; None if it is too large to look."""
    if isinstance(document, str):
        if len(document) > MAX_DOCUMENT_BYTES:
            return None
        try:
            document = orjson.loads(document)
        except orjson.JSONDecodeError:
            # Its details tell positions.
            return set()
    found: set[str] = set()
    for text in _texts(document):
        found.update(part for part in (text, *_BETWEEN.split(text)) if len(part) >= MIN_VALUE)
        if len(found) > MAX_VALUES:
            return None
    return found


def _texts(value: Any, key: str = "") -> Iterator[str]:
    match value:
        case str() if key == "schemas" or (key in ("path", "op") and _NAME.fullmatch(value)):
            return
        case str():
            yield value
        case dict():
            for name, one in value.items():
                yield from _texts(one, str(name))
        case list():
            for one in value:
                yield from _texts(one, key)
