"""The HTTP client of endpoints that are not trusted: it goes nowhere else, and reads no reply without end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

import openai

from engine.config.addresses import hosts_elsewhere
from engine.errors import BackendError

MOST_BYTES = 64 << 20
"""Most bytes of one reply, unpacked. Replies with the likeliest tokens of each place take some megabytes."""
FILES = "/content"
"""How addresses of files end. They are read piece by piece, and may be of any length."""


def guarded_client(url: str) -> Any:
    """An httpx client (1 or 2, as the SDK has it) for the SDK and the server at ``url``.

    The shell's proxy is for other machines: it does not know what this one serves.

    Raises:
        BackendError: the shell names a proxy that cannot be used.
    """
    http = import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
    limits = openai.DEFAULT_CONNECTION_LIMITS
    how = {} if hosts_elsewhere(url) else {"transport": http.AsyncHTTPTransport(limits=limits)}
    try:
        return openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [_bound]}, **how)
    except (ImportError, ValueError, http.InvalidURL) as error:
        raise BackendError(
            f"{url}: this shell's proxy cannot be used: {str(error).rstrip('.')}. Change or unset http_proxy,"
            " https_proxy and all_proxy."
        ) from None


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
