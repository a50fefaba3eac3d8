"""Estimates the memory of each stage from a model's files and the settings, without loading the model or torch.

Weights are counted from the headers of the safetensors files. What a layer keeps for its backward pass was counted with
autograd's own saved tensors (Llama's layer under sdpa, with and without autocast and adapters) and is linear in the
tokens of a batch; what a forward without gradients holds, from the tensors that live at its peak.
``benchmarks/engine/memory.py`` holds the estimate against what the stages really take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.config.schema import Config
from engine.distributed.sharding import ShardingPlan
from engine.errors import ModelError
from engine.models import folder as model_folder

FLOAT = 4
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes per weight: 4 bits, the scale per 64 weights, the scale per 256 such scales
CONTEXT = 600 << 20  # CUDA context, libraries and allocator fragmentation per GPU
LOSS_TOKENS, LOSS_WORDS = 4096, 1 << 15  # the tile of logits that TRL's fused head has in memory at a time
# As in the hf backend: logits that the scorer holds at a time; tokens of its forwards on a CPU; and how many bytes the
# sums of weights and adapter may take there beside the weights.
SCORED_LOGITS, CPU_TOKENS, COPY_BYTES = 1 << 26, 2048, 1 << 30
# Tokens beside the sample: what all rating requests begin with, what tells a sample's six apart, a request to rewrite.
INSTRUCTIONS, ENDS, REQUEST = 160, 60, 350
SIX, PROBED = 6, 1440  # requests; tokens that the judge tries sharing with before it begins
NAMES = {
    **dict.fromkeys(("n_head", "n_heads", "num_heads"), "num_attention_heads"),
    **dict.fromkeys(("n_embd", "d_model"), "hidden_size"),
    **dict.fromkeys(("n_layer", "n_layers", "num_layers"), "num_hidden_layers"),
    **dict.fromkeys(("n_inner", "ffn_dim"), "intermediate_size"),
}
"""Names that GPT-2 and others use in config.json."""
EMBEDDINGS = ("wte", "wpe")
HEADS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model's memory depends on. Counts are numbers of values, not bytes.

    linear: the weights of all linear layers but the head, each as (name, outputs, inputs). rows: how many of the
    embedding are trained beside an adapter.
    """

    parameters: int
    linear: tuple[tuple[str, int, int], ...]
    layers: int
    hidden: int
    inner: int
    heads_width: int
    kv_width: int
    words: int
    rows: int = 0

    @property
    def in_layers(self) -> int:
        """Number of weights in linear layers: those that QLoRA quantises and LoRA adapts."""
        return sum(rows * columns for _, rows, columns in self.linear)


@dataclass(frozen=True, slots=True)
class Need:
    """A stage's peak bytes per device, by purpose."""

    stage: str
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class DeviceSplit:
    """Over how many devices training spreads what it holds. ``zero``: by DeepSpeed, whose optimiser has the float32."""

    weights: int = 1
    gradients: int = 1
    optimiser: int = 1
    zero: bool = False

    @classmethod
    def of(cls, plan: ShardingPlan | None, processes: int) -> DeviceSplit:
        """As an accelerate config says."""
        if plan is None:
            return WHOLE
        weights, gradients, optimiser = (
            processes if part else 1 for part in (plan.weights, plan.gradients, plan.optimiser)
        )
        return cls(weights, gradients, optimiser, plan.zero > 0)


WHOLE = DeviceSplit()


