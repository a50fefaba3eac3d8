"""What can be asked of a model, as three small protocols, and which backend offers what.

``Scores``: losses and hidden states of given text. ``Judges``: the distribution over the rating digits.
``Generates``: replies to chats. A chat endpoint cannot score a given answer, so they are not one protocol.

Backends are named here as "module:attribute" and imported when they are first asked for: importing torch or
an HTTP client costs seconds.

The roles, and who can fill them (``roles``; a run whose roles cannot be filled is refused before it begins): ``hf``
scores, judges and writes; ``vllm`` judges and writes; ``openai`` (any endpoint) only writes; ``server`` judges.

- ``hf`` works in batches that are planned over whole rounds and saved whole: the same bytes after any resume. A local
  teacher writes replies in slots (``continuous_batching``, ``kv_slots``): the longest prompts first, as many at a
  time as ``batch_size``; a reply that has ended makes room for the next. Each draws with its own seed (``sampling``).
  A pause keeps unfinished replies in a file with their keys and values (``paused_replies``): computed again, these
  would differ by roundings, and now and then a reply with them. They are also kept every two minutes while they take
  less than 1 GiB, in case the process is killed. Families with recurrent layers are found by a trial; theirs are
  written a batch at a time.
- ``vllm`` (``vllm.LLM`` in the stage's child, ``AsyncLLM`` for more than one copy) takes requests one by one and gives
  results as they are done. Prompts are rendered here and handed over as token ids. The digits' probabilities come from
  the raw distribution (``logprob_token_ids``). Seeds come from the row, not from what is computed together.
- ``openai``: ``chat`` says what is asked and reads the reply, ``openai`` sends calls one by one, ``openai_batches`` as
  files of a provider's batch API. A batch is a row with its calls before it is uploaded, and carries that row's token
  at the provider, so a stage that was killed at any point sends no call twice.
- ``server``: vLLM servers that load the round's LoRA adapter (``served_adapter``) and are asked with token ids
  (``completions``); ``server_judge`` rates with them as ``vllm`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.chat.render import Rendered
from engine.errors import BackendError
from engine.store.rows import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BYTES_PER_TOKEN = 3.0
"""Of a prompt or reply that nobody has counted."""
BACKENDS: dict[str, str] = {"hf": "engine.backends.hf:load", "vllm": "engine.backends.vllm:load"}


@dataclass(frozen=True, slots=True)
class Scored:
    """Mean loss in nats per token of the last answer; mean last hidden state over the prompt (float32[hidden]).

    ``loss`` is None for a row without response tokens, ``embedding`` when it was not asked for. ``conversation``: the
    mean over the tokens of all answers, where there are others than the last. ``tokens``: the last answer's losses,
    float32[tokens], when they were asked for.
    """

    loss: float | None
    embedding: NDArray[np.float32] | None
    error: str | None = None
    conversation: float | None = None
    tokens: NDArray[np.float32] | None = None

    @property
    def whole(self) -> float | None:
        """The mean loss over all answers."""
        return self.loss if self.conversation is None else self.conversation


@dataclass(frozen=True, slots=True)
class Rating:
    """Expected digit 0-9 of the next token, and how much of the probability lies on the ten digits at all."""

    value: float | None
    digit_mass: float
    error: str | None = None


Places = tuple[tuple[tuple[str, float], ...], ...]
"""Of each token of a reply the likeliest ones in its place, with their probabilities; the chosen one first."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A reply. ``finish_reason``: the model ended its turn ("stop") or ran into the limit ("length").

    ``error``: why there is none. ``final``: asking again would not help, or was tried often enough already.
    ``seconds``: how long it took to come; of a batch, how long the batch took. ``uncounted``: it came, in a form that
    does not tell what it took. ``places``: see ``Call.likeliest``.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    error: str | None = None
    final: bool = False
    seconds: float = field(default=0.0, compare=False)
    uncounted: bool = False
    places: Places = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """A try of a call without a reply, for the reason ``error``.

    ``counts``: the provider may have written one all the same, and counted it. ``asks``: whether to try again is for
    who made the call to say (``Answers.again``, ``Answers.leave``). ``tries``: so many were lost.
    """

    error: str
    counts: bool
    asks: bool
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``tag`` is the caller's own name for it; ``thinking``, ``begun``: see ``Generates``.

    ``ends``: texts of which the first one ends the reply, and is part of it. A reply whose turn ends before gets it.
    ``likeliest``: so many of the likeliest tokens in each place are told (endpoints).
    """

    tag: Hashable
    chat: tuple[Message, ...]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    thinking: bool = False
    begun: str = ""
    ends: tuple[str, ...] = ()
    likeliest: int = 0

    @property
    def tokens_in(self) -> int:
        """The prompt's tokens, estimated from bytes."""
        return round(sum(len(m.content.encode("utf-8", "replace")) for m in self.chat) / BYTES_PER_TOKEN) + 8


