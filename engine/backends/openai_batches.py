"""The batch API of an OpenAI-compatible provider: files of requests that are answered within a day, at a lower price.

Each method is one step, tried again while what went wrong passes. A step never outlives a wish to stop: it is given up
at once, and whoever comes next finds what it did (``find``). Making a batch is the one step that must not be done
twice: before it is tried again the provider is asked whether the first try made it after all.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import openai
from openai.types import Batch
from openai.types.chat import ChatCompletion

from engine.backends import Call, Generation
from engine.backends.batch_api_check import NONE_THERE, none_there
from engine.backends.chat import (
    NO_QUOTA,
    Chat,
    code,
    failed,
    garbled,
    is_redirect,
    is_transient,
    is_transient_status,
    retry_after_s,
)
from engine.backends.guarded_client import MOST_BYTES
from engine.backends.rate_limits import backoff_s
from engine.errors import BackendError

R = TypeVar("R")
TICK_S = 0.2
"""So soon a wish to stop is noticed."""
PATH = "/v1/chat/completions"
WINDOW = "24h"
LABEL = "middo_batch"
LONGEST_PAUSE_S = 900.0
"""The longest pause between two tries that a provider is granted; it may ask for any."""
CLOCKS_S = 3600.0
"""How far the provider's clock and ours may be apart."""
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
CROWDED = "token_limit_exceeded"
"""The provider's error when more tokens wait in batches than it allows."""
UNMADE = frozenset({"batch_expired", "batch_cancelled"})


class StopRequested(Exception):
    """A pause or cancel was requested."""


class Unreachable(BackendError):
    """The provider did not give a usable answer; a later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How a batch stands at the provider. ``status`` is the provider's word; times are in seconds since 1970.

    ``output``, ``errors``: the files with what came of its requests. ``why``, ``code``: what was wrong with all of it.
    """

    id: str
    status: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    output: str | None = None
    errors: str | None = None
    why: str = ""
    code: str = ""

    @property
    def over(self) -> bool:
        """Whether the batch has ended."""
        return self.status in OVER


class ResultLine(NamedTuple):
    """What one line of a result file says of the request ``name``.

    ``kind``: ``reply``; ``failed``, with the reason in ``reply``; ``unmade``: it was never tried; ``adapted``: the
    model does not take an option, which is left out from now on; ``hopeless``: no call can work, ``said`` has why.
    """

    name: str
    kind: str
    reply: Generation | None = None
    said: str = ""


