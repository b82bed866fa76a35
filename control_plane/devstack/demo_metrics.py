"""Reads single figures from the /metrics pages of the stack's processes."""

import aiohttp

LIMIT_S = 5.0


async def read_metric(session: aiohttp.ClientSession, url: str | None, name: str) -> float:
    """Return the sum of all series of ``name`` at ``url``; 0 if the process cannot be asked just now."""
    if url is None:
        return 0.0
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as response:
            lines = (await response.text()).splitlines()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