@dataclass(frozen=True, slots=True)
class ReplyProgress:
    """Replies on their way: how many of them are whole, and the tokens that were written, also of whole ones alone.

    ``kept``: those tokens of it that an earlier run had written. ``text``: what the reply that is furthest on its way
    says so far. ``replies``: those that are whole. ``open``: how many are being written, a token of each in ``step_s``
    seconds; ``reading_s``: how long it takes to read one more prompt.
    """

    done: int
    total: int
    tokens: int
    whole: int
    kept: int
    open: int
    reading_s: float
    step_s: float
    text: Callable[[], str]
    replies: Callable[[], list[Generation]]


class Scores(Protocol):
    """Losses and prompt embeddings of given conversations."""

    def score(self, rows: Sequence[Rendered], embed: bool = True, tokens: bool = False) -> list[Scored]:
        """One result per row, in order. A row that fails on its own has its reason in ``error``."""


class Judges(Protocol):
    """Ratings read from the distribution of the next token."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer to render prompts with."""

    @property
    def positions(self) -> int:
        """The model's context length in tokens."""

    @property
    def beginning(self) -> str:
        """The start of a reply to a rating request after which a digit token comes next; empty if there is none."""

    def rate(self, prompts: Sequence[Sequence[int]], token_budget: int = 1 << 15) -> list[Rating]:
        """One rating per prompt (token ids, generation prompt included), in order.

        token_budget: most tokens computed at a time, where the backend does not see to that by itself.
        """


class Generates(Protocol):
    """Replies to chats."""

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        top_k: int = 0,
        thinking: Sequence[bool] = (),
        begun: str = "",
    ) -> list[Generation]:
        """One reply per chat, in order, as one batch. Greedy at temperature 0, else drawn with ``seed``.

        thinking: of each chat whether its reply is to begin with a reasoning trace; none is when it is empty.
        begun: what each reply begins with; it is part of the reply.
        """


class Writes(Protocol):
    """Replies to calls with continuous batching: a finished reply makes room for the next."""

    notes: list[str]
    """Messages about the calls so far for the log. The reader clears them."""

    def write(
        self, calls: Sequence[Call], *, rows: int, watch: Callable[[ReplyProgress], None], keep: Path
    ) -> list[Generation]:
        """One reply per call, in order, ``rows`` at a time; each is drawn with its call's own seed.

        ``watch`` is called every few moments. When it raises ``Paused``, what was written so far is kept in the file
        ``keep``, and the same calls go on from there.
        """


class Answers(Protocol):
    """Replies to chats, with many calls in flight."""

    notes: list[str]
    """Messages about the calls so far for the log. The reader clears them."""
    paid: bool
    """Whether calls cost money, so that a pause should wait for those in flight."""

    def submit(self, call: Call) -> None:
        """Queue ``call``."""

    def take(self) -> Sequence[tuple[Call, Generation | Lost]]:
        """Wait for a call to end or to lose an attempt, at most for a moment. Returns all that have since."""

    def again(self, call: Call) -> None:
        """Retry a call that asked for it."""

    def leave(self, call: Call) -> None:
        """Give up a call that asked for a retry."""

    def stopping(self) -> str:
        """A log line: what a pause does to the calls in flight."""


def backend(name: str) -> Callable[..., Any]:
    """What opens a model with backend ``name``: ``load(path, adapter, dtype=..., device=..., ...)``.

    Raises:
        BackendError: no such backend.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend named {name!r}. Known: {', '.join(BACKENDS)}.")
    module, _, attribute = BACKENDS[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
