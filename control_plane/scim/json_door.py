r"""Where JSON text becomes a dict: strict, bounded, and fast enough to stand before every request.

orjson refuses broken JSON, NaN, raw control characters, bad UTF-8 and lone surrogates. It keeps the last of two equal
keys without a word, which is how two readers of one body come to differ, so that is found here, and exactly:
a colon stands either between a key and its value or inside a string. Writing the parsed tree again keeps every colon of
every string, and one for every key that survived. So the text has more colons than the rewritten tree if and only if
a key was dropped. A colon inside a string has one other spelling, its escape ``\u003a``: texts that hold one take a
slow and equally exact way. A body of 1.5 kB passes in about ten microseconds.
"""

import json
from itertools import chain
from typing import Any

import orjson

from control_plane.scim.errors import InvalidSyntax

MAX_DEPTH = 32
MAX_KEYS = 50_000
# Numbers are what a signed 64-bit column can hold. orjson turns larger integers into floats, silently losing digits.
MAX_NUMBER = 2**63


def parse_object(text: str | bytes, *, max_keys: int = MAX_KEYS) -> dict[str, Any]:
    """Return the one JSON object that ``text`` is; InvalidSyntax says what else it is.

    Refused besides broken JSON: another type than an object, a key twice in one object, more than MAX_DEPTH levels or
    ``max_keys`` keys, a number of 2^63 or more in either direction, NUL in a string.
    """
    raw = _to_bytes(text)
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise InvalidSyntax(f"the body is not valid JSON: {err}") from None
    if not isinstance(tree, dict):
        raise InvalidSyntax("the body must be one JSON object")
    _check_tree(tree, max_keys)
    _check_duplicates(raw, tree)
    # A NUL can only come as an escape, and only then is the search worth its time.
    if b"\\u0000" in raw and _has_nul(tree):
        raise InvalidSyntax("a string of the body holds the character NUL")
    return tree


def _to_bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidSyntax("the body is not valid JSON: it holds half of a surrogate pair") from None


def _check_tree(root: dict[str, Any], max_keys: int) -> None:
    """Walk level by level, without recursion, and hold the limits on depth, keys and numbers."""
    level: list[Any] = [root]
    depth = keys = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidSyntax(f"the body is nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for node in level:
            values = node
            if type(node) is dict:
                keys += len(node)
                values = node.values()
            for value in values:
                kind = type(value)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    below.append(value)
                elif kind in (int, float) and not -MAX_NUMBER < value < MAX_NUMBER:
                    raise InvalidSyntax("the body holds a number outside the signed 64-bit range")
        level = below
    if keys > max_keys:
        raise InvalidSyntax(f"the body has more than {max_keys} keys")


def _check_duplicates(raw: bytes, tree: dict[str, Any]) -> None:
    countable = b"\\u003a" not in raw and b"\\u003A" not in raw
    if countable and raw.count(b":") == orjson.dumps(tree).count(b":"):
        return
    try:
        json.loads(raw, object_pairs_hook=_unique)
    except RecursionError:
        # The tree is at most MAX_DEPTH deep, so this depth is in a value that a second key replaced.
        raise InvalidSyntax("a key stands twice in one object") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidSyntax(f"the key {name[:100]!r} stands twice in one object")
        found[name] = value
    return found


def _has_nul(root: dict[str, Any]) -> bool:
    level: list[Any] = [root]
    while level:
        below: list[Any] = []
        for node in level:
            if type(node) is str:
                if "\x00" in node:
                    return True
            elif type(node) is dict:
                below.extend(chain(node, node.values()))
            elif type(node) is list:
                below.extend(node)
        level = below
    return False
