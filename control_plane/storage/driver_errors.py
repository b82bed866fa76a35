"""Translates what the driver raises into our own errors. Driver text is logged here and goes no further."""

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg
from psycopg import errors
from sqlalchemy import exc

from control_plane.domain.errors import MusterError, Overloaded, Unavailable
from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

# Another transaction was in the way, or the server is going, coming or a standby: the same call works in a moment.
PASSING = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)
TOO_SLOW = (errors.QueryCanceled, errors.LockNotAvailable)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own error for whatever the driver, the pool or SQLAlchemy raises inside."""
    try:
        yield
    except (psycopg.Error, exc.SQLAlchemyError) as err:
        raise translate(err) from None


class limited:  # noqa: N801 - used like asyncio.timeout
    """Gives up after ``limit_s`` seconds, as the server should have done itself: Overloaded."""

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
            raise Overloaded("the query", 1.0) from None


def translate(err: Exception) -> MusterError:
    """Return our own error for one of the driver's, and log the original."""
    cause = err.orig if isinstance(err, exc.DBAPIError) and isinstance(err.orig, Exception) else err
    name, sqlstate = type(cause).__name__, getattr(cause, "sqlstate", None)
    if isinstance(cause, TOO_SLOW):
        log.warning("query too slow", error=name, sqlstate=sqlstate)
        return Overloaded("the query", 1.0)
    if isinstance(cause, PASSING) or is_unreachable(cause):
        log.warning("database unavailable", error=name, sqlstate=sqlstate, text=str(cause))
        return Unavailable("the database")
    # Not the whole text: its DETAIL repeats the row, which is somebody's personal data.
    diagnosis = cause.diag if isinstance(cause, psycopg.Error) else None
    said = diagnosis.message_primary if diagnosis else str(cause)
    constraint = diagnosis.constraint_name if diagnosis else None
    log.error("statement failed", error=name, sqlstate=sqlstate, said=said, constraint=constraint, where=_where(err))
    return MusterError("the database refused a statement")


def is_unreachable(err: Exception) -> bool:
    """Tell whether the connection, or the way to a new one, is the trouble."""
    # OperationalError is the driver's class for "not the statement's fault": lost and refused connections, shutdown,
    # start-up, too many connections, disk full. exc.TimeoutError: no connection of the pool became free.
    return isinstance(err, psycopg.OperationalError | psycopg.InterfaceError | exc.TimeoutError)


def _where(err: Exception) -> list[str]:
    """Return the way through our own code, outermost first."""
    frames = traceback.extract_tb(err.__traceback__)
    return [f"{frame.name}:{frame.lineno}" for frame in frames if "control_plane" in frame.filename]
