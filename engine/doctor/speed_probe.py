"""How fast this machine computes a model: seconds a token, measured in a second or two without reading its weights.

A few of the model's layers (all of a small one) are made with numbers that mean nothing, and work as the stages have
them work: a batch of a scoring forward, a micro-batch of training, one more token of many replies. All layers of a
model cost the same, so the rest is multiplied. ``engine.doctor.cost_model`` says what the speeds are multiplied with.
Runs in the doctor's process that may load torch; the project's data is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from engine.backends.model_loading import positions, set_threads, torch_device, torch_dtype
from engine.backends.shared_prefixes import last_hidden
from engine.chat.render import load_tokenizer, render_prompt
from engine.config.schema import Config
from engine.doctor import cost_model
from engine.doctor.memory import INSTRUCTIONS, LOSS_TOKENS, LOSS_WORDS
from engine.machine.heap import keep_blocks
from engine.signals import ratings
from engine.store.rows import Message

FORWARD = {"cpu": 2_048, "cuda": 16_384}
"""Tokens of a forward, as the stages have them: ``engine.backends.hf.CPU_TOKENS``, [score] token_budget."""
MOST_FLOPS = {"cpu": 2e10, "cuda": 2e12}
"""Work of one measured forward: about a third of a second."""
ENOUGH_S, LEAST_TIMES = 0.2, 3
"""So long, and so often, one thing is repeated; the fastest time counts, which other programs disturb least."""
WORDS, STATES = 4_096, 256
"""Rows of the head, and tokens, that scoring is tried with; the others are multiplied."""
LEAST = 16
"""Tokens of a forward, however large a layer is."""
STUB = 1_024
"""Rows of the embedding that are made."""
VALUE = 0.01
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of the mean sample, of which its prompt has ``prompt``."""

    tokens: int
    prompt: int


class Shortened:
    """Some layers of a model, on the device, and by how much all layers are more."""

    def __init__(self, folder: Path, config: Config, dtype: str, sizes: Sizes) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        keep_blocks()
        own = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        attention = {} if config.model.attention == "auto" else {"attn_implementation": config.model.attention}
        self.device = torch_device(config.model.device)
        kind = torch_dtype(dtype, self.device)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(own, dtype=kind, trust_remote_code=False, **attention)
        set_threads(model, self.device, config.model.threads)
        self.words: int
        self.width: int
        self.words, self.width = model.get_output_embeddings().weight.shape
        self.outer, self.model = model, getattr(model, model.base_model_prefix)
        layers = _layers(self.model)
        every = sum(p.numel() for p in layers.parameters())
        one = every / len(layers)
        most = MOST_FLOPS[self.device.type]
        kept = max(1, min(len(layers), int(most / (2 * one * sizes.tokens * config.train.batch_size))))
        self.whole = len(layers) / kept
        self.room = max(LEAST, int(most / (2 * one * kept)))  # tokens of a forward
        self.tokens = min(sizes.tokens, self.room)
        del layers[kept:]
        text = model.config.get_text_config()  # caches have as many layers
        text.num_hidden_layers = kept
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:kept]
        self.model.set_input_embeddings(torch.nn.Embedding(STUB, _inputs(self.model), device="meta", dtype=kind))
        self.model._apply(self._filled)
        self.model.eval().requires_grad_(False)
        self.inputs = _inputs(self.model)
        self.dtype = kind

    def _filled(self, tensor: torch.Tensor) -> torch.Tensor:
        value = VALUE if tensor.is_floating_point() else 0
        return torch.full(tensor.shape, value, dtype=tensor.dtype, device=self.device)

    def filled(self, *shape: int) -> torch.Tensor:
        """Numbers that mean nothing."""
        return torch.full(shape, VALUE, dtype=self.dtype, device=self.device)

    def embedded(self, rows: int, tokens: int) -> torch.Tensor:
        """A batch as the layers read it, [rows, tokens, width]."""
        return self.filled(rows, tokens, self.inputs)


def _layers(model: Any) -> Any:
    """The list of a model's layers: the one with the most numbers.

    Raises:
        LookupError: it has none.
    """
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    if not lists:
        raise LookupError("its layers are not a list")
    return max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))


def _inputs(model: Any) -> int:
    """Width of what the layers read."""
    return int(model.get_input_embeddings().weight.shape[1])


