"""Replies of a local model, many at a time: one that has ended makes room for the next.

The order of the work follows from the requests alone: longest prompts first, so many at a time, and the next ones when
an eighth of the places are free. So the same requests are computed in the same composition and end in the same bytes
whenever they are begun again, or gone on with from what a pause kept. What a row draws follows from its own seed.

Families that keep something else than the keys and values of all tokens (recurrent layers) are found by trying it once;
theirs are written by transformers' own loop, a batch at a time, of prompts that the family can take together.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.backends import lm_head
from engine.backends.kv_slots import Slots, Unfit
from engine.backends.left_padding import Together, left
from engine.backends.model_loading import failed
from engine.backends.sampling import Sampling, draw, numbers
from engine.backends.stop_strings import Text, just_closed, unread
from engine.errors import Cancelled, Paused

READ_CPU, READ_GPU = 1024, 1 << 14
"""Tokens of prompts that are read in one forward: on a CPU few, so that a pause does not wait for it."""
LEAST_ERROR = 1e-3
"""By which share logits may differ from those of a whole forward, or by 8 roundings of the number format, if more."""
GATHERED = 8
"""The next prompts are read when one in so many places is free."""
Watch = Callable[["Writing"], None]
REFUSALS = (Unfit, TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request: its prompt, the most tokens of its reply, and what it draws from.

    ``begun``: the text of the reply that is part of the prompt. ``ends``: texts that end it.
    """

    ids: list[int]
    limit: int
    seed: int
    begun: str = ""
    ends: tuple[str, ...] = ()


@dataclass(slots=True)
class Writing:
    """Replies on their way. ``written``: the tokens of each, by the request's number. ``ended``: those that are whole.

    ``queue``: requests that nobody has read yet, the next one last. ``open``: who is in which slot; -1: nobody.
    ``filling``: slots are free, and the next requests are put into them until there is none. ``seconds``: from reading
    each request until its reply was whole. ``errors``: why a request has no reply.
    ``read``: prompts that this process has read, in ``read_s`` seconds; ``step_s``: how long the last step took.
    """

    asked: Sequence[GenerationRequest]
    queue: list[int]
    written: list[list[int]]
    ended: list[bool]
    open: list[int] = field(default_factory=list)
    filling: bool = True
    slots: Slots | None = None
    seconds: list[float] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    read: int = 0
    read_s: float = 0.0
    step_s: float = 0.0

    @classmethod
    def begin(cls, asked: Sequence[GenerationRequest]) -> Writing:
        """The initial state."""
        order = sorted(range(len(asked)), key=lambda n: (-len(asked[n].ids), n))
        return cls(asked, order[::-1], [[] for _ in asked], [False] * len(asked), seconds=[0.0] * len(asked))

    @property
    def tokens(self) -> int:
        """Tokens written so far."""
        return sum(map(len, self.written))

    @property
    def done(self) -> int:
        """Number of finished replies."""
        return sum(self.ended)

    @property
    def alive(self) -> list[int]:
        """The slots in use."""
        return [slot for slot, number in enumerate(self.open) if number >= 0]

    def take(self, number: int, token: int, stops: Sequence[int], text: Text) -> bool:
        """The next token of a request; whether its reply has ended. ``text``: what tokens spell."""
        own, asked = self.written[number], self.asked[number]
        own.append(token)
        self.ended[number] = token in stops or len(own) >= asked.limit or just_closed(own, asked.ends, text)
        return self.ended[number]

    def fail(self, reason: str) -> int:
        """Fail the replies in progress with ``reason``. Returns how many there were."""
        failed = [number for number in self.open if number >= 0 and not self.ended[number]]
        for number in failed:
            self.ended[number], self.errors[number] = True, reason
        return len(failed)

    def start_again(self) -> None:
        """Restart unfinished replies from the beginning."""
        left = [n for n, ended in enumerate(self.ended) if not ended]
        for number in left:
            self.written[number] = []
        self.queue = sorted(left, key=lambda n: (-len(self.asked[n].ids), n))[::-1]
        self.open, self.slots, self.filling = [], None, True


class Writer:
    """Has ``model`` write replies, at most ``rows`` at a time. ``stops``: tokens that end one. ``text``: what some
    tokens spell.
    """

    def __init__(
        self, model: Any, device: torch.device, stops: Sequence[int], pad: int, rows: int, text: Text = unread
    ) -> None:
        self.model, self.device, self.stops, self.pad, self.rows, self.text = model, device, stops, pad, rows, text
        accepted = inspect.signature(_plain(model).forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._places = "position_ids" in accepted
        self._chances: dict[int, list[float]] = {}
        self._since = 0.0

    def write(self, work: Writing, how: Sampling, watch: Watch) -> None:
        """Generate until all replies have ended. ``watch`` is called first and after every forward, and may raise."""
        self._since = time.monotonic()
        watch(work)  # the model is there: reading the first prompts may take longer than loading it did
        while work.queue or work.alive:
            if work.queue and self._wants_more(work):
                self._read(work, how)
                work.read_s += self._count(work)
                watch(work)
            if (
                work.slots is not None and work.alive
            ):  # also between two prefills, so that a pause need not wait for all
                self._shrink(work, work.slots)
                self._step(work, work.slots, how)
                work.step_s = self._count(work)
                watch(work)

    def _count(self, work: Writing) -> float:
        """Add the seconds of a forward to all replies that were in it."""
        now = time.monotonic()
        for number in work.open:
            if number >= 0:
                work.seconds[number] += now - self._since
        took, self._since = now - self._since, now
        return took

    def _wants_more(self, work: Writing) -> bool:
        """Whether to prefill the next prompts now; not for every free slot, which would be slower."""
        rows = min(self.rows, len(work.asked))
        free = rows - len(work.alive)
        work.filling = free > 0 and (work.filling or free >= max(1, rows // GATHERED))
        return work.filling

    def _read(self, work: Writing, how: Sampling) -> None:
        """Prefill as many prompts as fit, and write their first tokens."""
        if work.slots is None:
            rows = min(self.rows, len(work.asked))
            work.slots, work.open = Slots(rows, self.device), [-1] * rows
        free = [slot for slot, number in enumerate(work.open) if number < 0]
        which = self._next(work, len(free))
        work.read += len(which)
        slots = free[: len(which)]
        for slot, number in zip(slots, which, strict=True):
            work.open[slot] = number
        prompts = [work.asked[n].ids for n in which]
        width = max(map(len, prompts))
        lengths = list(map(len, prompts))
        cache = work.slots.prompt(len(which))
        logits = self._forward(
            torch.tensor([[self.pad] * (width - len(p)) + p for p in prompts], device=self.device),
            torch.tensor([[0] * (width - n) + [1] * n for n in lengths], device=self.device),
            torch.tensor([[0] * (width - n) + [*range(n)] for n in lengths], device=self.device),
            cache,
        )
        work.slots.lay(slots, cache, lengths)
        self._take(work, work.slots, slots, logits, how)

    def _next(self, work: Writing, most: int) -> list[int]:
        """Take up to ``most`` requests from the queue, within the prefill's token limit."""
        budget = READ_CPU if self.device.type == "cpu" else READ_GPU
        which: list[int] = []
        while work.queue and len(which) < most:
            width = len(work.asked[which[0] if which else work.queue[-1]].ids)
            if which and (len(which) + 1) * width > budget:
                break
            which.append(work.queue.pop())
        return which

    def _shrink(self, work: Writing, slots: Slots) -> None:
        """Drop free slots if the queue is empty and half of the slots are free."""
        alive = work.alive
        if not work.queue and 2 * len(alive) <= len(work.open):
            slots.keep(alive)
            work.open = [work.open[slot] for slot in alive]

    def _step(self, work: Writing, slots: Slots, how: Sampling) -> None:
        """Generate one more token for every reply in progress."""
        slots.room()
        ids = [work.written[n][-1] if n >= 0 else self.pad for n in work.open]
        places = [self._length(work, n) - 1 if n >= 0 else 0 for n in work.open]
        logits = self._forward(
            torch.tensor(ids, device=self.device)[:, None],
            slots.visible(),
            torch.tensor(places, device=self.device)[:, None],
            slots.cache,
        )
        slots.stepped()
        alive = work.alive
        self._take(work, slots, alive, logits if len(alive) == len(work.open) else logits[alive], how)

    def _length(self, work: Writing, number: int) -> int:
        return len(work.asked[number].ids) + len(work.written[number])

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits of the token behind each row, [rows, vocabulary]."""
        own = {"position_ids": places} if self._places else {}
        out = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **own, **self._last_only
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def _take(self, work: Writing, slots: Slots, of: Sequence[int], logits: torch.Tensor, how: Sampling) -> None:
        """The next token of who writes in the slots ``of``, in the order of ``logits``."""
        which = [work.open[slot] for slot in of]
        for slot, number, token in zip(of, which, self._drawn(work, which, logits, how), strict=True):
            if work.take(number, token, self.stops, self.text):
                work.open[slot] = -1
                slots.free(slot, [self._length(work, n) for n in work.open if n >= 0])

    def _drawn(self, work: Writing, which: Sequence[int], logits: torch.Tensor, how: Sampling) -> list[int]:
        if how.greedy:
            return draw(logits, how, ())
        return draw(logits, how, [self._chance(work, number) for number in which])

    def _chance(self, work: Writing, number: int) -> float:
        """The random number of a request's next token."""
        if number not in self._chances:
            asked = work.asked[number]
            self._chances[number] = numbers(asked.seed, asked.limit).tolist()
        return self._chances[number][len(work.written[number])]

    # ----------------------------------------------------------------------------------- families that cannot refill

    def write_whole(self, work: Writing, how: Sampling, watch: Watch, together: Together = "any") -> None:
        """The same for a family that does not fit into slots: batches of similar prompts, each to its slowest.

        Args:
            together: which prompts the family takes in one batch.
        """
        self._since = time.monotonic()
        while work.queue:
            work.open = which = [work.queue.pop()]
            while work.queue and len(which) < self.rows and self._alike(work, which[0], work.queue[-1], together):
                which.append(work.queue.pop())
            try:
                self._batch(work, which, how, watch)
            except (Paused, Cancelled):
                work.start_again()
                raise
            work.open = []

    @staticmethod
    def _alike(work: Writing, one: int, other: int, together: Together) -> bool:
        lengths = {len(work.asked[number].ids) for number in (one, other)}
        return together == "any" or (together == "alike" and len(lengths) == 1)

    def _batch(self, work: Writing, which: Sequence[int], how: Sampling, watch: Watch) -> None:
        from transformers import GenerationConfig, LogitsProcessorList

        ids, mask = left([work.asked[n].ids for n in which], self.pad, self.device)
        settings = GenerationConfig(
            max_new_tokens=max(work.asked[n].limit for n in which),
            eos_token_id=[*self.stops] or None,
            pad_token_id=self.pad,
            do_sample=False,
        )

        def choose(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """Sample each row's token, and make the greedy loop choose it."""
            work.step_s = self._count(work)
            watch(work)
            alive = [row for row, n in enumerate(which) if not work.ended[n]]
            drawn = self._drawn(work, [which[row] for row in alive], scores[alive], how)
            for row, token in zip(alive, drawn, strict=True):
                work.take(which[row], token, self.stops, self.text)
            # What has reached its own limit ends for transformers too, so that nobody waits for it.
            over = [bool(self.stops) and work.ended[n] for n in which]
            tokens = [self.stops[0] if end else work.written[n][-1] for end, n in zip(over, which, strict=True)]
            chosen = torch.full_like(scores, float("-inf"))
            chosen[torch.arange(len(which)), torch.tensor(tokens)] = 0.0
            return chosen

        self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([choose]),
        )


def _plain(model: Any) -> Any:
    """The model without peft's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def can_refill(model: Any, device: torch.device) -> bool:
    """Whether this model gives the same logits in slots as in full forwards; tested on a few tokens."""
    size = lm_head.words(model)
    asked = [
        GenerationRequest([(11 * i * i + 5 * i + n) % size for i in range(1, n + 1)], most, 0)
        for n, most in ((9, 4), (5, 8), (7, 6))
    ]
    writer, work = _Noting(model, device), Writing.begin(asked)
    try:
        writer.write(work, Sampling(), lambda _: None)
    except REFUSALS as error:
        if failed(error, device):
            raise
        return False  # some families reject such a mask or cache
    most = max(LEAST_ERROR, 8 * torch.finfo(model.dtype).eps)
    for number, one in enumerate(asked):
        ids = torch.tensor([one.ids + work.written[number][:-1]], device=device)
        whole = model(input_ids=ids, use_cache=False).logits[0, len(one.ids) - 1 :].float()
        if (torch.stack(writer.seen[number]) - whole).norm() > most * whole.norm():
            return False
    return True


class _Noting(Writer):
    """Two slots, and what every token was chosen from."""

    def __init__(self, model: Any, device: torch.device) -> None:
        super().__init__(model, device, (), 0, 2)
        self.seen: dict[int, list[torch.Tensor]] = {}

    def _drawn(self, work: Writing, which: Sequence[int], logits: torch.Tensor, how: Sampling) -> list[int]:
        for number, one in zip(which, logits.float(), strict=True):
            self.seen.setdefault(number, []).append(one)
        return super()._drawn(work, which, logits, how)
