"""Translates what the driver raises into our own errors. Driver text is logged here and goes no further."""

import asyncio
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg
from psycopg import errors
from sqlalchemy import exc

from control_plane.domain.errors import Contended, MusterError, Unavailable
from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

# Another transaction was in the way, and this one was rolled back for it.
CONTENDED = (errors.DeadlockDetected, errors.SerializationFailure)
# The server is going, coming or a standby: the same call works in a moment.
PASSING = (
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)
# Not Overloaded, which promises that nothing was done: what was too slow may have been the commit.
TOO_SLOW = (errors.QueryCanceled, errors.LockNotAvailable)
# The driver's OperationalError covers more than trouble with the server, above all limits that a statement breaks
# (54, "program limit exceeded"): it would never work, however often it is tried. Hence by SQLSTATE: lost and refused
# connections (08), no room or connection left (53), shutdown, crash, start-up and a session that idled too long (57P).
UNREACHABLE_CLASSES = ("08", "53")
UNREACHABLE_STATES = frozenset({"57P01", "57P02", "57P03", "57P05"})
SECRETS = re.compile(r"""(password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|\S+)|(://[^\s:/@]*:)[^\s/]*(?=@)""", re.IGNORECASE)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own error for whatever the driver, the pool or SQLAlchemy raises inside."""
    try:
        yield
    except (psycopg.Error, exc.SQLAlchemyError) as err:
        raise translate(err) from None


class limited:  # noqa: N801 - used like asyncio.timeout
    """Gives up after ``limit_s`` seconds, as the server should have done itself: Unavailable."""

    __slots__ = ("_limit_s", "_timeout")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._timeout = asyncio.timeout(limit_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, err, trace)
        except TimeoutError:
            log.warning("the database does not answer", limit_s=self._limit_s)
            raise Unavailable("the database") from None


def translate(err: Exception) -> MusterError:
    """Return our own error for one of the driver's, and log the original."""
    cause = err.orig if isinstance(err, exc.DBAPIError) and isinstance(err.orig, Exception) else err
    name, sqlstate = type(cause).__name__, getattr(cause, "sqlstate", None)
    if isinstance(cause, TOO_SLOW):
        log.warning("query too slow", error=name, sqlstate=sqlstate)
        return Unavailable("the database")
    if isinstance(cause, CONTENDED):
        log.warning("transaction contended", error=name, sqlstate=sqlstate)
        return Contended()
    if isinstance(cause, PASSING) or is_unreachable(cause):
        log.warning("database unavailable", error=name, sqlstate=sqlstate, said=_said(cause))
        return Unavailable("the database")
    constraint = cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None
    log.error(
        "statement failed", error=name, sqlstate=sqlstate, said=_said(cause), constraint=constraint, where=_where(err)
    )
    return MusterError("the database refused a statement")


def is_unreachable(err: Exception) -> bool:
    """Tell whether the connection, or the way to a new one, is the trouble."""
    if isinstance(err, psycopg.OperationalError):
        # No state: the driver lost the connection, or got none, by itself.
        state = err.sqlstate
        return state is None or state.startswith(UNREACHABLE_CLASSES) or state in UNREACHABLE_STATES
    # exc.TimeoutError: no connection of the pool became free.
    return isinstance(err, psycopg.InterfaceError | exc.TimeoutError)


def _said(cause: Exception) -> str:
    """Return what may be logged of a driver's error: no row, and no password."""
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        # DETAIL and CONTEXT repeat the row, which is somebody's personal data. The first sentence does not, except
        # where a value is what is wrong (data exceptions, 22).
        return "" if isinstance(cause, psycopg.DataError) else cause.diag.message_primary
    # Said by the driver itself, perhaps of how it connects.
    return SECRETS.sub(r"\1\2***", " ".join(str(cause).split()))


def _where(err: Exception) -> list[str]:
    """Return the way through our own code, outermost first."""
    frames = traceback.extract_tb(err.__traceback__)
    return [f"{frame.name}:{frame.lineno}" for frame in frames if "control_plane" in frame.filename]
