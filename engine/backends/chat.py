"""Requests to a chat endpoint and parsing of its replies, for single calls (``openai``)
or as batches (``openai_batches``).

The key is read from the environment variable that config.toml names; it is in no message, log or row.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from engine.backends import BYTES_PER_TOKEN, Call, Generation, Places
from engine.backends.guarded_client import guarded_client
from engine.backends.rate_limits import told_s
from engine.backends.stop_strings import ended
from engine.chat.surrogates import clean
from engine.errors import BackendError

R = TypeVar("R")
MESSAGE_LIMIT = 300
FATAL = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
PASSING = frozenset({408, 409, 429})  # and all of 5xx
AT_WORK = frozenset({408, 502, 504, *range(520, 528)})
"""Statuses of a gateway timeout: the model may still be generating."""
UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
"""What the SDK's client (httpx, or httpx2) calls failures before a request has left."""
CONNECT_S = 10.0
NO_QUOTA = "insufficient_quota"  # a 429 that does not pass
OPTIONAL = frozenset({"temperature", "top_p", "seed"})  # some models refuse to have them set
CONTINUED = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM and SGLang are told that the last message is to be gone on with; others tell by its role, or cannot."""
NO_KEY = "none"


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.at_end: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Run ``work`` in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Drop what runs, do what is to be done at the end, and end the thread."""

        async def drop() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)  # a task that is not run to its end warns
            for work in self.at_end:
                await work()

        self.start(drop()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Chat:
    """One model at one server, with a client that works in a thread: its own, or one that it shares.

    Args:
        url: the base address, such as ``http://127.0.0.1:8000/v1``.
        model: the name that the endpoint knows the model by.
        key_env: name of the environment variable that holds the key; empty: the endpoint wants none.
        timeout_s: how long it may be silent.
        section: of config.toml that names it.
        beside: another server with the same model. Its thread and its notes are this one's too.

    Raises:
        BackendError: the variable is not set, the address is none, or the shell's proxy cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_env: str,
        timeout_s: float,
        section: str = "teacher",
        beside: Chat | None = None,
    ) -> None:
        self.url, self.model, self.timeout_s, self.section = url, model, timeout_s, section
        self._key = key_in(key_env, section)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise BackendError(
                f'config.toml: [{section}] url = "{url}" is not a URL. Example: http://127.0.0.1:8000/v1'
            )
        self.names = {name: name for name in ("max_tokens", *sorted(OPTIONAL))}
        """By which name each option is sent; those that the model refuses are not there."""
        self.notes: list[str] = beside.notes if beside else []
        self._other: str | None = None
        self.estimates = False
        """Whether a reply came without a count of its tokens."""
        self._thread: LoopThread = beside._thread if beside else LoopThread()
        self.client = self.start(self._open()).result()
        self._thread.at_end.append(self.client.close)

    async def _open(self) -> openai.AsyncOpenAI:
        # Who cannot be connected to in half of the time was not asked, and is told from who does not answer.
        patience = openai.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s / 2))
        return openai.AsyncOpenAI(
            api_key=self._key, base_url=self.url, timeout=patience, max_retries=0, http_client=guarded_client(self.url)
        )

    def start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Run ``work`` in the client's thread."""
        return self._thread.start(work)

    def close(self) -> None:
        """Drop calls in flight, also those of the servers beside it, and end the thread."""
        self._thread.close()

    def before_close(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do ``work``, which raises nothing, once no call is in flight any more and before the client is closed."""
        self._thread.at_end.insert(0, work)

    async def ask(self, call: Call, names: Mapping[str, str]) -> Any:
        """The reply to ``call``, its options by their ``names``."""
        return await self.client.chat.completions.create(**self.body(call, names))

    def options(self, call: Call, names: Mapping[str, str]) -> dict[str, Any]:
        """How the reply is drawn, as parameters by their ``names``."""
        values = {
            "max_tokens": call.max_new_tokens,
            "temperature": call.temperature,
            "top_p": call.top_p,
            "seed": call.seed,
        }
        return {names[name]: value for name, value in values.items() if name in names}

    def body(self, call: Call, names: Mapping[str, str]) -> dict[str, Any]:
        """A request's parameters, its options by their ``names``."""
        messages = [{"role": m.role, "content": m.content} for m in call.chat]
        begun = [{"role": "assistant", "content": call.begun}] if call.begun else []
        return {
            "model": self.model,
            "messages": [*messages, *begun],
            **self.options(call, names),
            **({"extra_body": CONTINUED} if begun else {}),
            **({"stop": list(call.ends)} if call.ends else {}),
            **({"logprobs": True, "top_logprobs": call.likeliest} if call.likeliest else {}),
        }

    def adapt(self, status: int, refused: str | None, names: Mapping[str, str]) -> bool:
        """Whether a refusal is about an option that this model does not take, and asking without it may work.

        ``names``: by which the options were sent. ``refused``: the parameter that the endpoint names.
        """
        if status != 400 or refused not in names.values():
            return False
        if refused not in self.names.values():  # another call has found out meanwhile
            return True
        if refused == "max_tokens":
            self.names["max_tokens"] = "max_completion_tokens"
            self.notes.append(f"{self.model} takes max_completion_tokens instead of max_tokens")
        elif refused in OPTIONAL:
            del self.names[refused]
            self.notes.append(f"{self.model} does not accept {refused}; its default is used")
        else:
            return False
        return True

    def read(self, reply: ChatCompletion, tokens_in: int, begun: str = "", ends: Sequence[str] = ()) -> Generation:
        """A reply as a generation. Tokens that a provider does not count are estimated: ``tokens_in``, from bytes.

        begun, ends: see ``Call``.

        Raises:
            ValueError: it is not of the form that the API promises; the SDK does not check that.
        """
        try:
            return self._read(reply, tokens_in, begun, ends)
        except (AttributeError, TypeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def _read(self, reply: ChatCompletion, tokens_in: int, begun: str, ends: Sequence[str]) -> Generation:
        used = _used(reply)
        if not getattr(reply, "choices", None):
            return Generation("", "stop", *(used or (0, 0)), self._without_choices(reply), uncounted=used is None)
        self._named(reply)
        choice = reply.choices[0]
        text = clean(self.without_key(self.text_in(choice)))
        if used is not None:
            tokens_in, tokens_out = used
        else:
            if not self.estimates:
                self.notes.append(
                    f"{self.model}'s server does not report token usage; tokens, budgets and costs are estimates"
                )
            self.estimates = True
            tokens_out = round(len(text.encode()) / BYTES_PER_TOKEN)
        text = text if text.lstrip().startswith(begun) else begun + text
        text, how = ended(text, ends, turn=choice.finish_reason != "length")  # providers omit the stop text
        return Generation(text, how, tokens_in, tokens_out, places=self.places_in(reply))

    def text_in(self, choice: Any) -> str:
        """What a reply says."""
        return choice.message.content or ""

    def places_in(self, reply: Any) -> Places:
        """The likeliest tokens in each place of a reply, where the endpoint tells them."""
        told = getattr(getattr(reply.choices[0], "logprobs", None), "content", None) or ()
        return tuple(tuple(map(_chance, (place, *(place.top_logprobs or ())))) for place in told)

    def _named(self, reply: ChatCompletion) -> None:
        """Note once when another model answers than was asked: a router, or a server that serves what it likes."""
        by = str(getattr(reply, "model", "") or "")
        if by and self._other is None and not _is_same_model(self.model, by):
            self._other = self.safe_text(reply.model)
            self.notes.append(f"{self.url}: {self.model} was asked, but {self._other} says that it answers")

    def _without_choices(self, reply: object) -> str:
        if isinstance(reply, str):  # as the SDK gives what is no JSON
            return f"the reply is no JSON: {self.safe_text(reply)[:80]}"
        told = getattr(reply, "error", None)
        said = told.get("message") if isinstance(told, dict) else told
        return f"the reply is an error: {self.safe_text(str(said))}" if said else "the reply has no choices"

    def fatal(self, error: BaseException) -> str:
        """The message for an error that would fail every call, with the fix."""
        said = self.safe_text(getattr(error, "message", str(error)))
        if is_redirect(error):
            return (
                f"{self.url}: it redirects to {self.safe_text(redirect(error))}, and rows go nowhere that you have not"
                f" named. If you trust that address, set it as [{self.section}] url."
            )
        return self.hopeless(said, getattr(error, "status_code", 0), code(error))

    def hopeless(self, said: str, status: int, kind: str) -> str:
        """Like ``fatal``, for a refusal that is not an exception."""
        if status == 404:
            listed = f"{self.url}/models lists the available ones"
            key = "model" if self.section == "teacher" else "endpoint_model"
            fix = f"check [{self.section}] {key} = {self.model!r} and url; {listed}"
        elif kind == NO_QUOTA:
            fix = "your quota with this provider is used up. Finished calls are saved; resume when you have more"
        else:
            fix = f"check the API key in the environment variable named by [{self.section}] key_env"
        return f"{self.url}: {said}. All calls would fail: {fix}."

    def why(self, error: BaseException) -> str:
        """Why a call failed after all retries."""
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return f"no reply within {self.timeout_s:g} s"
        if isinstance(error, openai.APIStatusError):
            said = error.message.removeprefix(f"Error code: {error.status_code} - ")
            return f"the endpoint answered {error.status_code}: {self.safe_text(said)}"
        return f"connection failed: {self.safe_text(str(error.__cause__ or error))}"

    def unreadable(self, error: BaseException) -> str:
        """Why a reply is unusable."""
        return f"the reply cannot be read: {self.safe_text(str(error))}"

    def safe_text(self, text: str) -> str:
        """A message of an endpoint or library, shortened, without the API key."""
        return " ".join(self.without_key(text).split())[:MESSAGE_LIMIT].rstrip(".")

    def without_key(self, text: str) -> str:
        """``text`` without the API key. Call it before shortening, as half a key is a secret too."""
        return text.replace(self._key, "<key>") if len(self._key) > len(NO_KEY) else text


def _chance(one: Any) -> tuple[str, float]:
    return chance(one.token, one.logprob)


def chance(token: Any, logprob: Any) -> tuple[str, float]:
    """A token with its probability.

    Raises:
        TypeError, ValueError: they are none.
    """
    if not isinstance(token, str) or math.isnan(logprob):
        raise ValueError("a log-probability without a token or a number")
    return token, math.exp(min(logprob, 0.0))


def key_in(name: str, section: str = "teacher") -> str:
    """The API key in the environment variable ``name``; a placeholder if the endpoint needs none."""
    if not name:
        return NO_KEY
    if not (key := os.environ.get(name, "")):
        raise BackendError(f"The environment variable {name} is not set. config.toml names it in [{section}] key_env.")
    return key


def failed(reason: str, final: bool = False) -> Generation:
    """A Generation for a call without a usable reply."""
    return Generation("", "stop", 0, 0, reason, final)


def garbled(reason: str) -> Generation:
    """A Generation for an unreadable reply with unknown usage."""
    return Generation("", "stop", 0, 0, reason, uncounted=True)


def code(error: BaseException) -> str:
    """The API's error code, if any."""
    return str(getattr(error, "code", None) or getattr(error, "type", None) or "")


def maybe_counted(error: BaseException) -> bool:
    """Whether the provider may have answered and charged for a call without a reply."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in AT_WORK
    cause = error.__cause__
    names = {kind.__name__ for kind in type(cause).__mro__} if cause is not None else set()
    return not names & UNSENT


def _is_same_model(asked: str, by: str) -> bool:
    """Whether two names differ by no more than an owner, case, and a date or a number: ``x-mini`` is not ``x``."""
    short, long = sorted((name.lower().rpartition("/")[2].removesuffix("-latest") for name in (asked, by)), key=len)
    return short in long and not any(letter.isalpha() for letter in long.replace(short, "", 1))


def is_redirect(error: BaseException) -> bool:
    """Whether the endpoint wants the rows elsewhere."""
    return 300 <= getattr(error, "status_code", 0) < 400


def redirect(error: BaseException) -> str:
    """Where to; an address without its options, which may hold secrets."""
    where = getattr(error, "response", None)
    return str(where.headers.get("location", "an unnamed place")).partition("?")[0] if where is not None else ""


def _used(reply: object) -> tuple[int, int] | None:
    """Tokens in and out as the reply counts them; None: it does not, or not with numbers that can be."""
    used = getattr(reply, "usage", None)
    if used is None:
        return None
    counts = int(used.prompt_tokens), int(used.completion_tokens)
    return counts if min(counts) >= 0 else None


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    return is_transient_status(error.status_code) if isinstance(error, openai.APIStatusError) else True


def is_transient_status(status: int) -> bool:
    """Whether a call with this HTTP status may succeed later."""
    return status in PASSING or status >= 500


def retry_after_s(error: BaseException) -> float:
    """Seconds that the endpoint asks to wait; 0 if it does not say."""
    if isinstance(error, openai.APIStatusError) and is_transient(error):
        return told_s(error.response.headers) or 0.0
    return 0.0
