"""`muster dev` and what the demo shares with it: a stack until somebody asks it to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from control_plane.devstack.blueprint import Options
from control_plane.devstack.process import Say
from control_plane.devstack.ready_file import Ready
from control_plane.devstack.stack import Stack
from control_plane.runtime.shutdown import stop_event


async def unless_stopped(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Do ``work`` unless ``stopping`` is set meanwhile, which cancels it; tell whether it was done."""
    doing, waiting = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        return False
    finally:
        doing.cancel()
        waiting.cancel()
        await asyncio.gather(doing, waiting, return_exceptions=True)


async def run_stack(options: Options, say: Say, then: Callable[[Stack, asyncio.Event], Awaitable[None]]) -> None:
    """Start a stack, do ``then``, and stop the stack; SIGTERM and SIGINT cut the start short, and set the event."""
    stopping = stop_event()
    async with Stack(options, say) as stack:
        if await unless_stopped(stack.start(), stopping):
            await then(stack, stopping)
        say("stopping")
    say("stopped")


async def run_dev(options: Options, say: Say, show: Callable[[Ready], None]) -> None:
    """Run until SIGTERM or SIGINT; ``show`` is told once when all is ready."""

    async def until_stopped(stack: Stack, stopping: asyncio.Event) -> None:
        show(stack.ready)
        await stopping.wait()

    await run_stack(options, say, until_stopped)
