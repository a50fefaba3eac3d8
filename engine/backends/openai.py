"""Any OpenAI-compatible chat endpoint: many calls in flight, each result taken as soon as it is there.

Batches with a barrier wait for their slowest call; here a slot is used again the moment it is free. What passes (429,
408, 409, 5xx, timeouts, cut connections) is tried again here and nowhere else: the SDK's own retries are off, because
they refuse a Retry-After of more than a minute, go round the limits per minute, and know only their own call. What
still fails is a result with an error; what no call can get past (a wrong key, a model that is not there, a quota that
is used up) is raised. An endpoint that answers nothing any more, or nothing but refusals, is told from rows that fail
on their own: see ``Endpoint.take``.

The key is read from the environment variable that config.toml names; it is in no message, log or row.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from engine.backends import BYTES_PER_TOKEN, Call, Generation
from engine.backends.limits import Bucket, Gate, backoff_s, told_s
from engine.errors import BackendError, EndpointError

REPLY_SHARE = 0.25
"""Until replies are known, a call is taken to use this share of ``max_new_tokens``."""
OUTAGE_CALLS = 10
"""At least so many calls in a row must fail without any reply before the endpoint counts as gone."""
PATIENCE_S = 900.0
"""So long one call waits in all when it is told to (Retry-After). Such waits are no tries, unless they are short."""
SHORT_S = 1.0
MESSAGE_LIMIT = 300
FATAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
UNREADABLE = (openai.APIError, json.JSONDecodeError, UnicodeDecodeError, ValueError)
PASSING = frozenset({408, 409, 429})  # and all of 5xx
NO_QUOTA = "insufficient_quota"  # a 429 that does not pass
PAYMENT, TIMEOUT = 402, 408  # statuses that say the same where an endpoint says it otherwise, or nothing
OPTIONAL = frozenset({"temperature", "top_p", "seed"})  # some models refuse to have them set


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint may be asked for. Per-minute limits of 0 are none."""

    concurrency: int = 64
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    timeout_s: float = 120.0
    retries: int = 5


