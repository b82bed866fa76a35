"""Cuts the text of a filter into tokens (RFC 7644 section 3.4.2.2, figure 1)."""

import re
from dataclasses import dataclass
from enum import StrEnum

from control_plane.scim.errors import InvalidFilter

MAX_FILTER_BYTES = 2048


class Kind(StrEnum):
    """What a token is; the values are what error messages call it."""

    WORD = "a name"
    SUB = "a sub-attribute"
    STRING = "a string"
    NUMBER = "a number"
    OPEN = "'('"
    CLOSE = "')'"
    OPEN_VALUE = "'['"
    CLOSE_VALUE = "']'"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text; ``at`` is its offset in characters, for messages."""

    kind: Kind
    text: str
    at: int


# A word is a keyword, an operator, a literal or an attribute path: which, is decided by where it stands.
# A sub-attribute of its own only follows "]": emails[type eq "work"].value
_TOKENS: tuple[tuple[Kind, str], ...] = (
    (Kind.STRING, r'"(?:[^"\\]|\\.)*"'),
    (Kind.NUMBER, r"-?[0-9][0-9.eE+-]*"),
    (Kind.WORD, r"[A-Za-z$][^\s()\[\]\"]*"),
    (Kind.SUB, r"\.[A-Za-z$][A-Za-z0-9_$-]*"),
    (Kind.OPEN, r"\("),
    (Kind.CLOSE, r"\)"),
    (Kind.OPEN_VALUE, r"\["),
    (Kind.CLOSE_VALUE, r"\]"),
)
_PATTERN = re.compile("|".join(f"(?P<{kind.name}>{pattern})" for kind, pattern in _TOKENS), re.DOTALL)
_BLANK = re.compile(r"[ \t]*")


def tokens(text: str) -> list[Token]:
    """Return the tokens of ``text``, closed by one of kind END; InvalidFilter names the first that is none."""
    check_size(text)
    found: list[Token] = []
    at = _skip(text, 0)
    while at < len(text):
        match = _PATTERN.match(text, at)
        if match is None or match.lastgroup is None:
            raise InvalidFilter(f"the filter has {text[at]!r} at position {at + 1}, where nothing begins")
        found.append(Token(Kind[match.lastgroup], match.group(), at))
        at = _skip(text, match.end())
    found.append(Token(Kind.END, "", len(text)))
    return found


def check_size(text: str) -> None:
    """Raise InvalidFilter for a text over MAX_FILTER_BYTES, or one that is no Unicode text."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidFilter("the filter holds half of a surrogate pair") from None
    if size > MAX_FILTER_BYTES:
        raise InvalidFilter(f"the filter is longer than {MAX_FILTER_BYTES} bytes")


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match is not None else at