def _seconds(work: Callable[[], Any], device: torch.device, clock: Clock) -> float:
    """Seconds of ``work`` at its fastest, warmed up."""
    work()
    times: list[float] = []
    while len(times) < LEAST_TIMES or sum(times) < ENOUGH_S:
        _wait(device)
        began = clock()
        work()
        _wait(device)
        times.append(clock() - began)
    return min(times)


def alone(device: torch.device) -> Clock:
    """Seconds as they would pass without other programs: on a CPU, the time that its threads work."""
    if device.type == "cuda":
        return time.perf_counter
    return lambda: time.process_time() / torch.get_num_threads()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def read(short: Shortened, clock: Clock) -> dict[str, float]:
    """Seconds for a token that is read, and for one whose probabilities are computed."""
    most = min(FORWARD[short.device.type], short.room)
    rows = max(1, most // short.tokens)
    batch = short.embedded(rows, short.tokens)
    count = rows * short.tokens
    head, states = short.filled(min(WORDS, short.words), short.width), short.filled(STATES, short.width)
    with torch.inference_mode():
        plain = _seconds(lambda: short.model(inputs_embeds=batch, use_cache=False), short.device, clock)
        logits = _seconds(lambda: (states @ head.T).float().logsumexp(-1), short.device, clock)
    return {
        cost_model.READ: plain * short.whole / count,
        cost_model.PREDICTED: logits * short.words / len(head) / STATES,
    }


class _Unmoved(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """What was read before, however often a next token is written: the hf backend copies none of it either."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The same as before."""
        return self.keys, self.values


def write(short: Shortened, replies: int, clock: Clock) -> float:
    """Seconds for a token of a reply, where so many are written at a time."""
    past = DynamicCache(config=short.model.config)
    with torch.inference_mode():
        short.model(inputs_embeds=short.embedded(1, short.tokens), past_key_values=past, use_cache=True)
        past.batch_repeat_interleave(replies)
        past.layers = [_Unmoved(layer) for layer in past.layers]
        one = short.embedded(replies, 1)
        step = _seconds(lambda: short.model(inputs_embeds=one, past_key_values=past), short.device, clock)
    return step * short.whole / replies


def learn(short: Shortened, config: Config, clock: Clock) -> float:
    """Seconds for a token that is trained on, activations kept."""
    how = config.train
    if how.method == "full":
        short.model.requires_grad_(True)
    else:
        from peft import LoraConfig, inject_adapter_in_model

        targets: Any = how.lora_targets
        inject_adapter_in_model(LoraConfig(r=how.lora_r, target_modules=targets), short.model)
    short.model.train()
    rows = max(1, min(how.batch_size, short.room // short.tokens))
    batch = short.embedded(rows, short.tokens).requires_grad_(True)
    seen = torch.ones((rows, short.tokens), dtype=torch.long, device=short.device)
    seen[-1, -1] = 0  # as in a micro-batch of different lengths: attention is told what is padding

    def step() -> None:
        short.model(
            inputs_embeds=batch, attention_mask=seen, use_cache=False
        ).last_hidden_state.float().sum().backward()

    return _seconds(step, short.device, clock) * short.whole / (rows * short.tokens)


def correct(short: Shortened, tokens: int, full: bool, clock: Clock) -> float:
    """Seconds for the loss of a token and its gradient, by TRL's fused head, which takes ``tokens`` at a time.

    Its forward is timed: its backward takes the same product with the head once more, and one for each gradient
    (``full``: of the head as well).
    """
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    kept = min(LOSS_WORDS, short.words)
    count = max(1, min(tokens, LOSS_TOKENS, int(MOST_FLOPS[short.device.type] / (2 * kept * short.width))))
    head, states = short.filled(kept, short.width), short.filled(count, short.width)
    labels = torch.zeros(count, dtype=torch.long, device=short.device)
    how = (states, head, None, labels, 1.0, kept, None, 1.0, ("entropy", "is_top1"))
    with torch.inference_mode():
        forward = _seconds(lambda: ChunkedLogProbFunction.apply(*how), short.device, clock)
    return forward * (4 if full else 3) * (short.words / kept) / count


def rate(short: Shortened, folder: Path, config: Config, sizes: Sizes, clock: Clock) -> float | None:
    """Seconds for a sample's six ratings: the requests of samples of the mean length, made of any words. None: one
    sample is too much to try.
    """
    if short.room < sizes.tokens + INSTRUCTIONS + cost_model.RATING:
        return None
    tokenizer = load_tokenizer(folder, config.model.chat_template)
    budget = FORWARD[short.device.type]
    chats = _chats(tokenizer, sizes, max(1, min(budget, short.room) // (sizes.tokens + cost_model.RATING)))
    render = partial(_rating_requests, tokenizer, chats, positions(short.outer.config))
    requests = [[i % STUB for i in ids] for ids in render()]
    with torch.inference_mode():
        layers = _seconds(lambda: last_hidden(short.outer, requests, short.device, True, budget), short.device, clock)
    # Texts are made once, however many layers there are.
    return (_seconds(render, short.device, clock) + layers * short.whole) / len(chats)


def _chats(tokenizer: Any, sizes: Sizes, rows: int) -> list[tuple[Message, ...]]:
    """So many samples of the mean length, each of other words."""
    ordinary = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]

    def text(first: int, count: int) -> str:
        """Other words for every ``first``, of about ``count`` tokens."""
        told = str(tokenizer.decode([ordinary[(first + 7 * i) % len(ordinary)] for i in range(max(1, count))]))
        return str(tokenizer.decode(tokenizer(told, add_special_tokens=False).input_ids[: max(1, count)]))

    lengths = sizes.prompt - cost_model.OPENING, sizes.tokens - sizes.prompt
    return [(Message("user", text(i, lengths[0])), Message("assistant", text(i + 3, lengths[1]))) for i in range(rows)]


def _rating_requests(tokenizer: Any, chats: Sequence[Sequence[Message]], most: int) -> list[list[int]]:
    """The six requests of each sample; its longest is rendered once more, as the stage does to plan its batches."""
    templates = ratings.judge_templates(Path("/"))  # the built-in ones: a project's own are about as long
    out: list[list[int]] = []
    for chat in chats:
        six = ratings.judge_chats(templates, tuple(chat))
        render_prompt(tokenizer, max(six, key=lambda request: len(request[-1].content)), most)
        out += [render_prompt(tokenizer, one, most) for one in six]
    return out


def opened(folder: Path) -> float:
    """Seconds for reading a model's weights, by their size."""
    return cost_model.LOAD * sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def speeds(folder: Path, config: Config, sizes: Sizes, clock: Clock | None = None) -> dict[str, float]:
    """The speeds of the model that is trained, in all that it does."""
    short = Shortened(folder, config, config.model.dtype, sizes)
    clock = clock or alone(short.device)
    found = read(short, clock) | {cost_model.OPENED: opened(folder)}
    if config.evaluate.exact_match:
        found[cost_model.WRITTEN] = write(short, config.evaluate.batch_size, clock)
    if config.teacher.backend == "hf" and not config.teacher.model:
        found[cost_model.FETCHED] = found[cost_model.OPENED]
        found[cost_model.ASKED] = found[cost_model.READ]
        found[cost_model.REPLIED] = write(short, config.teacher.batch_size, clock)
    if config.judge.backend == "hf" and not config.other_judge:
        found[cost_model.RATED] = _rated(short, folder, config, sizes, clock, found[cost_model.READ])
    # Where there is no Triton, TRL computes the loss of every token, and masks it afterwards.
    share = 1.0 if short.device.type == "cpu" else 1 - sizes.prompt / sizes.tokens
    loss = correct(short, config.train.batch_size * sizes.tokens, config.train.method == "full", clock)
    found[cost_model.LEARNED] = learn(short, config, clock) + share * loss
    return found


def _rated(short: Shortened, folder: Path, config: Config, sizes: Sizes, clock: Clock, token: float) -> float:
    """As ``rate``, or by its tokens; ``token``: seconds of one."""
    found = rate(short, folder, config, sizes, clock)
    return token * (sizes.tokens + cost_model.RATING) if found is None else found


def teacher_speeds(folder: Path, config: Config, sizes: Sizes, clock: Clock | None = None) -> dict[str, float]:
    """The speeds of a teacher in the stage's own process; none of vLLM's."""
    if config.teacher.backend != "hf":
        return {}
    short = Shortened(folder, config, config.teacher.dtype, sizes)
    clock = clock or alone(short.device)
    found = {
        cost_model.FETCHED: opened(folder),
        cost_model.ASKED: read(short, clock)[cost_model.READ],
        cost_model.REPLIED: write(short, config.teacher.batch_size, clock),
    }
    if config.judge.backend == "hf" and config.other_judge:
        found[cost_model.RATED] = _rated(short, folder, config, sizes, clock, found[cost_model.ASKED])
    return found
