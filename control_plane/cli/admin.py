"""What every client command shares: the options that lead to the admin API, the call, and how failure is told."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from control_plane.cli.connection import Connection, NoConnection, resolve
from control_plane.cli.panels import fail

if TYPE_CHECKING:
    from control_plane.client.control_plane import ControlPlane

LIMIT_S = 15.0
PAGE_SIZE = 1000
PANEL = "Connection"
Request = TypeVar("Request")
Response = TypeVar("Response")
RequestIn = TypeVar("RequestIn", contravariant=True)  # noqa: PLC0105 - "_contra" says it no better
ResponseOut = TypeVar("ResponseOut", covariant=True)  # noqa: PLC0105 - nor does "_co"

Address = Annotated[
    str,
    typer.Option(
        "--control-plane",
        metavar="IP:PORT[,...]",
        help="Control planes; else MUSTER_CONTROL_PLANE, else 127.0.0.1:50051.",
        rich_help_panel=PANEL,
    ),
]
AdminToken = Annotated[
    str,
    typer.Option(
        "--admin-token",
        metavar="TOKEN",
        help="The admin token, an API key, or an OIDC token. Others see it in the process list: better "
        "MUSTER_ADMIN_TOKEN or MUSTER_ADMIN_TOKEN_FILE.",
        rich_help_panel=PANEL,
    ),
]
ReadyFile = Annotated[
    Path | None,
    typer.Option(
        "--ready-file",
        metavar="FILE",
        help="Take both from the ready file of `muster dev`; else MUSTER_READY_FILE.",
        rich_help_panel=PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="ID", envvar="MUSTER_TENANT", help="The tenant's id.")]


class Method(Protocol[RequestIn, ResponseOut]):
    """A unary method of a generated stub."""

    def __call__(self, request: RequestIn, /, *, timeout: float, metadata: Any) -> Awaitable[ResponseOut]:
        """Call it."""
        ...


class PageRequest(Protocol):
    """A request of a list method."""

    page_size: int
    page_token: str


class Page(Protocol):
    """A response of a list method."""

    @property
    def next_page_token(self) -> str:
        """Empty on the last page."""
        ...


PageRequestT = TypeVar("PageRequestT", bound=PageRequest)
PageT = TypeVar("PageT", bound=Page)


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API as one command sees it."""

    api: "ControlPlane"
    as_json: bool

    async def call(self, method: Method[Request, Response], request: Request) -> Response:
        """Call a unary method with credential and deadline."""
        return await method(request, timeout=LIMIT_S, metadata=self.api.metadata())

    async def pages(
        self, method: Method[PageRequestT, PageT], request: PageRequestT, limit: int
    ) -> AsyncIterator[PageT]:
        """Yield the pages of a list, with ``limit`` items in all; 0 means all there are."""
        left = limit or None
        while left is None or left > 0:
            request.page_size = min(left or PAGE_SIZE, PAGE_SIZE)
            page = await self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
            left = None if left is None else left - request.page_size


Command = Callable[..., Awaitable[None]]


def admin_command(app: typer.Typer, name: str, panel: str | None = None) -> Callable[[Command], Command]:
    """Register ``async def command(admin, ...)`` as ``name``, with the connection options and --json added.

    ``panel`` is the heading in the help of ``app``.
    """

    def register(command: Command) -> Command:
        signature = inspect.signature(command)
        own = list(signature.parameters.values())[1:]

        def run(**given: Any) -> None:
            connection = _connection(given.pop("control_plane"), given.pop("admin_token"), given.pop("ready_file"))
            as_json = given.pop("as_json")
            asyncio.run(_run(connection, lambda api: command(Admin(api, as_json), **given)))

        run.__doc__ = command.__doc__
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # typer reads it, as inspect does
            parameters=[*own, *_connection_options()], return_annotation=None
        )
        app.command(name, rich_help_panel=panel)(run)
        return command

    return register


def run_admin(
    work: Callable[[Admin], Awaitable[None]],
    *,
    as_json: bool,
    ready_file: Path | None,
    control_plane: str,
    admin_token: str,
) -> None:
    """Run ``work`` with the connection that the options say: for a command that does not always need one."""
    connection = _connection(control_plane, admin_token, ready_file)
    asyncio.run(_run(connection, lambda api: work(Admin(api, as_json))))


def _connection_options() -> Iterable[inspect.Parameter]:
    for name, kind, default in (
        ("as_json", AsJson, False),
        ("ready_file", ReadyFile, None),
        ("control_plane", Address, ""),
        ("admin_token", AdminToken, ""),
    ):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _connection(address: str, admin_token: str, ready_file: Path | None) -> Connection:
    try:
        return resolve(address, admin_token, ready_file)
    except NoConnection as err:
        fail(str(err))


async def _run(connection: Connection, work: Callable[["ControlPlane"], Awaitable[None]]) -> None:
    import grpc

    from control_plane.client.channel import open_channel
    from control_plane.client.control_plane import ControlPlane
    from control_plane.client.errors import Unavailable, decode
    from control_plane.runtime.settings import SettingsError

    try:
        async with open_channel(connection.address, connection.tls) as channel:
            await work(ControlPlane(channel, connection.admin_token))
    except grpc.aio.AioRpcError as err:
        meaning = decode(err)
        if isinstance(meaning, Unavailable):
            hint = "; if it serves TLS, name MUSTER_TLS_CERT, MUSTER_TLS_KEY and MUSTER_TLS_CA"
            is_cut = connection.tls is None and "Socket closed" in meaning.message
            fail(f"the control plane at {connection.address} cannot serve this now: {meaning}{hint if is_cut else ''}")
        if err.code() is grpc.StatusCode.UNAUTHENTICATED:
            fail(
                f"the control plane at {connection.address} does not accept this token: mistyped, expired, revoked, "
                "another installation's, or not allowed from here"
            )
        fail(str(meaning))
    except SettingsError as err:
        # Files of TLS that cannot be used.
        fail(str(err))
    except ValueError as err:
        # A span, a time or an address that cannot be read.
        fail(str(err))
