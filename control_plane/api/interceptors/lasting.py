"""A stream lasts no longer than the credential that it was opened with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

from control_plane.api.errors import CallRefused

EVERY_S = 5.0


@asynccontextmanager
async def while_valid(is_valid: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Ask ``is_valid`` every few seconds, and end the block with UNAUTHENTICATED once it says no."""
    is_withdrawn = False
    try:
        async with asyncio.timeout(None) as limit:

            async def watch() -> None:
                nonlocal is_withdrawn
                while not is_withdrawn:
                    await asyncio.sleep(EVERY_S)
                    is_withdrawn = not await is_valid()
                limit.reschedule(asyncio.get_running_loop().time())

            watching = asyncio.create_task(watch(), name="is the credential still valid")
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    except TimeoutError:
        if not is_withdrawn:
            raise
        text = "the credential is valid no longer, or its owner has another role now"
        raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", text) from None
