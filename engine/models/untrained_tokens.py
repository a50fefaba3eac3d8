"""Rows of the embedding and the head that pretraining never touched, for tokens that a chat template uses.

Base models ship rows for chat tokens that no text of their pretraining held: near zero, or all alike. LoRA leaves those
rows as they are, so a model that is to end its turn with such a token never learns to stop. The rows are trained
beside the adapter (PEFT's ``trainable_token_indices``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.chat.render import end_of_turn, render
from engine.config.schema import Config
from engine.errors import ConfigError
from engine.models import folder as model_folder
from engine.store.rows import Message

if TYPE_CHECKING:
    import torch

TALK = (Message("user", "One two?"), Message("assistant", "Three, four."))
LOW = 0.1
"""A row is untrained when it is, or lies from the mean of all rows, less than this share of what rows commonly do."""
BLOCKS, ROWS = 64, 64


@dataclass(frozen=True, slots=True)
class Untrained:
    """Ids and texts of tokens with untrained rows. ``end``: the end-of-turn token is one of them."""

    ids: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    end: bool = False

    @property
    def named(self) -> str:
        """The tokens' texts, for messages."""
        return ", ".join(self.texts)


def find(folder: Path, model: Any, tokenizer: Any) -> Untrained:
    """The chat template's tokens with untrained rows, from the weights in ``folder``.

    Args:
        model: tells which modules embed and predict; its numbers are not looked at, it may lie on the meta device.
    """
    end = end_of_turn(tokenizer)
    end = tokenizer.eos_token_id if end is None else end
    used = {i for i in template_ids(tokenizer) if i in tokenizer.added_tokens_decoder} | ({end} - {None})
    low = _low(folder, model.get_input_embeddings(), name_of(model, model.get_input_embeddings()), sorted(used))
    if end is not None:  # the only one that the model predicts
        head = model.get_output_embeddings()
        low |= _low(folder, head, name_of(model, head), [end])
    ids = tuple(sorted(low))
    return Untrained(ids, tuple(tokenizer.convert_ids_to_tokens(list(ids))), end in low)


def template_ids(tokenizer: Any, talk: Sequence[Message] = TALK) -> list[int]:
    """Token ids of a short conversation in the chat template."""
    return render(tokenizer, talk, 1 << 20).ids


def name_of(model: Any, module: Any) -> str:
    """The name of ``module`` in ``model``."""
    return next(str(name) for name, one in model.named_modules() if one is module)


def _low(folder: Path, module: Any, name: str, ids: Sequence[int]) -> set[int]:
    """The ``ids`` whose rows of the module's weight are untrained; empty if the files name the weight differently."""
    from safetensors import safe_open

    tensor, shape = f"{name.rpartition('.')[2]}.weight", list(module.weight.shape)
    for file in model_folder.weight_files(folder):
        for key, entry in model_folder.header(file).items():
            if key.endswith(tensor) and entry["shape"] == shape:
                with safe_open(file, framework="pt") as stream:
                    return _untrained(stream.get_slice(key), shape[0], ids)
    return set()


def _untrained(rows: Any, count: int, ids: Sequence[int]) -> set[int]:
    """By length, and by distance from the mean, which new rows are often given.

    Args:
        rows: the weight as a slice of a file. count: how many rows it has.
    """
    import torch

    starts = {count * block // BLOCKS for block in range(BLOCKS)}
    common = torch.cat([rows[start : min(start + ROWS, count)].float() for start in sorted(starts)])
    wanted = torch.cat([rows[i : i + 1].float() for i in ids])
    low = _short(wanted, common) | _short(wanted - common.mean(0), common - common.mean(0))
    return {i for i, one in zip(ids, low.tolist(), strict=True) if one}


def _short(rows: torch.Tensor, common: torch.Tensor) -> torch.Tensor:
    low: torch.Tensor = rows.norm(dim=1) < LOW * common.norm(dim=1).median()
    return low


def trainable(found: Untrained, model: Any) -> dict[str, list[int]] | None:
    """The rows to train beside an adapter, by module, in PEFT's form; None if there are none."""
    if not found.ids:
        return None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    named = {name_of(model, embedding): list(found.ids)}
    if head.weight is not embedding.weight:  # if they are tied, PEFT trains both as one
        named[name_of(model, head)] = list(found.ids)
    return named


def require(found: Untrained, config: Config, model: Any, split: str) -> None:
    """Reject settings with which the rows cannot be trained or used.

    Args:
        split: how training is spread when each process holds a part; empty: each has a whole copy.

    Raises:
        ConfigError: names the tokens, what stands in the way, and the way out.
    """
    if config.train.method == "full" or not found.ids:
        return
    why = f"LoRA must train the rows of {found.named}, which are untrained in this base"
    ways = 'Set [train] method = "full", or another [model] chat_template or model.'
    if split:
        raise ConfigError(f"config.toml: {why}, and {split} splits them over processes. {ways}")
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise ConfigError(f"config.toml: {why}, and its head has a bias, with which PEFT cannot train rows. {ways}")
    if config.judge.backend in ("vllm", "server") and config.judge.model == "tuned":
        raise ConfigError(
            f"config.toml: {why}, and vLLM loads no adapter that has rows."
            ' Set [judge] backend = "hf", or model = "base".'
        )
    if config.evaluate.tasks and config.evaluate.backend == "vllm":
        raise ConfigError(
            f'config.toml: {why}, and vLLM loads no adapter that has rows. Set [evaluate] backend = "hf".'
        )


def describe(found: Untrained, config: Config) -> list[str]:
    """A note for the log: which tokens are untrained, and what is done about it."""
    if not found.ids or config.train.method == "full":
        return []
    many = len(found.ids) > 1
    return [
        f"the base model never learned {found.named} of its chat template{', which ends a turn' if found.end else ''}."
        f" LoRA trains the row{'s' if many else ''} of {'these tokens' if many else 'this token'} as well; vLLM serves"
        " the model merged."
    ]
