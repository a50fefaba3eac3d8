"""Ratings by the round's model on vLLM servers, which load its LoRA adapter for the duration.

Prompts are sent as token ids, and the servers return the probabilities of the digits' token ids: the same requests and
the same reading as with vLLM in this process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.backends import Call, Generation, Lost, Rating
from engine.backends.chat import Chat
from engine.backends.completions import BY_ID, Completions, TokenCall
from engine.backends.model_loading import reply_ends
from engine.backends.rating import expected, reading
from engine.backends.remote_judge import RemoteJudge
from engine.backends.served_adapter import ServedAdapter, load, unload
from engine.chat.render import Rendered, load_tokenizer, render_prompt
from engine.config import schema as configs
from engine.errors import BackendError, EndpointError
from engine.plurals import counted

R = TypeVar("R")
UNKNOWN = 1 << 20
"""Context length assumed, in tokens, where a server does not report one."""
TELLS_NONE = "the server tells no log-probabilities by token ids (it must be vLLM)"


class ServerJudge(RemoteJudge):
    """The round's model at the servers that [judge] names, with the limits and retries of [teacher]. Close it after
    use.

    Raises:
        BackendError: no server could load the adapter; gives the first one's reason.
    """

    def __init__(self, base: Path, adapter: ServedAdapter, config: configs.Config) -> None:
        how, limits = config.judge, config.teacher
        self._base, self._adapter = base, adapter
        self.tokenizer: Any = load_tokenizer(base, chat_template=config.model.chat_template)
        self._reading: tuple[list[list[int]], str] | None = None
        self._stops = tuple(reply_ends(base, self.tokenizer))
        super().__init__(how, limits, adapter.name, Completions)
        self._there: list[tuple[Any, Any]] = []
        self._known: tuple[Sequence[tuple[Rendered, float]], float] | None = None
        self._open = 0
        try:
            seen = self._at_each(self._load)
        except BaseException:
            self.close()
            raise
        self.positions = min(tokens or UNKNOWN for tokens in seen) - 1
        """Maximum prompt tokens, which leaves one for the reply."""

    def _at_each(self, work: Callable[[Chat], Coroutine[Any, Any, R]]) -> list[R]:
        """The results of ``work`` at each server. A server where it fails is dropped as long as another is left.

        Raises:
            BackendError: it fails at all of them; the first one's error.
        """
        servers = self.endpoint.servers
        asked = [(one, one.chat.start(work(one.chat))) for one in self.endpoint.all if not one.left_out]
        out: list[R] = []
        first: BackendError | None = None
        for server, found in asked:
            try:
                out.append(found.result())
            except BackendError as error:
                first = first or error
                if not servers.leave_out(server):
                    raise first from None
                self.notes.append(f"{error} It is left out; the other servers go on")
        return out

    async def _load(self, chat: Chat) -> int | None:
        """Load the adapter on a server until this is closed. Returns its context length in tokens; None: unknown."""
        lock, restored = asyncio.Lock(), 0

        async def restore(chat: Chat) -> None:
            """Load the adapter again after the server restarted, and compare again: its base model may be another."""
            nonlocal restored
            before = restored
            async with lock:
                if restored > before:  # by another call, while this one waited
                    return
                try:
                    await load(chat, self._adapter)
                    if self._known is not None:
                        await self._compared(*self._known, chat)
                except BackendError as error:
                    self.notes.append(str(error))
                    raise
                restored += 1

        async def forget() -> None:
            if said := await unload(chat, self._adapter.name):
                self.notes.append(said)

        seen = await load(chat, self._adapter)
        chat.before_close(forget)
        cast("Completions", chat).restore = restore
        return seen

    def compare(self, known: Sequence[tuple[Rendered, float]], most: float) -> float:
        """The mean absolute difference between a server's losses and the ``known`` ones, in nats per token; the largest
        over all servers. A server that exceeds ``most`` is dropped as long as another is left.

        Raises:
            BackendError: all of them exceed it.
        """
        self._known = known, most
        return max(self._at_each(partial(self._compared, known, most)))

    async def _compared(self, known: Sequence[tuple[Rendered, float]], most: float, chat: Chat) -> float:
        calls = (TokenCall(0, (), 1, 0.0, 1.0, 0, prompts=(tuple(row.ids),), echoes=True) for row, _ in known)
        replies = [await self.endpoint.once(call, chat) for call in calls]
        found = [_loss(reply, row) for reply, (row, _) in zip(replies, known, strict=True)]
        theirs = [loss for loss in found if loss is not None]
        if len(theirs) < len(known):
            raise EndpointError(f"{chat.url}: {TELLS_NONE}.", 200)
        apart = math.fsum(abs(loss - ours) for loss, (_, ours) in zip(theirs, known, strict=True)) / len(known)
        if not apart <= most:
            raise EndpointError(
                f"{chat.url}: its model is not this round's: on {counted(len(known), 'sample')} its losses differ from"
                f" ours by {apart:.3f} on average. Serve the model that [model] names, in the number format that it is"
                " trained in.",
                200,
            )
        return apart

    @property
    def in_flight(self) -> int:
        """Requests submitted and not taken yet; each prompt counts."""
        return self._open

    @property
    def beginning(self) -> str:
        """See ``Judges``."""
        return self._read_digits()[1]

    def _read_digits(self) -> tuple[list[list[int]], str]:
        if self._reading is None:
            self._reading = reading(self.tokenizer, self._base)
        return self._reading

    def ask_together(self, tags: Sequence[Any], prompts: Sequence[Sequence[int]]) -> None:
        """Submit ratings of the tokens after ``prompts`` in one call, so that one server computes their common prefix
        only once. A call takes about 2 ms of this process's time, whatever the number of prompts.
        """
        told = tuple(id for ids in self._read_digits()[0] for id in ids)
        self._open += len(tags)
        asked = tuple(map(tuple, prompts))
        self.endpoint.submit(TokenCall(tuple(tags), (), 1, 0.0, 1.0, 0, prompts=asked, told=told))

    def submit(self, call: Call, top_k: int = 0, constrain: bool = False) -> None:
        """Submit ``call``; ``constrain`` is ignored."""
        self._open += 1
        ids = render_prompt(self.tokenizer, call.chat, self.positions, begun=call.begun)
        if not ids:
            reason = f"the prompt does not fit into the model's {self.positions} tokens, or its template refuses it"
            self._there.append((call, Generation("", "stop", 0, 0, reason, final=True)))
            return
        self.endpoint.submit(
            TokenCall(
                call.tag,
                call.chat,
                min(call.max_new_tokens, self.positions + 1 - len(ids)),  # more than fit are refused
                call.temperature,
                call.top_p,
                call.seed,
                begun=call.begun,
                ends=call.ends,
                prompts=(tuple(ids),),
                top_k=top_k,
                stops=self._stops,
            )
        )

    def take(self) -> list[tuple[Any, Any]]:
        """Wait until a request ends or one of its tries is lost; returns (tag, Rating) and (call, Generation) pairs,
        possibly none.

        Raises:
            BackendError: no call can succeed, or the servers stopped answering.
        """
        out, self._there = self._there, []
        for call, reply in () if out else self.endpoint.take():
            if isinstance(reply, Lost):
                if reply.asks:
                    self.endpoint.again(call)
                continue
            asked = cast("TokenCall", call)
            if asked.told:
                tags = cast("tuple[Any, ...]", asked.tag)
                out += zip(tags, self._ratings(reply, len(tags)), strict=True)
            else:
                out.append((call, reply))
        self._open -= len(out)
        return out

    def rate(self, prompts: Sequence[Sequence[int]], token_budget: int = 1 << 15) -> list[Rating]:
        """See ``Judges``."""
        self.ask_together(range(len(prompts)), prompts)
        found: dict[int, Rating] = {}
        while self.in_flight:
            found.update(self.take())
        return [found[i] for i in range(len(prompts))]

    def _ratings(self, reply: Generation, count: int) -> list[Rating]:
        error = reply.error or ("" if len(reply.places) == count else TELLS_NONE)
        if error:
            return [Rating(None, 0.0, error)] * count
        return [self._rating(dict(place)) for place in reply.places]

    def _rating(self, chances: Mapping[str, float]) -> Rating:
        if not any(token.startswith(BY_ID) for token in chances):
            return Rating(None, 0.0, TELLS_NONE)
        digits = [math.fsum(chances.get(f"{BY_ID}{id}", 0.0) for id in ids) for ids in self._read_digits()[0]]
        return expected(digits)


def _loss(reply: Generation, row: Rendered) -> float | None:
    """The mean loss of a row's last answer in nats per token, from a reply's probabilities; None: they are missing."""
    if len(reply.places) != len(row.ids) - 1:
        return None
    last = [on and i >= row.prompt_end for i, on in enumerate(row.mask)]
    learned = last if any(last) else row.mask
    wanted = [i for i, on in enumerate(learned) if on and i]
    chances = [dict(reply.places[i - 1]).get(str(row.ids[i])) for i in wanted]
    if not chances or any(one is None for one in chances):
        return None
    return -math.fsum(math.log(max(one or 0.0, 1e-300)) for one in chances) / len(chances)
