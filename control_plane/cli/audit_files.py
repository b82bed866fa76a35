"""Files of `muster audit`: an export that appears whole or not at all, and its verification without a server."""

import base64
import binascii
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from control_plane.domain.audit_offline import Verdict
    from control_plane.domain.checkpoints import VerifyKey

STDOUT = Path("-")
MODE = 0o600
KEY_BYTES = 32


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes ``path`` when everything is in it; "-" is the standard output."""
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class Counter:
    """Shows on a terminal how far something is; says nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what, self._is_shown = what, sys.stderr.isatty()

    def show(self, count: int, total: int | None = None) -> None:
        """Show the count."""
        if self._is_shown:
            of = "" if total is None else f" of {total:,}"
            typer.echo(f"\r{count:,}{of} {self._what} ", err=True, nl=False)

    def end(self) -> None:
        """Leave the line."""
        if self._is_shown:
            typer.echo("", err=True)


def read_key(text: str) -> bytes:
    """Return the 32 bytes that ``text`` spells in base64 or hex, or that the file of that name spells; ValueError."""
    path = Path(text)
    if path.is_file():
        text = path.read_text().strip()
    for decode in (bytes.fromhex, lambda spelled: base64.b64decode(spelled, validate=True)):
        try:
            found = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(found) == KEY_BYTES:
            return found
    raise ValueError("a public key is 32 bytes in base64 or hex, or a file with that (`muster audit key` prints it)")


def verify_file(path: Path, checkpoints: Path | None, keys: "Sequence[VerifyKey]") -> "Verdict":
    """Return the verdict about an export; ValueError if it cannot be verified, or a file cannot be read."""
    from control_plane.domain.audit_offline import NotAnExport, OfflineCheck

    counter = Counter("events verified")
    try:
        with path.open("rb") as file, _lines(checkpoints) as lines:
            check = OfflineCheck({key.id: key for key in keys}, lines)
            check.begin(file.readline())
            while some := file.readlines(1 << 20):
                check.feed(some)
                counter.show(check.verified)
            counter.end()
            return check.finish()
    except NotAnExport as err:
        raise ValueError(f"{path}: {err}") from err
    except OSError as err:
        raise ValueError(f"{err.filename} cannot be read: {err.strerror}") from err


@contextmanager
def _lines(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
        return
    with path.open("rb") as file:
        yield file


def verdict_dict(verdict: "Verdict") -> dict[str, Any]:
    """Return a verdict for programs."""
    return {
        "is_whole": not verdict.problems,
        "tenant_id": verdict.tenant,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "verified": verdict.verified,
        "vouched_seq": verdict.vouched_seq,
        "checkpoint": None if verdict.checkpoint is None else verdict.checkpoint[0],
        "problems": [
            {"kind": one.kind.name, "seq": one.seq, "event_id": one.event_id, "description": one.description}
            for one in verdict.problems
        ],
    }
