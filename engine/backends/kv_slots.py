"""The keys and values of replies that are being written, one slot each, in place for as many as are written at a time.

All rows end at the same column, so a step writes one column of every slot. A reply that has ended leaves its slot to
the next, whose prompt is laid in so that it ends at that column too; what lies before it is masked. Nothing is copied
for a step, where transformers' own cache is copied whole for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

STEPS = 128
"""Columns that room is made for at a time."""


class Unfit(Exception):
    """This family keeps something else than the keys and values of all tokens."""


class Slots:
    """Columns ``start`` to ``end`` of every slot are in use. ``mask``: bool[slots, columns], what a row may see."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.start = self.end = 0
        self.mask = torch.zeros((rows, 0), dtype=torch.bool, device=device)
        self.cache = DynamicCache()
        self.layers: list[_Layer] = []

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.end - self.start

    @property
    def nbytes(self) -> int:
        """Of what is in use."""
        row = sum(one[0, :, :1].nbytes for layer in self.layers for one in (layer.keys, layer.values))
        return self.rows * self.width * row

    def prompt(self, rows: int) -> DynamicCache:
        """An empty cache for prompts that ``lay`` then puts into slots."""
        return DynamicCache()

    def lay(self, slots: Sequence[int], cache: DynamicCache, lengths: Sequence[int]) -> None:
        """Put prompts that were read into ``cache``, padded at the left, into ``slots``. ``lengths``: their tokens.

        Raises:
            Unfit: the model left no keys and values of every token there.
        """
        width = max(lengths)
        self._check(cache, width)
        if width > self.end:
            self._move(width, width)
        for mine, theirs in zip(self.layers, cache.layers, strict=True):
            mine.keys[slots, :, self.end - width : self.end] = theirs.keys
            mine.values[slots, :, self.end - width : self.end] = theirs.values
        for slot, length in zip(slots, lengths, strict=True):
            self.mask[slot] = False
            self.mask[slot, self.end - length : self.end] = True
        self.start = min(self.start, self.end - width)

    def _check(self, cache: DynamicCache, width: int) -> None:
        if not cache.layers or any(
            type(layer) is not DynamicLayer or layer.keys is None or layer.keys.shape[-2] != width
            for layer in cache.layers
        ):
            raise Unfit
        if not self.layers:
            self.layers = [_Layer(self, layer.keys, layer.values) for layer in cache.layers]
            self.cache.layers = self.layers

    def room(self) -> None:
        """Have a column free behind the last one."""
        if self.end == self.mask.shape[1]:
            self._move(self.width, self.width)

    def visible(self) -> torch.Tensor:
        """The mask of the next step, its own column included: int64[slots, width + 1]."""
        self.mask[:, self.end] = True
        return self.mask[:, self.start : self.end + 1].long()

    def stepped(self) -> None:
        """A column was written."""
        self.end += 1

    def free(self, slot: int, used: Sequence[int]) -> None:
        """Nobody reads ``slot`` any more. ``used``: the others' numbers of tokens, which say what is still needed."""
        self.mask[slot] = True  # a row that sees nothing would be the mean of nothing
        self.start = max(self.start, self.end - max(used, default=0))

    def keep(self, slots: Sequence[int]) -> None:
        """Only these slots from now on, in this order."""
        which = torch.tensor(slots, dtype=torch.long, device=self.device)
        self.rows = len(slots)
        self.mask = self.mask[which]
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[which], layer.values[which]

    def _move(self, keep: int, end: int) -> None:
        """New room: the last ``keep`` columns end at column ``end``, with ``STEPS`` free ones behind."""
        before = min(keep, self.end)
        old = slice(self.end - before, self.end)
        mask = torch.zeros((self.rows, end + STEPS), dtype=torch.bool, device=self.device)
        mask[:, end - before : end] = self.mask[:, old]
        for layer in self.layers:
            layer.keys = _moved(layer.keys, self.rows, old, end)
            layer.values = _moved(layer.values, self.rows, old, end)
        self.start, self.end, self.mask = end - min(self.width, before), end, mask

    # -------------------------------------------------------------------------------------------- kept over a pause

    def tensors(self, used: Sequence[int]) -> dict[str, torch.Tensor]:
        """All that the slots ``used`` may see, for ``restore``: keys and values are [tokens, heads, width]."""
        mask = self.mask[:, self.start : self.end].contiguous()
        own = mask.clone()
        own[[slot for slot in range(self.rows) if slot not in used]] = False
        out = {"mask": mask, "own": own}
        for i, layer in enumerate(self.layers):
            for name, of in (("keys", layer.keys), ("values", layer.values)):
                out[f"{name} {i}"] = of[:, :, self.start : self.end].transpose(1, 2)[own].cpu()
        return out

    @classmethod
    def restore(cls, kept: dict[str, torch.Tensor], device: torch.device) -> Slots:
        """As it was when ``tensors`` were taken; what nobody may see is 0."""
        rows, width = kept["mask"].shape
        slots = cls(rows, device)
        slots.mask, slots.end = kept["mask"].to(device), width
        own = kept["own"].to(device)
        for i in range(sum(name.startswith("keys ") for name in kept)):
            keys, values = (_scattered(kept[f"{name} {i}"].to(device), own) for name in ("keys", "values"))
            layer = _Layer(slots, keys, values)
            layer.keys, layer.values = keys, values
            slots.layers.append(layer)
        slots.cache.layers = slots.layers
        slots.room()
        return slots


def _scattered(tokens: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, width] at the places that ``own`` ([slots, columns]) names: [slots, heads, columns, width]."""
    out = tokens.new_zeros((*own.shape, *tokens.shape[1:]))
    out[own] = tokens
    return out.transpose(1, 2).contiguous()


def _moved(of: torch.Tensor, rows: int, old: slice, end: int) -> torch.Tensor:
    out = torch.zeros((rows, of.shape[1], end + STEPS, of.shape[3]), dtype=of.dtype, device=of.device)
    out[:, :, end - (old.stop - old.start) : end] = of[:, :, old]
    return out


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer's part of the slots. ``like``: keys and values of its shape."""

    def __init__(self, slots: Slots, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.slots = slots
        self.keys, self.values = (one.new_zeros((slots.rows, one.shape[1], 0, one.shape[3])) for one in (keys, values))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a step's column; returns all that is in use."""
        start, end = self.slots.start, self.slots.end
        self.keys[:, :, end : end + 1] = key_states
        self.values[:, :, end : end + 1] = value_states
        return self.keys[:, :, start : end + 1], self.values[:, :, start : end + 1]

    def get_seq_length(self) -> int:
        """Columns in use before this step."""
        return self.slots.width