class Endpoint:
    """A chat endpoint in a thread of its own: ``submit`` calls, ``take`` what is done, ``close`` at the end.

    Args:
        url: the base address, such as ``http://127.0.0.1:8000/v1``.
        model: the name that the endpoint knows the model by.
        key_env: name of the environment variable that holds the key; empty: the endpoint wants none.
        limits: how many calls at once and per minute, and how patient each is.

    Raises:
        BackendError: the variable is not set, or the address is none.
    """

    def __init__(self, url: str, model: str, key_env: str = "", limits: Limits | None = None) -> None:
        self.url, self.model = url, model
        self.limits = limits or Limits()
        self.in_flight = 0
        self._key = _key(key_env)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise BackendError(f'config.toml: [teacher] url = "{url}" is no address. Example: http://127.0.0.1:8000/v1')
        self._requests = Bucket(self.limits.requests_per_minute)
        self._tokens = Bucket(self.limits.tokens_per_minute)
        self._gate = Gate()
        self._names = {name: name for name in ("max_tokens", *sorted(OPTIONAL))}
        self.notes: list[str] = []
        self.paid = True
        self.estimates = False
        """Whether a reply came without a count of its tokens."""
        self._reply_tokens: float | None = None
        self._done: queue.SimpleQueue[tuple[Call, Generation | BaseException, str]] = queue.SimpleQueue()
        self._held: list[tuple[Call, Generation]] = []
        self._silent = self._refused = 0
        self._alive = self._good = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        self._client = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    async def _open(self) -> openai.AsyncOpenAI:
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        return openai.AsyncOpenAI(api_key=self._key, base_url=self.url, timeout=self.limits.timeout_s, max_retries=0)

    def submit(self, call: Call) -> None:
        """Have ``call`` made as soon as a slot and the limits allow."""
        self.in_flight += 1
        asyncio.run_coroutine_threadsafe(self._run(call), self._loop)

    def take(self) -> list[tuple[Call, Generation]]:
        """Wait for at least one call to end; returns all that have ended since.

        While nothing but failures without a reply comes in, or nothing but refusals from the start, they are held back:
        if it was the endpoint or a setting, no row must pay for it with one of its tries.

        Raises:
            BackendError: no call can work (key, model, quota), all are refused, or the endpoint stopped answering.
        """
        out: list[tuple[Call, Generation]] = []
        while self.in_flight and (not out or not self._done.empty()):
            call, result, kind = self._done.get()
            self.in_flight -= 1
            if isinstance(result, BaseException):
                raise BackendError(self._fatal(result)) from result
            self._held.append((call, result))
            self._count(kind)
            self._refuse_outage(result)
            if kind == REPLY or (self._good and kind == REFUSED) or (self._alive and not self.in_flight):
                out += self._held
                self._held = []
            elif not self.in_flight:  # it has never answered: knock again rather than blame the rows
                for again, _ in self._held:
                    self.submit(again)
                self._held = []
        return out

    def _count(self, kind: str) -> None:
        self._silent = self._silent + 1 if kind == SILENT else 0
        self._refused = self._refused + (kind == REFUSED)
        self._alive = self._alive or kind != SILENT
        self._good = self._good or kind == REPLY

    def _refuse_outage(self, last: Generation) -> None:
        if self._silent >= max(OUTAGE_CALLS, 2 * self.limits.concurrency):
            raise BackendError(
                f"{self.url}: no reply to {self._silent} calls in a row (last: {last.error}). "
                "What came before is saved. Check the server and the network, then go on."
            )
        if not self._good and self._refused >= OUTAGE_CALLS:
            raise BackendError(
                f"{self.url}: the first {self._refused} calls were all refused (last: {last.error}). "
                "Check [teacher] in config.toml against what the server takes, then go on."
            )

    def stopping(self) -> str:
        """What a pause means for the calls in flight, as a line for the log."""
        return f"pausing: {self.in_flight:,} calls in flight are waited for, since they are paid for"

    def try_out(self, call: Call) -> Generation:
        """Have one call made now, once, and wait for it: for a check, not for work.

        Raises:
            EndpointError: why it cannot work.
        """
        return asyncio.run_coroutine_threadsafe(self._once(call), self._loop).result()

    async def _once(self, call: Call) -> Generation:
        while True:
            names, start = dict(self._names), time.monotonic()
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    reply = await self._ask(call, names)
                made = replace(self._read(call, reply), seconds=time.monotonic() - start)
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if not self._adapt(error, names):
                    raise EndpointError(self._why(error), _status(error)) from None
                continue
            except UNREADABLE as error:
                made = _failed(self._unreadable(error))
            if made.error:
                raise EndpointError(made.error, 200)
            return made

    def close(self) -> None:
        """Give up what is in flight and end the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)  # a task that is not run to its end warns
            await self._client.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _run(self, call: Call) -> None:
        async with self._slots:
            result, kind = await self._tried(call)
        self._done.put((call, result, kind))

    async def _tried(self, call: Call) -> tuple[Generation | BaseException, str]:
        """The call's outcome: a reply, or what it failed with in the end."""
        tries, waited = 0, 0.0
        while True:
            guess = call.tokens_in + (self._reply_tokens or call.max_new_tokens * REPLY_SHARE)
            await self._gate.passed()
            await self._requests.take(1)
            await self._tokens.take(guess)
            names, start = dict(self._names), time.monotonic()
            try:
                async with asyncio.timeout(self.limits.timeout_s):  # the SDK's timeout starts anew with every byte
                    reply = await self._ask(call, names)
                result = replace(self._read(call, reply), seconds=time.monotonic() - start)
                self._tokens.give_back(guess - result.tokens_in - result.tokens_out)
                return result, REPLY
            except FATAL as error:
                return error, REFUSED
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if _code(error) == NO_QUOTA:
                    return error, REFUSED
                if self._adapt(error, names):
                    continue
                told = _told(error)
                if SHORT_S <= told <= PATIENCE_S - waited:
                    self._gate.shut(told)
                    waited += told
                elif _passes(error) and tries < self.limits.retries and told < SHORT_S:
                    tries += 1
                    await asyncio.sleep(told or backoff_s(tries))
                else:
                    return _failed(self._why(error), final=True), SILENT if _passes(error) else REFUSED
            except UNREADABLE as error:
                return _failed(self._unreadable(error)), REPLY

    async def _ask(self, call: Call, names: dict[str, str]) -> ChatCompletion:
        messages: list[Any] = [{"role": m.role, "content": m.content} for m in call.chat]
        values = {
            "max_tokens": call.max_new_tokens,
            "temperature": call.temperature,
            "top_p": call.top_p,
            "seed": call.seed,
        }
        options: dict[str, Any] = {names[name]: value for name, value in values.items() if name in names}
        reply: ChatCompletion = await self._client.chat.completions.create(
            model=self.model, messages=messages, **options
        )
        return reply

    def _adapt(self, error: BaseException, names: dict[str, str]) -> bool:
        """Whether ``error`` is about an option that this model does not take, and asking without it may work."""
        refused = getattr(error, "param", None)
        if getattr(error, "status_code", 0) != 400 or refused not in names.values():
            return False
        if names != self._names:  # another call has found out meanwhile
            return True
        if refused == "max_tokens":
            self._names["max_tokens"] = "max_completion_tokens"
            self.notes.append(f"{self.model} takes max_completion_tokens in place of max_tokens")
        elif refused in OPTIONAL:
            del self._names[refused]
            self.notes.append(f"{self.model} does not let {refused} be set: its own default holds")
        else:
            return False
        return True

    def _why(self, error: BaseException) -> str:
        """Why a call failed in the end."""
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return f"no reply within {self.limits.timeout_s:g} s"
        if isinstance(error, openai.APIStatusError):
            return f"the endpoint answered {error.status_code}: {self._said(error.message)}"
        return f"the connection failed: {self._said(str(error.__cause__ or error))}"

    def _unreadable(self, error: BaseException) -> str:
        return f"the reply cannot be read: {self._said(str(error))}"

    def _read(self, call: Call, reply: ChatCompletion) -> Generation:
        """A reply as a generation; a provider that does not count tokens is estimated."""
        if not getattr(reply, "choices", None):
            return _failed("the reply holds no choice")
        choice = reply.choices[0]
        text = self._without_key(choice.message.content or "")
        used = reply.usage
        if used is None and not self.estimates:
            self.estimates = True
            self.notes.append(f"{self.model}'s server counts no tokens: they are estimated, for caps and cost too")
        tokens_in = used.prompt_tokens if used else call.tokens_in
        tokens_out = used.completion_tokens if used else round(len(text.encode()) / BYTES_PER_TOKEN)
        known = self._reply_tokens
        self._reply_tokens = tokens_out if known is None else 0.9 * known + 0.1 * tokens_out
        return Generation(text, "length" if choice.finish_reason == "length" else "stop", tokens_in, tokens_out)

    def _fatal(self, error: BaseException) -> str:
        said = self._said(getattr(error, "message", str(error)))
        if isinstance(error, openai.NotFoundError):
            listed = f"{self.url}/models lists what there is"
            fix = f"is there a model {self.model!r}? Check [teacher] model and url; {listed}"
        elif _code(error) == NO_QUOTA:
            fix = "your quota with this provider is used up. What came before is saved; go on when there is more"
        else:
            fix = "check the key in the environment variable that [teacher] key_env names"
        return f"{self.url}: {said}. No call can work: {fix}."

    def _said(self, text: str) -> str:
        """What an endpoint or a library said, short, and never with the key in it."""
        return " ".join(self._without_key(text).split())[:MESSAGE_LIMIT].rstrip(".")

    def _without_key(self, text: str) -> str:
        """Before anything is cut off: half a key is a secret too."""
        return text.replace(self._key, "<key>") if len(self._key) > len(NO_KEY) else text


