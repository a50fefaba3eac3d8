"""The HTTP client of endpoints that are not trusted: it goes nowhere else, and reads no reply without end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import openai

MOST_BYTES = 64 << 20
"""Most bytes of one reply, unpacked. Replies with the likeliest tokens of each place take some megabytes."""
FILES = "/content"
"""How addresses of files end. They are read piece by piece, and may be of any length."""


def guarded_client() -> Any:
    """An httpx client (1 or 2, as the SDK has it) for the SDK."""
    return openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [_bound]})


async def _bound(response: Any) -> None:
    """Have reading ``response`` fail when it grows too long: a stream without end, or a small file that unpacks."""
    if not str(response.request.url.path).endswith(FILES):
        response.aiter_bytes = _bounded(response.aiter_bytes)


def _bounded(read: Callable[..., AsyncIterator[bytes]]) -> Callable[..., AsyncIterator[bytes]]:
    async def pieces(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        size = 0
        async for piece in read(*args, **kwargs):
            size += len(piece)
            if size > MOST_BYTES:
                raise ValueError(f"it is longer than {MOST_BYTES >> 20} MB")
            yield piece

    return pieces
