"""SIGTERM and SIGINT as one event."""

import asyncio
import signal


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal kills at once, as the system would."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping
