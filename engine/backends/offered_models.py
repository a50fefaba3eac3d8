"""The models that an endpoint offers, asked of a server that is not trusted: within a time, and within some memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import openai

from engine.backends.chat import LoopThread, key_in
from engine.backends.guarded_client import guarded_client
from engine.backends.openai import UNREADABLE
from engine.errors import EndpointError


def available(url: str, key_env: str, timeout_s: float = 10.0) -> dict[str, int | None]:
    """The models that an endpoint offers, each with how many tokens it can see where the endpoint says so.

    Raises:
        BackendError: the key's variable is not set, or the shell's proxy cannot be used.
        EndpointError: it cannot be reached, or lists no models.
    """
    key = key_in(key_env)
    thread = LoopThread()
    try:
        return thread.start(_listed(url, key, timeout_s)).result()
    except openai.APIStatusError as error:
        raise EndpointError(
            f"{url}: answered {error.status_code} to the request for its models.", error.status_code
        ) from None
    except openai.APIConnectionError as error:
        raise EndpointError(f"{url}: cannot reach it ({error.__cause__ or error}).", 0) from None
    except TimeoutError:
        raise EndpointError(f"{url}: did not list its models within {timeout_s:.0f} s.", 0) from None
    except (*UNREADABLE, TypeError, AttributeError):
        raise EndpointError(f"{url}: did not return a list of models.", 200) from None
    finally:
        thread.close()


async def _listed(url: str, key: str, timeout_s: float) -> dict[str, int | None]:
    client = openai.AsyncOpenAI(
        api_key=key, base_url=url, timeout=timeout_s, max_retries=0, http_client=guarded_client(url)
    )
    try:
        async with asyncio.timeout(timeout_s):  # the SDK's starts anew with every byte
            return {model.id: _context(model.model_extra or {}) async for model in client.models.list()}
    finally:
        await client.close()


def _context(more: Mapping[str, Any]) -> int | None:
    """Tokens of a request with its reply, as vLLM and SGLang, or routers, say it beside a model's name."""
    found = more.get("max_model_len") or more.get("context_length")
    return found if isinstance(found, int) else None
