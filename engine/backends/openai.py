"""Any OpenAI-compatible chat endpoint: many calls in flight, each result taken as soon as it is there.

Batches with a barrier wait for their slowest call; here a slot is used again the moment it is free. What passes (429,
408, 409, 5xx, timeouts, cut connections) is tried again here and nowhere else: the SDK's own retries are off, because
they refuse a Retry-After of more than a minute, go round the limits per minute, and know only their own call. What
still fails is a result with an error; what no call can get past (a wrong key, a model that is not there, a quota that
is used up) is raised. An endpoint that answers nothing any more, or nothing but refusals, is told from rows that fail
on their own: see ``Endpoint.take``.

A try that was sent and got no reply (a timeout, a connection that was cut, a gateway that gave up) may have been
answered and counted at the other end. It is told to who made the call, who says whether there is to be another one.
"""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import openai

from engine.backends import Call, Generation, Lost
from engine.backends.chat import (
    FATAL,
    NO_QUOTA,
    Chat,
    code,
    failed,
    garbled,
    is_redirect,
    is_transient,
    maybe_counted,
    retry_after_s,
)
from engine.backends.rate_limits import backoff_s
from engine.backends.servers import Server, Servers
from engine.config import schema as configs
from engine.errors import BackendError, EndpointError
from engine.plurals import counted

