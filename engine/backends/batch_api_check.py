"""Whether a server has the batch API."""

from __future__ import annotations

import openai

from engine.backends.chat import LoopThread, key_in
from engine.backends.guarded_client import guarded_client
from engine.errors import BackendError

NONE_THERE = (404, 405, 501)


def none_there(url: str, status: int) -> str:
    """The message for a server without a batch API."""
    return (
        f"{url}: the server has no batch API (it answered {status}). Set [teacher] batch = false to send single"
        " requests, or check [teacher] url."
    )


def check(url: str, key_env: str, timeout_s: float = 10.0) -> None:
    """Check that a server has a batch API.

    Raises:
        BackendError: it has none, cannot be reached, or refuses the key.
    """
    key = key_in(key_env)
    thread = LoopThread()
    try:
        thread.start(_ask(url, key, timeout_s)).result()
    except openai.APIStatusError as error:
        if error.status_code in NONE_THERE:
            raise BackendError(none_there(url, error.status_code)) from None
        raise BackendError(f"{url}: answered {error.status_code} to the request for its batches.") from None
    except openai.OpenAIError as error:
        raise BackendError(f"{url}: cannot reach it ({error}).") from None
    finally:
        thread.close()


async def _ask(url: str, key: str, timeout_s: float) -> None:
    client = openai.AsyncOpenAI(
        api_key=key, base_url=url, timeout=timeout_s, max_retries=0, http_client=guarded_client(url)
    )
    try:
        await client.batches.list(limit=1)
    finally:
        await client.close()