class Batches:
    """Batches of calls to one model.

    Args:
        stop: asked all the time; when it says yes, what is waited for is given up with ``StopRequested``.
        retries: tries after the first of each step.

    The others are ``Chat``'s. Methods raise ``Unreachable`` when the provider does not answer in the end, and
    ``BackendError`` when no batch can work.
    """

    def __init__(
        self, url: str, model: str, key_env: str, *, timeout_s: float, retries: int, stop: Callable[[], bool]
    ) -> None:
        self.chat = Chat(url, model, key_env, timeout_s)
        self.retries, self.stop = retries, stop
        self._files: Any = self.chat.client.files
        self._batches: Any = self.chat.client.batches

    def close(self) -> None:
        """Drop requests in flight."""
        self.chat.close()

    def line(self, name: str, call: Call) -> bytes:
        """One request of a batch's file."""
        body = self.chat.body(call, self.chat.names)
        asked = {"custom_id": name, "method": "POST", "url": PATH, "body": body}
        return json.dumps(asked, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    # ------------------------------------------------------------------------------------------------ the steps

    def ready(self) -> None:
        """Ask whether the server has batches at all.

        Raises:
            BackendError: it has none.
        """

        async def look() -> None:
            await self._batches.list(limit=1)

        self._step(look, self.retries)

    def find(self, token: str, since: float) -> BatchStatus | None:
        """The batch that carries ``token``, made at ``since`` or later; None: there is none.

        Raises:
            BackendError: the server has no batches.
        """

        async def look() -> BatchStatus | None:
            async for batch in self._batches.list(limit=100):
                if (batch.metadata or {}).get(LABEL) == token:
                    return self._standing(batch)
                if (batch.created_at or since) < since - CLOCKS_S:  # newest first
                    return None
            return None

        return self._step(look, self.retries)

    def upload(self, token: str, lines: Sequence[bytes]) -> str:
        """Upload a file of requests. Returns the provider's file id."""

        async def send() -> str:
            name = f"middo-{token}.jsonl"
            return str((await self._files.create(file=(name, b"".join(lines)), purpose="batch")).id)

        return self._step(send, self.retries, timed=False)

    def create(self, file: str, token: str, labels: Mapping[str, str], since: float) -> BatchStatus:
        """Create a batch from an uploaded file exactly once, even if replies are lost."""
        marked = {**labels, LABEL: token}

        async def make() -> BatchStatus:
            made = await self._batches.create(
                input_file_id=file, endpoint=PATH, completion_window=WINDOW, metadata=marked
            )
            return self._standing(made)

        return self._step(make, self.retries, before_again=lambda: self.find(token, since))

    def look(self, id: str) -> BatchStatus | None:
        """The status of a batch; None if the provider does not know the id. Not retried, as the caller polls anyway."""

        async def look() -> BatchStatus | None:
            try:
                return self._standing(await self._batches.retrieve(id))
            except openai.NotFoundError:
                return None

        return self._step(look, 0)

    def cancel(self, id: str) -> BatchStatus | None:
        """Cancel a batch; finished calls are kept. Does nothing if it has ended."""

        async def end() -> BatchStatus | None:
            try:
                return self._standing(await self._batches.cancel(id))
            except (openai.BadRequestError, openai.ConflictError, openai.NotFoundError):
                return None

        return self._step(end, self.retries)

    def forget(self, file: str) -> bool:
        """Delete a file at the provider. Returns success. Not retried, as files expire anyway."""

        async def take_away() -> bool:
            await self._files.delete(file)
            return True

        try:
            return self._step(take_away, 0)
        except BackendError:
            return False

    def lines(self, file: str) -> Iterator[bytes]:
        """The lines of a result file as they come.

        Raises:
            Unreachable: it broke off. What came before is good; the file can be read again from its start.
        """
        pieces = self._content(file)
        begun: list[bytes] = []
        try:
            while (piece := self._step(lambda: _next(pieces), 0, timed=False)) is not None:
                *whole, rest = piece.split(b"\n")  # not by splitlines: replies may hold U+2028 and such
                if whole:
                    yield b"".join([*begun, whole[0]])
                    yield from whole[1:]
                    begun = []
                if sum(map(len, begun)) <= MOST_BYTES:  # what is beyond makes a line without end unreadable, as it is
                    begun.append(rest)
        finally:
            self.chat.start(_end(pieces)).result()
        if last := b"".join(begun):
            yield last

    async def _content(self, file: str) -> AsyncGenerator[bytes]:
        """The bytes of a file; none when the provider has it no more."""
        try:
            async with self._files.with_streaming_response.content(file) as response:
                client = import_module(type(response.http_response).__module__.partition(".")[0])
                try:
                    async for piece in response.iter_bytes():
                        yield piece
                except client.HTTPError as error:  # the SDK (on httpx, or httpx2) lets it through as it is
                    raise openai.APIConnectionError(request=response.http_request) from error
        except openai.NotFoundError:
            return

    def rest(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            Stopped: at once, when that is wanted.
        """
        ends = time.monotonic() + seconds
        while True:
            if self.stop():
                raise StopRequested
            if (left := ends - time.monotonic()) <= 0:
                return
            time.sleep(min(TICK_S, left))

    def _step(
        self,
        work: Callable[[], Coroutine[Any, Any, R]],
        retries: int,
        timed: bool = True,
        before_again: Callable[[], R | None] | None = None,
    ) -> R:
        """``work``, retried up to ``retries`` times on transient errors."""
        tries = 0
        while True:
            try:
                return self._waited(work(), self.chat.timeout_s if timed else None)
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if not is_transient(error) or code(error) in (NO_QUOTA, CROWDED):
                    raise self._refused(error) from error
                tries += 1
                if tries > retries:
                    raise Unreachable(f"{self.chat.url}: {self.chat.why(error)}") from error
                self.rest(min(retry_after_s(error), LONGEST_PAUSE_S) or backoff_s(tries))
            except (openai.APIError, ValueError, RecursionError) as error:
                raise Unreachable(f"{self.chat.url}: unreadable answer: {self.chat.safe_text(str(error))}") from error
            if before_again is not None and (found := before_again()) is not None:
                return found

    def _waited(self, work: Coroutine[Any, Any, R], timeout_s: float | None) -> R:
        """The result of ``work``; raises StopRequested if a pause or cancel is requested meanwhile."""

        async def timed() -> R:
            async with asyncio.timeout(timeout_s):  # the SDK's timeout starts anew with every byte
                return await work

        future = self.chat.start(timed())
        while not futures.wait([future], TICK_S).done:
            if self.stop():
                future.cancel()
                raise StopRequested
        return future.result()

    def _refused(self, error: BaseException) -> BackendError:
        """The error for a permanent failure."""
        status = getattr(error, "status_code", 0)
        if code(error) == CROWDED:
            return Crowded(self.chat.safe_text(str(getattr(error, "message", error))))
        if status in NONE_THERE:
            return BackendError(none_there(self.chat.url, status))
        if status in (401, 403) or code(error) == NO_QUOTA or is_redirect(error):
            return BackendError(self.chat.fatal(error))
        return BackendError(f"{self.chat.url}: {self.chat.why(error)}. The batch cannot be created; check [teacher].")

    # ---------------------------------------------------------------------------------------------- what comes back

    def _standing(self, batch: Batch) -> BatchStatus:
        """The provider's batch as a BatchStatus; missing values are 0 or None."""
        counts = batch.request_counts
        wrong = next(iter((batch.errors.data if batch.errors else None) or []), None)
        said = str(wrong.message or "") if wrong else ""
        at = wrong.line if wrong else None
        ends = (batch.completed_at, batch.expired_at, batch.cancelled_at, batch.failed_at)
        return BatchStatus(
            id=self.chat.safe_text(str(batch.id)),
            status=str(batch.status),
            total=(counts.total or 0) if counts else 0,
            completed=(counts.completed or 0) if counts else 0,
            failed=(counts.failed or 0) if counts else 0,
            created_at=batch.created_at,
            expires_at=batch.expires_at,
            ended_at=next((at for at in ends if at), None),
            output=batch.output_file_id,
            errors=batch.error_file_id,
            why=self.chat.safe_text(said) + (f" (request {at})" if at else ""),
            code=str(wrong.code or "") if wrong else "",
        )

    def read(self, line: bytes, names: Mapping[str, str], tokens_in: Callable[[str], int]) -> ResultLine:
        """One line of a result file. ``names``: by which options the batch was sent; ``tokens_in``: for those that are
        not counted, by request.

        Raises:
            ValueError: it cannot be read.
        """
        try:
            found = json.loads(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(found, dict) or not isinstance(name := found.get("custom_id"), str):
            raise ValueError("no custom_id")
        response = found.get("response") or {}
        if not isinstance(response, dict):
            raise ValueError("no response")
        body = response.get("body") or {}
        try:
            status = int(response.get("status_code") or 0)
        except (TypeError, OverflowError):
            raise ValueError("no status code") from None
        if status == 200:
            try:
                reply = self.chat.read(ChatCompletion.construct(**body), tokens_in(name))
            except (AttributeError, TypeError, ValueError) as error:
                reply = garbled(f"the reply cannot be read: {self.chat.safe_text(str(error))}")
            return ResultLine(name, "reply", reply)
        wrong = found.get("error") or (body.get("error") if isinstance(body, dict) else None) or {}
        wrong = wrong if isinstance(wrong, dict) else {"message": str(wrong)}
        kind, said = (
            str(wrong.get("code") or wrong.get("type") or ""),
            self.chat.safe_text(str(wrong.get("message") or "")),
        )
        if kind in UNMADE:
            return ResultLine(name, "unmade")
        if self.chat.adapt(status, wrong.get("param"), names):
            return ResultLine(name, "adapted")
        if status in (401, 403, 404) or kind == NO_QUOTA:
            return ResultLine(name, "hopeless", said=self.chat.hopeless(said, status, kind))
        answered = f"the endpoint answered {status}" if status else "no reply"
        reason = f"{answered}: {said or kind or 'no reason given'}"
        return ResultLine(name, "failed", failed(reason, final=bool(status) and not is_transient_status(status)))


class Crowded(BackendError):
    """The provider's limit of queued tokens is reached."""


async def _next(pieces: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _end(pieces: AsyncGenerator[bytes]) -> None:
    with suppress(RuntimeError):  # a step of it that was given up just now may not have ended yet: it will
        await pieces.aclose()