REPLY_SHARE = 0.25
"""Until replies are known, a call is taken to use this share of ``max_new_tokens``."""
OUTAGE_CALLS = 10
"""At least so many calls in a row must fail without any reply before the endpoint counts as gone."""
PATIENCE_S = 900.0
"""So long one call waits in all when it is told to (Retry-After). Such waits are no tries, unless they are short."""
SHORT_S = 1.0
KNOCK_S = 10.0
"""So long the list of models may take when it is asked whether anybody is there."""
UNREADABLE = (openai.APIError, json.JSONDecodeError, UnicodeDecodeError, ValueError, RecursionError)
PAYMENT, TIMEOUT = 402, 408  # equivalent statuses for endpoints that give another one, or none
REPLY, REFUSED, SILENT = "reply", "refused", "silent"


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Rate limits of each server of an endpoint. A per-minute limit of 0 means no limit."""

    concurrency: int = 64
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    timeout_s: float = 120.0
    retries: int = 5

    @classmethod
    def of(cls, how: configs.Teacher) -> EndpointLimits:
        """Those that [teacher] sets."""
        return cls(how.concurrency, how.requests_per_minute, how.tokens_per_minute, how.timeout_s, how.retries)


@dataclass(slots=True)
class _Patience:
    """What a call has used up: ``tries`` that failed, and the seconds that it waited because it was told to."""

    tries: int
    waited_s: float = 0.0


class _Adapted(Exception):
    """An option was refused that is not sent any more: ask again."""


class Endpoint:
    """A chat endpoint in a thread of its own: ``submit`` calls, ``take`` what is done, ``close`` at the end.

    Args:
        url: the base address, such as ``http://127.0.0.1:8000/v1``.
        model: the name that the endpoint knows the model by.
        key_env: name of the environment variable that holds the key; empty: the endpoint wants none.
        limits: how many calls at once and per minute, and how patient each is.
        answered: it has taken such calls before, so one that is refused is so for its own sake.
        section: of config.toml that names it.
        more_urls: servers with the same model and key, each as patient and as fast.
        speaks: how they are spoken to.

    Raises:
        BackendError: the variable is not set, or an address is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_env: str = "",
        limits: EndpointLimits | None = None,
        answered: bool = False,
        section: str = "teacher",
        more_urls: Sequence[str] = (),
        speaks: type[Chat] = Chat,
    ) -> None:
        self.limits = how = limits or EndpointLimits()
        self.chat = speaks(url, model, key_env, how.timeout_s, section)
        self.url, self.model, self.notes = url, model, self.chat.notes
        self.in_flight = 0
        chats = [self.chat, *(speaks(one, model, key_env, how.timeout_s, section, self.chat) for one in more_urls)]
        self.all = [Server(chat, how.concurrency, how.requests_per_minute, how.tokens_per_minute) for chat in chats]
        self.servers = Servers(self.all)
        self.paid = True
        self._slots = asyncio.Semaphore(how.concurrency * len(chats))
        self._reply_tokens: float | None = None
        self._done: queue.SimpleQueue[tuple[Call, Generation | Lost | BaseException, str]] = queue.SimpleQueue()
        self._held: list[tuple[Call, Generation]] = []
        self._asking: dict[Hashable, int] = {}
        self._silent = self._refused = 0
        self._alive, self._good = False, answered

    def submit(self, call: Call) -> None:
        """Queue ``call``; it is sent as soon as a slot and the rate limits allow."""
        self.in_flight += 1
        self.chat.start(self._run(call))

    def again(self, call: Call) -> None:
        """Retry a call that asked for it."""
        self.chat.start(self._run(call, self._asking.pop(call.tag)))

    def leave(self, call: Call) -> None:
        """Give up a call that asked for a retry."""
        del self._asking[call.tag]
        self.in_flight -= 1

    def take(self) -> list[tuple[Call, Generation | Lost]]:
        """Wait for at least one call to end or to lose a try; returns all that have since. One that asks is in flight
        until it has its answer.

        While nothing but failures without a reply comes in, or nothing but refusals from the start, they are held back:
        if it was the endpoint or a setting, no row must pay for it with one of its tries.

        Raises:
            BackendError: no call can work (key, model, quota), all are refused, or the endpoint stopped answering.
        """
        out: list[tuple[Call, Generation | Lost]] = []
        while self.in_flight and (not out or not self._done.empty()):
            call, result, kind = self._done.get()
            if isinstance(result, BaseException):
                if not isinstance(result, openai.APIError):
                    raise result
                raise BackendError(self.chat.fatal(result)) from result
            if isinstance(result, Lost):
                out.append((call, result))
                if result.asks:
                    self._asking[call.tag] = result.tries
                    continue
                result = failed(result.error, final=True)
            self.in_flight -= 1
            self._held.append((call, result))
            self._count(kind)
            self._refuse_outage(result)
            if kind == REPLY or (self._good and kind == REFUSED):
                out += self._held
                self._held = []
        if not self.in_flight:
            out += self._nobody_left()
        return out

    def _nobody_left(self) -> list[tuple[Call, Generation | Lost]]:
        """No sign of life can come any more for what is held back."""
        if self._alive:
            if self._silent and not any(_answers(one.chat, self.limits.timeout_s) for one in self.all):
                raise self._gone(self._held[-1][1])  # too few calls are left to tell it by their number
            held, self._held = self._held, []
            return [*held]
        held, self._held = self._held, []
        self.in_flight += len(held)  # it has never answered: knock again rather than blame the rows
        self._asking.update({call.tag: 0 for call, _ in held})
        return [(call, Lost(reply.error or "", counts=False, asks=True)) for call, reply in held]

    def _count(self, kind: str) -> None:
        self._silent = self._silent + 1 if kind == SILENT else 0
        self._refused = self._refused + (kind == REFUSED)
        self._alive = self._alive or kind != SILENT
        self._good = self._good or kind == REPLY

    def _refuse_outage(self, last: Generation) -> None:
        if self._silent >= max(OUTAGE_CALLS, 2 * self.limits.concurrency * len(self.all)):
            raise self._gone(last)
        if not self._good and self._refused >= OUTAGE_CALLS:
            raise BackendError(
                f"{self.url}: the first {self._refused} calls all failed (last: {last.error}). "
                f"Check [{self.chat.section}] in config.toml, then resume."
            )

    def _gone(self, last: Generation) -> BackendError:
        return BackendError(
            f"{self.url}: no reply to {counted(self._silent, 'call')} in a row (last: {last.error}). "
            "Finished calls are saved. Check the server and the network, then resume."
        )

    def stopping(self) -> str:
        """A log line: what a pause does to the calls in flight."""
        calls, paid = counted(self.in_flight, "call"), "it is" if self.in_flight == 1 else "they are"
        return f"pausing: {calls} in flight will be waited for, because {paid} paid for"

    @property
    def estimates(self) -> bool:
        """Whether a reply came without token usage."""
        return any(server.chat.estimates for server in self.all)

    def try_out(self, call: Call) -> Generation:
        """Have one call made now, once, and wait for it: for a check, not for work.

        Raises:
            EndpointError: why it cannot work.
        """
        return self.chat.start(self.once(call, self.chat)).result()

    async def once(self, call: Call, chat: Chat) -> Generation:
        """``try_out`` at one of the servers, in the client's thread."""
        while True:
            names, start = dict(chat.names), time.monotonic()
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    reply = await _ask(chat, call, names)
                read = chat.read(reply, call.tokens_in, call.begun, call.ends)
                made = replace(read, seconds=time.monotonic() - start)
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if not _adapts(chat, error, names):
                    raise EndpointError(chat.why(error), _status(error)) from None
                continue
            except UNREADABLE as error:
                made = garbled(chat.unreadable(error))
            if made.error:
                raise EndpointError(made.error, 200)
            return made

    def close(self) -> None:
        """Drop calls in flight and end the thread."""
        self.chat.close()

    async def _run(self, call: Call, lost: int = 0) -> None:
        """Make ``call``, of which so many tries were ``lost``."""
        if lost:
            await asyncio.sleep(backoff_s(lost))
        result: Generation | Lost | BaseException
        try:
            async with self._slots:
                result, kind = await self._tried(call, lost)
        except Exception as error:  # noqa: BLE001 - ``take`` raises it; without a word it would wait for ever
            result, kind = error, REFUSED
        self._done.put((call, result, kind))

    async def _tried(self, call: Call, tries: int) -> tuple[Generation | Lost | BaseException, str]:
        """The call's outcome: a reply, a try that was lost after so many ``tries``, or what it failed with in the
        end.
        """
        used = _Patience(tries)
        while True:
            server = self.servers.next()
            chat = server.chat
            guess = call.tokens_in + (self._reply_tokens or call.max_new_tokens * REPLY_SHARE)
            try:
                reply, seconds = await self._at(server, call, guess)
                result = replace(chat.read(reply, call.tokens_in, call.begun, call.ends), seconds=seconds)
                self._count_tokens(result)
                server.tokens.give_back(guess - result.tokens_in - result.tokens_out)
                server.replied()
                return result, REPLY
            except FATAL as error:
                if not self._left_out(server, error):
                    return error, REFUSED
            except _Adapted:
                continue
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if (ended := await self._after_failure(server, error, used)) is not None:
                    return ended
            except UNREADABLE as error:
                server.replied()
                return garbled(chat.unreadable(error)), REPLY

    async def _after_failure(
        self, server: Server, error: Exception, used: _Patience
    ) -> tuple[Generation | Lost | BaseException, str] | None:
        """What a failure makes of a call: its outcome; or None, after a pause if need be: it is tried again."""
        if code(error) == NO_QUOTA or is_redirect(error):
            return None if self._left_out(server, error) else (error, REFUSED)
        again = used.tries < self.limits.retries
        if maybe_counted(error):
            self.servers.rest(server)
            return Lost(self._why(server.chat, error), True, again, used.tries + 1), SILENT
        wait = retry_after_s(error)
        if SHORT_S <= wait <= PATIENCE_S - used.waited_s:
            server.gate.shut(wait)
            # Sent from one to the next, it counts as well: each may be awake when the other one refuses.
            used.waited_s += SHORT_S if self.servers.rest(server, wait) else wait
            return None
        if is_transient(error) and again and wait < SHORT_S:
            used.tries += 1
            if not self.servers.rest(server, wait):
                await asyncio.sleep(wait or backoff_s(used.tries))
            return None
        return failed(self._why(server.chat, error), final=True), SILENT if is_transient(error) else REFUSED

    async def _at(self, server: Server, call: Call, guess: float) -> tuple[Any, float]:
        """The reply of ``server`` and how long it took, as soon as its limits allow; ``guess``: tokens that it uses.

        Raises:
            _Adapted: it refused an option that it will not be sent again.
        """
        server.busy += 1
        try:
            async with server.slots:
                await server.gate.passed()
                await server.requests.take(1)
                await server.tokens.take(guess)
                names, start = dict(server.chat.names), time.monotonic()
                try:
                    async with asyncio.timeout(self.limits.timeout_s):  # the SDK's starts anew with every byte
                        reply = await _ask(server.chat, call, names)
                except openai.APIStatusError as error:
                    if _adapts(server.chat, error, names):
                        raise _Adapted from None
                    raise
                return reply, time.monotonic() - start
        finally:
            server.busy -= 1

    def _left_out(self, server: Server, error: BaseException) -> bool:
        """Whether the others can go on without ``server``, which can take no call."""
        known = server.left_out
        if not self.servers.leave_out(server):
            return False
        if not known:
            self.notes.append(f"{server.chat.fatal(error)} It is left out; the other servers go on")
        return True

    def _why(self, chat: Chat, error: BaseException) -> str:
        said = chat.why(error)
        return said if len(self.all) == 1 else f"{chat.url}: {said}"

    def _count_tokens(self, reply: Generation) -> None:
        """Update the mean reply length."""
        if not reply.error:
            known = self._reply_tokens
            self._reply_tokens = reply.tokens_out if known is None else 0.9 * known + 0.1 * reply.tokens_out


def _adapts(chat: Chat, error: BaseException, names: dict[str, str]) -> bool:
    return chat.adapt(getattr(error, "status_code", 0), getattr(error, "param", None), names)


async def _ask(chat: Chat, call: Call, names: dict[str, str]) -> Any:
    return await chat.ask(call, names)


def _answers(chat: Chat, timeout_s: float) -> bool:
    """Whether anybody is there: the list of models comes at once, or is refused, while a row's reply may hang."""

    async def knock() -> bool:
        try:
            async with asyncio.timeout(min(KNOCK_S, timeout_s)):
                await chat.client.models.list()
        except (openai.APIConnectionError, TimeoutError):
            return False
        except openai.APIStatusError as error:
            return error.status_code < 500
        except (*UNREADABLE, TypeError, AttributeError):
            return True
        return True

    return chat.start(knock()).result()


def _status(error: BaseException) -> int:
    """The HTTP status of an error; 0 for a failed connection."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return TIMEOUT
    return PAYMENT if code(error) == NO_QUOTA else int(getattr(error, "status_code", 0))