def read_shape(folder: Path) -> ModelShape:
    """The shape of the model in ``folder``.

    Raises:
        ModelError: its config.json or weights cannot be read, or it is no decoder of a usual form.
    """
    try:
        config = model_folder.read_json(folder / "config.json")
        config = _usual(config.get("text_config") or config)
        tensors: dict[str, list[int]] = {}
        for file in model_folder.weight_files(folder):
            tensors |= {name: entry["shape"] for name, entry in model_folder.header(file).items()}
        heads = int(config["num_attention_heads"])
        width = int(config.get("head_dim") or config["hidden_size"] // heads)
        return ModelShape(
            parameters=sum(_count(shape) for shape in tensors.values()),
            linear=tuple((name, shape[0], shape[1]) for name, shape in tensors.items() if _quantised(name, shape)),
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            inner=int(config.get("intermediate_size") or 4 * config["hidden_size"]),
            heads_width=heads * width,
            kv_width=int(config.get("num_key_value_heads") or heads) * width,
            words=int(config["vocab_size"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{folder}: cannot estimate its memory from config.json and its weights: {why}.") from error


def _usual(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the names that most families use."""
    return {NAMES.get(name, name): value for name, value in config.items()}


def _count(shape: Sequence[int]) -> int:
    out = 1
    for size in shape:
        out *= size
    return out


def _quantised(name: str, shape: Sequence[int]) -> bool:
    """Whether it is a linear layer's matrix inside the layers, i.e. neither embedding nor head."""
    parts = name.split(".")
    return len(shape) == 2 and parts[-1] == "weight" and "embed" not in name and parts[-2] not in (*HEADS, *EMBEDDINGS)


def bytes_of(dtype: str, cuda: bool) -> int:
    """Bytes per value of a [model] dtype."""
    return FLOAT if dtype == "float32" or (dtype == "auto" and not cuda) else 2


def adapter(shape: ModelShape, config: Config) -> int:
    """Number of weights of the LoRA adapter."""
    return sum(config.train.lora_r * (rows + columns) for rows, columns in _adapted(shape, config))


def _adapted(shape: ModelShape, config: Config) -> list[tuple[int, int]]:
    """(outputs, inputs) of the layers with an adapter."""
    targets = config.train.lora_targets
    return [
        (rows, columns)
        for name, rows, columns in shape.linear
        if targets == "all-linear" or name.split(".")[-2] in ([targets] if isinstance(targets, str) else targets)
    ]


def _sums(shape: ModelShape, config: Config, cuda: bool) -> int:
    """Bytes of the weights with the adapter added, which a CPU keeps in addition to the original ones."""
    size = FLOAT * sum(rows * columns for rows, columns in _adapted(shape, config))
    plain = config.train.method == "lora" and not cuda and bytes_of(config.model.dtype, cuda) == FLOAT
    return size if plain and size <= COPY_BYTES else 0


def weights(shape: ModelShape, config: Config, cuda: bool) -> int:
    """Bytes of the frozen or scored model."""
    size = bytes_of(config.model.dtype, cuda)
    if config.train.method != "qlora":
        return shape.parameters * size
    return int(shape.in_layers * NF4) + (shape.parameters - shape.in_layers) * size


def train(shape: ModelShape, config: Config, cuda: bool, longest: int, split: DeviceSplit = WHOLE) -> Need:
    """Peak memory of the train stage per device.

    Args:
        longest: tokens of the longest sample, at most model.max_length.
    """
    how = config.train
    half = bytes_of(config.model.dtype, cuda) == 2
    tokens = how.batch_size * (config.model.max_length if how.packing else longest)
    parts, trained = _held(shape, config, cuda, split)
    parts["optimiser"] = trained * 2 * FLOAT // split.optimiser
    parts["activations"] = _activations(shape, config, tokens, half)
    parts["loss"] = _loss(shape, tokens, 2 if half else FLOAT, how.method == "full", cuda)
    gradients = trained * FLOAT // split.gradients
    # With one batch a step none are left from the one before: they grow as the activations go.
    if how.gradient_accumulation == 1 and not config.launch.may_miss:
        gradients = max(gradients - parts["activations"] - parts["loss"], 0)
    parts["gradients"] = gradients
    if cuda:
        parts["CUDA"] = CONTEXT
    return Need("train", parts)


def _held(shape: ModelShape, config: Config, cuda: bool, split: DeviceSplit) -> tuple[dict[str, int], int]:
    """Bytes of the weights by purpose, and the number of trained values."""
    size = bytes_of(config.model.dtype, cuda)
    parts: dict[str, int] = {}
    if config.train.method != "full":
        trained = adapter(shape, config)
        parts["weights"] = weights(shape, config, cuda) // split.weights
        parts["adapter"] = trained * FLOAT // split.weights
        if shape.rows:  # the gradient of the head's weight, in float32 and then in its own format
            parts["trained embedding rows"] = (FLOAT + size % FLOAT) * shape.words * shape.hidden
    else:
        trained = shape.parameters
        in_float = split.optimiser if split.zero and size == 2 else split.weights
        parts["float32 weights"] = trained * FLOAT // in_float
        if size == 2 and split.zero:
            parts["16-bit weights"] = trained * 2 // split.weights
        elif size == 2 and split.weights == 1:  # autocast keeps 16-bit copies of all until the forward pass is over
            parts["16-bit copies"] = shape.in_layers * 2
    if split.weights > 1:  # one layer computes while the next one comes; the head is there from forward to backward
        parts["gathered layers"] = size * (2 * shape.in_layers // max(shape.layers, 1) + shape.words * shape.hidden)
    return parts, trained


def _activations(shape: ModelShape, config: Config, tokens: int, half: bool) -> int:
    """What the backward pass needs: of every layer, or with checkpointing of one and every layer's input."""
    how = config.train
    width = max(shape.hidden, shape.heads_width)
    size = 2 if half else FLOAT
    keys = shape.heads_width  # keys and values are repeated for every head where rows are padded
    layer = (30 if half else 32) * width if how.method == "full" else 24 * width + 7 * how.lora_r * size
    layer += 4 * shape.inner * size + 2 * keys * size
    ends = 10 * shape.hidden  # the embedding and the last norm
    if not how.gradient_checkpointing:
        return tokens * (shape.layers * layer + ends)
    stream = FLOAT if how.method == "full" or not half else 2  # of the residual stream
    going_back = 3 * shape.inner * size  # gradients inside the layer that is computed again
    return tokens * (shape.layers * shape.hidden * stream + layer + going_back + ends)


def _loss(shape: ModelShape, tokens: int, size: int, full: bool, cuda: bool) -> int:
    """The loss over chunks of the vocabulary: a tile of logits and gradients of the hidden states, and of the head."""
    head = shape.words * shape.hidden * FLOAT if full else 0
    tile = min(tokens, LOSS_TOKENS) * min(shape.words, LOSS_WORDS)
    # What one kernel does in place on a GPU takes seven steps in float32 and a mask beside the tile on a CPU.
    tile *= size + FLOAT if cuda else size + 7 * FLOAT + 1
    return tile + tokens * shape.hidden * (FLOAT + size) + head


def _widest(shape: ModelShape, config: Config, cuda: bool, tuned: bool) -> tuple[int, int]:
    """Bytes a token at the two widest places of a forward without gradients: in the inner product and in attention.

    Beside them live the layer's input, what it was embedded from and the norm's output. The inner product has two
    factors and itself. Where an adapter stands beside the weights it computes in float32: widest is its sum with them.
    """
    size = bytes_of(config.model.dtype, cuda)
    inner = (3 * shape.inner + 4 * shape.hidden) * size
    attention = (3 * shape.hidden + 6 * shape.heads_width) * size
    if not tuned or config.train.method == "full" or _sums(shape, config, cuda):
        return inner, attention
    widened = 0 if cuda or size == FLOAT else FLOAT  # a CPU widens the 16-bit addend first
    inner = shape.inner * (2 * size + 2 * FLOAT + widened) + shape.hidden * (4 * size + FLOAT)
    return inner, attention + shape.heads_width * (2 * FLOAT + widened)


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """What a forward without gradients is made of, at its largest.

    tokens: padding included. logits: how many are held at a time. mask: bytes of the mask that attention is told by,
    for as long as the forward takes. widened: bytes that it takes besides while attention computes. copied: bytes of
    the head's copies while it computes logits.
    """

    tokens: int
    logits: int
    mask: int = 0
    widened: int = 0
    copied: int = 0


def forward(stage: str, shape: ModelShape, config: Config, cuda: bool, batch: ForwardBatch, tuned: bool = True) -> Need:
    """A stage that computes no gradients; ``tuned``: with the adapter of [train]."""
    size = bytes_of(config.model.dtype, cuda)
    inner, attention = _widest(shape, config, cuda, tuned)
    through = max(batch.tokens * inner, batch.tokens * attention + batch.widened) + batch.mask
    # In float32, and their logarithms; the hidden states of all tokens and of those that are predicted.
    after = batch.logits * 2 * FLOAT + 2 * batch.tokens * shape.hidden * size + batch.copied
    parts = {
        "weights": weights(shape, config, cuda),
        "activations" if through > after else "logits": max(through, after),
    }
    if tuned and config.train.method != "full":
        parts["adapter"] = adapter(shape, config) * FLOAT
        parts["merged weights"] = _sums(shape, config, cuda)
    if cuda:
        parts["CUDA"] = CONTEXT
    return Need(stage, parts)


def _at_a_time(token_budget: int, cuda: bool) -> int:
    """Maximum tokens of a scoring or rating forward pass."""
    return token_budget if cuda else min(token_budget, CPU_TOKENS)


def score(shape: ModelShape, config: Config, cuda: bool, longest: int) -> Need:
    """Peak memory of scoring, the held-out loss and the signals of rewrites."""
    tokens = max(_at_a_time(config.score.token_budget, cuda), longest)
    return forward("score", shape, config, cuda, ForwardBatch(tokens, min(SCORED_LOGITS, tokens * shape.words)))


def judge(shape: ModelShape, config: Config, cuda: bool, longest: int) -> Need:
    """Ratings. Expected ones: a sample's six requests are one row with a mask, without what all samples share."""
    how, tuned = config.judge, config.judge.model == "tuned"
    if how.mode == "sampled":
        whole = longest + INSTRUCTIONS
        rows = SIX * max(how.token_budget // (SIX * whole), 1)
        return generate("judge", shape, config, cuda, rows, whole, how.max_new_tokens, tuned)
    own = longest + ENDS
    rows = max(_at_a_time(how.token_budget, cuda) // (INSTRUCTIONS + own), 1)
    logits = min(SCORED_LOGITS, SIX * max(how.token_budget // (longest + INSTRUCTIONS), 1) * shape.words)
    mask = rows * own * (INSTRUCTIONS + own) * bytes_of(config.model.dtype, cuda)
    return forward("judge", shape, config, cuda, ForwardBatch(max(rows * own, PROBED), logits, mask), tuned)


def generate(
    stage: str, shape: ModelShape, config: Config, cuda: bool, rows: int, prompt: int, reply: int, tuned: bool
) -> Need:
    """A stage that writes replies: the cache of keys and values grows with every token."""
    size = bytes_of(config.model.dtype, cuda)
    mask = rows * prompt * prompt  # truth values, because prompts are padded; attention makes numbers of them
    # In 16 bits a CPU multiplies the last states, which lie apart, with a copy of the head for each row.
    copied = 0 if cuda or size == FLOAT else rows * shape.words * shape.hidden * size
    batch = ForwardBatch(rows * prompt, rows * shape.words, mask, mask * size, copied)
    found = forward(stage, shape, config, cuda, batch, tuned)
    cache = rows * (prompt + reply) * 2 * shape.layers * shape.kv_width * size
    return Need(stage, {**found.parts, "KV cache": cache})


def rewrite(shape: ModelShape, config: Config, cuda: bool, longest: int) -> Need:
    """A local teacher of ``shape`` that writes a batch; the loop's own base where config.toml names none."""
    how, config = config.teacher, _as_teacher(config)
    prompt = longest + REQUEST
    return generate("rewrite", shape, config, cuda, how.batch_size, prompt, how.max_new_tokens, tuned=False)


def _as_teacher(config: Config) -> Config:
    """``config`` with the teacher in the model's place; a teacher of its own is read as it is."""
    model = msgspec.structs.replace(config.model, dtype=config.teacher.dtype)
    method = "full" if config.teacher.model else config.train.method
    return msgspec.structs.replace(config, model=model, train=msgspec.structs.replace(config.train, method=method))


def needs(
    shape: ModelShape,
    config: Config,
    cuda: bool,
    longest: int,
    split: DeviceSplit = WHOLE,
    teacher: ModelShape | None = None,
) -> list[Need]:
    """Peak memory per device of every stage that loads a model in its process.

    Args:
        teacher: the shape of a local teacher; None if there is none or it is unknown.
    """
    longest = min(longest, config.model.max_length)
    out = [train(shape, config, cuda, longest, split), score(shape, config, cuda, longest)]
    if config.judge.backend == "hf" and config.judge.model != "endpoint" and not config.other_judge:
        out.append(judge(shape, config, cuda, longest))
    elif config.judge.backend == "hf" and config.other_judge and teacher is not None:
        out.append(judge(teacher, _as_teacher(config), cuda, longest))
    if config.evaluate.exact_match:
        how = config.evaluate
        out.append(generate("evaluate", shape, config, cuda, how.batch_size, longest, how.max_new_tokens, tuned=True))
    if config.teacher.backend == "hf" and teacher is not None:
        out.append(rewrite(teacher, config, cuda, longest))
    return out
