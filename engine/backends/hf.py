"""Transformers in this process: scores, ratings and replies of a local model.

The last model stays loaded between stages of one child; adapters are added to it on demand, so the base and
the tuned model share one copy of the weights. Asking for another model frees the last one first.

Everything is deterministic on a CPU. A batch that does not fit into memory is tried again in halves; a single
row that does not fit is a result with an error, so no row is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn import functional

from engine.backends import Call, Generation, Rating, ReplyProgress, Scored, generation, lm_head, trained_rows
from engine.backends.adapters import added, sums
from engine.backends.continuous_batching import GenerationRequest
from engine.backends.loaded_model import Key, LoadedModel
from engine.backends.model_check import belong_together
from engine.backends.model_loading import (
    give_back,
    positions,
    read_model,
    set_threads,
    stops,
    torch_device,
    torch_dtype,
)
from engine.backends.rating import reading
from engine.backends.sampling import Sampling
from engine.backends.shared_prefixes import can_share, last_hidden, pad
from engine.chat import batches
from engine.chat.render import Rendered, load_tokenizer, render_prompt
from engine.config.named_templates import content_key
from engine.errors import ModelError
from engine.models.locate import ModelRef, fingerprint
from engine.processes.exit_reason import NO_MEMORY, ran_out_of_memory
from engine.store.rows import Message

# Logits held at a time by the scorer. torch 2.13's linear_cross_entropy was measured against these chunks
# (2,000 positions, 32,000 words, CPU): 0.48 s with all logits in memory, 0.73 s chunked by its options, 0.23
# s here.
LOGITS_AT_A_TIME = 1 << 26
CPU_TOKENS = 2048
"""Tokens of a forward on a CPU. Measured on three sizes of model (hidden 128, 256, 896; one core, 1 MiB of second-level
cache), microseconds a token at 16,000 / 2,000 / 1,000 tokens: 88 / 78 / 84, 200 / 143 / 148, 1,008 / 918 / 838.
"""
T = TypeVar("T")
R = TypeVar("R")


_last: LoadedModel | None = None


def load(
    path: str | Path,
    adapter: Path | None = None,
    *,
    nf4: bool = False,
    dtype: str = "auto",
    device: str = "auto",
    threads: int = 0,
    attention: str = "auto",
    chat_template: str = "",
) -> HF:
    """The model in folder ``path``, in 4 bits if ``nf4``, with the LoRA ``adapter`` on top when one is given.

    Raises:
        ModelError: the model, tokenizer or adapter cannot be read, or does not fit into memory.
    """
    global _last
    where = torch_device(device)
    # By content, not by name: a round that is trained again leaves another model in the same folder.
    key = (
        fingerprint(ModelRef(Path(path), nf4=nf4)),
        dtype,
        str(where),
        attention,
        chat_template,
        content_key(chat_template),
    )
    if _last is None or _last.key != key:
        release()
        _last = _read(ModelRef(Path(path), nf4=nf4), key, torch_dtype(dtype, where), where, threads)
    return HF(_last, None if adapter is None else _add_adapter(_last, adapter))


def release() -> None:
    """Free the loaded model; what ``load`` returned for it must not be used any more."""
    global _last
    if _last is not None:
        _last.model = _last.peft = None
        _last.sums.clear()
        _last = None
        give_back()


def _read(of: ModelRef, key: Key, dtype: torch.dtype, device: torch.device, threads: int) -> LoadedModel:
    from transformers import GenerationConfig

    tokenizer = load_tokenizer(of.base, chat_template=key[4])
    model = read_model(of.base, dtype, device, attention=key[3], nf4=of.nf4).eval().requires_grad_(False)
    set_threads(model, device, threads)
    belong_together(tokenizer, model, of.base)
    ends = stops(tokenizer, model)
    # The model's own generation settings (a temperature, a repetition penalty) would mix with what is asked
    # for.
    model.generation_config = GenerationConfig()
    words, width = model.get_output_embeddings().weight.shape
    return LoadedModel(key, of.base, tokenizer, model, device, ends, (words, width))


def _add_adapter(loaded: LoadedModel, folder: Path) -> str:
    """Put the adapter on the model unless it is there; returns its name in peft."""
    mark = fingerprint(ModelRef(folder))
    if mark in loaded.adapters:
        return loaded.adapters[mark]
    from peft import PeftModel

    name = f"adapter{len(loaded.adapters)}"
    try:
        if loaded.peft is None:
            loaded.peft = PeftModel.from_pretrained(loaded.model, str(folder), adapter_name=name)
        else:
            loaded.peft.load_adapter(str(folder), adapter_name=name)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder}: not an adapter of {loaded.path} ({error}). Rerun the train stage.") from error
    trained_rows.without_copies(loaded.peft, training=False)
    loaded.peft.eval()
    loaded.adapters[mark] = name
    return name


def _losses(own: torch.Tensor, last: int, embedding: Any, tokens: bool) -> Scored:
    """Means of a row's losses, float32[response tokens]: over the ``last`` ones, and over all where these are more.

    ``tokens``: keep the last ones as they are, too.
    """
    if not len(own):
        return Scored(None, embedding)
    answer = own[-last:]
    whole = float(own.mean()) if last < len(own) else None
    return Scored(float(answer.mean()), embedding, None, whole, answer.numpy().copy() if tokens else None)


@dataclass(frozen=True)
class HF:
    """A loaded model under one adapter (or none): implements Scores, Judges and Generates."""

    loaded: LoadedModel
    adapter: str | None = None

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.loaded.tokenizer

    @property
    def takes_padding(self) -> bool:
        """Whether left-padded prompts of different lengths get the same replies as alone."""
        return generation.together(self.loaded) == "any"

    @property
    def positions(self) -> int:
        """The model's context length in tokens."""
        return positions(self.loaded.model.config)

    @property
    def hidden_size(self) -> int:
        """Width of an embedding."""
        return self.loaded.head[1]  # OPT-350m's is not its hidden_size

    @property
    def beginning(self) -> str:
        """See ``Judges``."""
        self._reading()
        return self.loaded.beginning

    @property
    def shares(self) -> bool:
        """Whether what several prompts begin with is computed once by ``rate``; not every family can."""
        if self.loaded.shares is None:
            with torch.inference_mode():
                self.loaded.shares = can_share(self.loaded.model, self.loaded.device)
        return self.loaded.shares

    def score(self, rows: Sequence[Rendered], embed: bool = True, tokens: bool = False) -> list[Scored]:
        """See ``Scores``. One forward of the inner model; logits only where a response token is predicted."""
        usable = [row for row in rows if row.error is None]
        with self._active():
            score = partial(self._score, embed=embed, tokens=tokens)
            done = iter(_halving(usable, score, lambda e: Scored(None, None, e)))
        return [next(done) if row.error is None else Scored(None, None, row.error) for row in rows]

    def rate(self, prompts: Sequence[Sequence[int]], token_budget: int = 1 << 15) -> list[Rating]:
        """See ``Judges``. The expectation is over the ten digits, renormalised.

        What the prompts share is computed once, in forwards of ``token_budget`` tokens at most.
        """
        with self._active():
            return _halving(prompts, lambda part: self._rate(part, token_budget), lambda e: Rating(None, 0.0, e))

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
        """See ``Generates``. A reply's seed is of its place among the chats."""
        calls = [
            Call(place, tuple(chat), max_new_tokens, temperature, top_p, batches.seed(seed, place), thinks, begun)
            for place, (chat, thinks) in enumerate(zip(chats, thinking or [False] * len(chats), strict=True))
        ]
        return self._replies(calls, Sampling(temperature, top_p, top_k), len(chats), _unwatched, None)

    def write(
        self, calls: Sequence[Call], *, rows: int, watch: Callable[[ReplyProgress], None], keep: Path
    ) -> list[Generation]:
        """See ``Writes``. All calls draw in the same way."""
        how = {Sampling(call.temperature, call.top_p) for call in calls}
        (one,) = how
        return self._replies(calls, one, rows, watch, keep)

    def _replies(
        self, calls: Sequence[Call], how: Sampling, rows: int, watch: Callable[[ReplyProgress], None], keep: Path | None
    ) -> list[Generation]:
        most = self.positions - 1
        prompts = [render_prompt(self.tokenizer, c.chat, most, thinking=c.thinking, begun=c.begun) for c in calls]
        limits = [min(call.max_new_tokens, self.positions - len(ids)) for call, ids in zip(calls, prompts, strict=True)]
        each = zip(prompts, limits, calls, strict=True)
        asked = [GenerationRequest(ids, limit, c.seed, c.begun, c.ends) for ids, limit, c in each if ids]
        with self._active():
            found = iter(generation.written(self.loaded, asked, how, rows, watch, keep))
        too_long = f"the prompt exceeds the model's context of {self.positions} tokens, or the chat template rejects it"
        return [next(found) if ids else Generation("", "stop", 0, 0, too_long) for ids in prompts]

    @property
    def notes(self) -> list[str]:
        """See ``Writes``."""
        return self.loaded.notes

    @contextmanager
    def _active(self) -> Iterator[None]:
        """A context with this adapter enabled, or all adapters disabled."""
        peft = self.loaded.peft
        if self.loaded.model is None:
            raise ModelError(f"{self.loaded.path}: this model was unloaded. Load it again.")
        with torch.inference_mode():
            if self.adapter is not None:
                if self.adapter not in self.loaded.sums:  # one at a time: they are as large as the model
                    self.loaded.sums = {self.adapter: sums(peft, self.adapter)}
                if (changed := self.loaded.sums[self.adapter]) is not None:
                    with added(peft, changed):
                        yield
                    return
                peft.set_adapter(self.adapter)
                yield
            elif peft is None:
                yield
            else:
                with peft.disable_adapter():
                    yield

    def _hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """Last hidden states. Rows are padded at the right: causal attention never lets a token see the padding."""
        model = self.loaded.model
        inner = getattr(model, model.base_model_prefix)
        hidden: torch.Tensor = inner(input_ids=ids, use_cache=False).last_hidden_state
        return hidden

    def _score(self, rows: Sequence[Rendered], embed: bool, tokens: bool) -> list[Scored]:
        """``_score_at_once`` in forwards of the size that suits the device."""
        lengths = [len(row.ids) for row in rows]
        plan = batches.plan(lengths, self._at_a_time(len(rows) * max(lengths)))
        found: dict[int, Scored] = {}
        for part in plan:
            found.update(zip(part, self._score_at_once([rows[i] for i in part], embed, tokens), strict=True))
        return [found[i] for i in range(len(rows))]

    def _score_at_once(self, rows: Sequence[Rendered], embed: bool, tokens: bool) -> list[Scored]:
        ids = pad([row.ids for row in rows], self.loaded.device)
        hidden = self._hidden(ids)
        at = [[i for i in range(1, len(row.ids)) if row.mask[i]] for row in rows]
        which = torch.tensor([r for r, places in enumerate(at) for _ in places], dtype=torch.long, device=ids.device)
        place = torch.tensor([i for places in at for i in places], dtype=torch.long, device=ids.device)
        losses = self._cross_entropy(hidden[which, place - 1], ids[which, place]).cpu()
        out = []
        for i, (row, own) in enumerate(zip(rows, torch.split(losses, [len(p) for p in at]), strict=True)):
            mean = _prompt_mean(hidden[i], row).cpu() if embed else None
            finite = bool(own.isfinite().all()) and (mean is None or bool(mean.isfinite().all()))
            if finite:
                out.append(_losses(own, row.reply_tokens, None if mean is None else mean.numpy(), tokens))
            else:
                out.append(Scored(None, None, "the model's loss or hidden state is not finite"))
        return out

    def _cross_entropy(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss per position, float32[n], without ever holding the logits of all positions."""
        rows = self._logit_rows()
        parts = [
            functional.cross_entropy(self._logits(h), t, reduction="none")
            for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        ]
        return torch.cat(parts)

    def _logit_rows(self) -> int:
        """Of how many positions the logits are held at a time."""
        return max(1, LOGITS_AT_A_TIME // self.loaded.head[0])

    def _at_a_time(self, token_budget: int) -> int:
        """Most tokens in one forward: on a CPU no more than its cache serves well."""
        return min(token_budget, CPU_TOKENS) if self.loaded.device.type == "cpu" else token_budget

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits in float32 as the model itself would give them, its family's scaling and capping included."""
        loaded = self.loaded
        if loaded.to_logits is None:
            loaded.to_logits = lm_head.read(loaded.model, loaded.path)
        return loaded.to_logits.logits(loaded.model, hidden)

    def _rate(self, prompts: Sequence[Sequence[int]], token_budget: int) -> list[Rating]:
        loaded = self.loaded
        digits = self._reading()
        budget = self._at_a_time(token_budget)
        hidden = last_hidden(loaded.model, [list(ids) for ids in prompts], loaded.device, self.shares, budget)
        parts = [self._digits(part, digits) for part in torch.split(hidden, self._logit_rows())]
        chances = torch.cat(parts).double().cpu()
        mass = chances.sum(-1)
        values = (chances * torch.arange(10.0, dtype=torch.float64)).sum(-1) / mass.clamp(min=1e-30)
        return [Rating(v, m) for v, m in zip(values.tolist(), mass.tolist(), strict=True)]

    def _reading(self) -> list[torch.Tensor]:
        """The digits' token ids, cached."""
        loaded = self.loaded
        if loaded.digits is None:
            found, loaded.beginning = reading(self.tokenizer, loaded.path)
            loaded.digits = [torch.tensor(ids, device=loaded.device) for ids in found]
        return loaded.digits

    def _digits(self, hidden: torch.Tensor, digits: Sequence[torch.Tensor]) -> torch.Tensor:
        """The probability of each of the ten digits as the next token, float32[n, 10]."""
        logits = self._logits(hidden)
        whole = logits.logsumexp(-1, keepdim=True)
        return torch.stack([(logits[:, ids] - whole).exp().sum(-1) for ids in digits], dim=-1)


def _prompt_mean(hidden: torch.Tensor, row: Rendered) -> torch.Tensor:
    """The mean of a row's hidden states [tokens, width] over the prompt's own tokens, float32[width]."""
    if row.own:
        at = [i for i, on in enumerate(row.own) if on]
        return hidden[torch.tensor(at, device=hidden.device)].float().mean(0)
    # Before the first prompt token there is nothing to average: a conversation that opens with its answer.
    return hidden[: max(row.prompt_end, 1)].float().mean(0)


def _unwatched(_: ReplyProgress) -> None:
    """Ignore progress."""


def _halving(items: Sequence[T], work: Callable[[Sequence[T]], list[R]], failed: Callable[[str], R]) -> list[R]:
    """``work`` on all items at once; in halves when they do not fit into memory, down to single ones that fail."""
    if not items:
        return []
    try:
        return work(items)
    except NO_MEMORY as error:
        if not ran_out_of_memory(error):
            raise
    if len(items) == 1:
        return [failed("it does not fit into memory even alone; lower model.max_length")]
    give_back()
    middle = len(items) // 2
    return _halving(items[:middle], work, failed) + _halving(items[middle:], work, failed)
