"""What becomes of the driver's errors: which pass, which do not, and what the log says of them."""

import os
from dataclasses import replace

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc
from structlog.testing import capture_logs

from control_plane.domain.errors import Contended, MusterError, Unavailable
from control_plane.domain.ids import TokenId
from control_plane.domain.tokens import Scope, Token
from control_plane.storage import tokens
from control_plane.storage.driver_errors import is_unreachable, limited, translate
from control_plane.storage.engine import Storage
from tests.storage.world import NOW, World, new_id

PASSING = (
    psycopg.OperationalError("the connection is lost"), psycopg.InterfaceError("closed"), exc.TimeoutError("pool"),
    errors.ConnectionFailure(), errors.AdminShutdown(), errors.CrashShutdown(), errors.CannotConnectNow(),
    errors.IdleSessionTimeout(), errors.DiskFull(), errors.TooManyConnections(), errors.DeadlockDetected(),
    errors.SerializationFailure(), errors.QueryCanceled(), errors.LockNotAvailable(), errors.ReadOnlySqlTransaction(),
)  # fmt: skip
REFUSED = (
    errors.ProgramLimitExceeded(), errors.StatementTooComplex(), errors.ObjectInUse(), errors.DatabaseDropped(),
    errors.IoError(), errors.CheckViolation(), errors.UndefinedTable(),
)  # fmt: skip


@pytest.mark.parametrize("err", PASSING, ids=lambda err: type(err).__name__)
def test_trouble_that_passes_is_unavailable(err: Exception) -> None:
    translated = translate(err)
    assert isinstance(translated, Unavailable)
    assert translated.retry_after_s == 1.0


@pytest.mark.parametrize("err", REFUSED, ids=lambda err: type(err).__name__)
def test_a_statement_that_would_never_work_is_not(err: Exception) -> None:
    assert type(translate(err)) is MusterError
    assert not is_unreachable(err)


@pytest.mark.parametrize("err", PASSING, ids=lambda err: type(err).__name__)
def test_only_what_certainly_did_nothing_is_contended(err: Exception) -> None:
    did_nothing = isinstance(err, errors.DeadlockDetected | errors.SerializationFailure)
    assert isinstance(translate(err), Contended) is did_nothing


async def test_what_no_index_can_hold_is_refused_for_good(storage: Storage, world: World) -> None:
    token = Token(TokenId(new_id()), world.tenant, "k", "Okta", (Scope.READ,), "h", NOW, None, None, None)
    with pytest.raises(MusterError) as caught:
        async with storage.begin(world.tenant) as tx:
            await tokens.insert(tx, replace(token, key_id=os.urandom(4_000).hex()))
    assert type(caught.value) is MusterError


async def test_a_server_that_says_nothing_at_all_is_unavailable(storage: Storage, world: World) -> None:
    with pytest.raises(Unavailable) as caught:
        async with storage.begin(world.tenant) as tx, limited(0.05):
            await tx.fetch("SELECT pg_sleep(60)")
    # It may have been a commit.
    assert "nothing" not in str(caught.value)


async def test_the_log_of_a_refused_value_does_not_repeat_it(storage: Storage, world: World) -> None:
    with capture_logs() as lines, pytest.raises(MusterError):
        async with storage.begin(world.tenant) as tx:
            await tx.fetch("SELECT %(value)b::text::uuid", {"value": "ada@example.com"})
    assert [line["sqlstate"] for line in lines] == ["22P02"]
    assert "ada@example.com" not in str(lines)


LEAKY = (
    "connection to postgresql://muster_app:hunter2@db/muster failed",
    "connection failed: host=db password=hunter2 dbname=muster",
    "connection failed: host=db password = 'hunter2 \\' hunter2' dbname=muster",
)


@pytest.mark.parametrize("text", LEAKY)
def test_the_log_of_a_lost_connection_has_no_password(text: str) -> None:
    with capture_logs() as lines:
        translate(psycopg.OperationalError(text))
    assert "failed" in lines[0]["said"]
    assert "hunter2" not in str(lines)
    assert "muster" in lines[0]["said"]