NO_KEY = "none"
REPLY, REFUSED, SILENT = "reply", "refused", "silent"


def _key(name: str) -> str:
    """The key in environment variable ``name``; a word that stands for none where the endpoint wants none."""
    if not name:
        return NO_KEY
    if not (key := os.environ.get(name, "")):
        raise BackendError(f"The environment variable {name} is not set, and config.toml ([teacher] key_env) names it.")
    return key


def _failed(reason: str, final: bool = False) -> Generation:
    return Generation("", "stop", 0, 0, reason, final)


def _status(error: BaseException) -> int:
    """The HTTP status that says what happened; 0 for a connection that failed."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return TIMEOUT
    return PAYMENT if _code(error) == NO_QUOTA else int(getattr(error, "status_code", 0))


def _code(error: BaseException) -> str:
    """What an API calls the error, where it does."""
    return str(getattr(error, "code", None) or getattr(error, "type", None) or "")


def _passes(error: BaseException) -> bool:
    """Whether the same call may work a little later."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else 500
    return status in PASSING or status >= 500


def _told(error: BaseException) -> float:
    """How long an endpoint that cannot answer now asks to wait; 0: it does not say."""
    if isinstance(error, openai.APIStatusError) and _passes(error):
        return told_s(error.response.headers) or 0.0
    return 0.0


def available(url: str, key_env: str, timeout_s: float = 10.0) -> dict[str, int | None]:
    """The models that an endpoint offers, each with how many tokens it can see where the endpoint says so.

    Raises:
        BackendError: the key's variable is not set. EndpointError: it cannot be reached, or lists no models.
    """
    client = openai.OpenAI(api_key=_key(key_env), base_url=url, timeout=timeout_s, max_retries=0)
    try:
        return {model.id: _context(model.model_extra or {}) for model in client.models.list()}
    except openai.APIStatusError as error:
        raise EndpointError(
            f"{url}: answered {error.status_code} when asked for its models.", error.status_code
        ) from None
    except openai.APIConnectionError as error:
        raise EndpointError(f"{url}: cannot be reached ({error.__cause__ or error}).", 0) from None
    except (*UNREADABLE, TypeError, AttributeError) as error:
        raise EndpointError(f"{url}: no list of models came back ({type(error).__name__}).", 200) from None
    finally:
        client.close()


def _context(more: Mapping[str, Any]) -> int | None:
    """Tokens of a request with its reply, as vLLM and SGLang, or routers, say it beside a model's name."""
    found = more.get("max_model_len") or more.get("context_length")
    return found if isinstance(found, int) else None
