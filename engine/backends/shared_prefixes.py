"""What several requests begin with is computed once.

Requests are token ids, so what is shared is exact. Sorted, they form a tree: those that begin alike are laid out as one
row that holds every shared token once, and a mask tells each token which ones precede it. What all of them begin with
(the instructions) goes through the model by itself; its keys and values are lent to every row.

Families that cannot be told so (sliding windows, recurrent layers, positions that follow from the mask) are found by
trying it once on a few tokens; for those, and where nothing is shared, each request is computed by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from engine.backends.model_loading import failed, positions
from engine.chat import batches

WORTH_SHARING = 0.9
"""Share when the tokens to compute fall to this part or less: attention by a mask has a cost of its own."""
ROOT = 16
"""Tokens that all requests must begin with to be computed by themselves."""
LONGEST = 1 << 14
"""Tokens of a row that has a mask: 0.8 GB at 16 bits. Longer requests are computed one by one, without a mask."""
LEAST_ERROR = 1e-3
"""By which share a state may differ from the one without sharing, or by 8 roundings of its number format if that is
more: rounding stays below, a mask that is read in another way does not."""
BY_DISTANCE = ("bloom", "mpt")
"""Families that bias attention by the distance of two places in the row, whatever the tokens' positions."""

Ids = list[int]


@dataclass(slots=True)
class Tree:
    """Requests that begin alike, as one row of tokens without what all requests begin with.

    depth: each token's position in its requests. ends: the first place behind the tokens that a token precedes.
    last: the place of each request's last token, by the request's number.
    """

    root: int
    ids: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)
    _path: list[int] = field(default_factory=list)

    def add(self, number: int, own: Ids, alike: int) -> None:
        """Add request ``number`` that begins with the first ``alike`` tokens of the one before."""
        for place in self._path[alike:]:
            self.ends[place] = len(self.ids)
        new = range(len(self.ids), len(self.ids) + len(own) - alike)
        self._path[alike:] = new
        self.ids += own[alike:]
        self.depth += range(self.root + alike, self.root + len(own))
        self.ends += [new.stop] * len(new)
        self.last[number] = self._path[-1]

    def close(self) -> Tree:
        """What the last request holds reaches to the end of the row."""
        for place in self._path:
            self.ends[place] = len(self.ids)
        return self


def common(a: Ids, b: Ids) -> int:
    """Length of the common beginning, by bisection: slices compare at C speed."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def forest(requests: Sequence[Ids]) -> tuple[int, list[Tree]]:
    """What all requests begin with (how many tokens), and the trees behind it.

    A request joins its neighbour's tree when it shares at least half of the shorter one's own tokens with it.
    """
    order = sorted(range(len(requests)), key=requests.__getitem__)
    least = min(map(len, requests), default=1)
    root = min(common(requests[order[0]], requests[order[-1]]), least - 1) if len(order) > 1 else 0
    root = root if root >= ROOT else 0
    trees: list[Tree] = []
    before: Ids = []
    for number in order:
        own = requests[number][root:]
        alike = common(before, own)
        room = trees and root + len(trees[-1].ids) + len(own) - alike <= LONGEST
        if not room or 2 * alike < min(len(before), len(own)):
            trees.append(Tree(root))
            alike = 0
        trees[-1].add(number, own, alike)
        before = own
    return root, [tree.close() for tree in trees]


def last_hidden(
    model: Any, requests: Sequence[Ids], device: torch.device, shared: bool, token_budget: int
) -> torch.Tensor:
    """The last hidden state at the end of each request, [requests, hidden].

    ``shared``: whether what they share is computed once; ``token_budget``: most tokens in a forward, padding included.
    """
    root, trees = forest(requests) if shared else (0, [])
    cost = root + sum(len(tree.ids) for tree in trees)
    if not shared or cost > WORTH_SHARING * sum(map(len, requests)):
        return _in_order(_alone(model, requests, range(len(requests)), device, token_budget), len(requests))
    return _in_order(_together(model, requests, root, trees, device, token_budget), len(requests))


Found = Iterator[tuple[list[int], torch.Tensor]]


def _in_order(found: Found, count: int) -> torch.Tensor:
    """States in the order of the requests."""
    numbers, states = zip(*found, strict=True)
    whole = torch.cat(states)
    out = torch.empty_like(whole)
    out[torch.tensor([n for part in numbers for n in part], device=whole.device)] = whole
    return out[:count]


def _alone(model: Any, requests: Sequence[Ids], which: Sequence[int], device: torch.device, budget: int) -> Found:
    """The requests ``which``, each by itself."""
    for batch in batches.plan([len(requests[n]) for n in which], budget):
        numbers = [which[i] for i in batch]
        rows = [requests[n] for n in numbers]
        hidden = _inner(model)(input_ids=pad(rows, device), use_cache=False).last_hidden_state
        yield numbers, hidden[list(range(len(rows))), [len(row) - 1 for row in rows]]


def _together(
    model: Any, requests: Sequence[Ids], root: int, trees: Sequence[Tree], device: torch.device, budget: int
) -> Found:
    """The requests of ``trees``, of which all begin with the same ``root`` tokens."""
    long = [tree for tree in trees if root + len(tree.ids) > LONGEST]
    trees = [tree for tree in trees if root + len(tree.ids) <= LONGEST]
    yield from _alone(model, requests, [n for tree in long for n in tree.last], device, budget)
    cache = _begin(model, requests[0][:root], device) if root and trees else None
    for batch in batches.plan([root + len(tree.ids) for tree in trees], budget):
        rows = [trees[i] for i in batch]
        hidden = _inner(model)(
            input_ids=pad([tree.ids for tree in rows], device),
            attention_mask=_mask(rows, root, model.dtype, device),
            position_ids=pad([tree.depth for tree in rows], device),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        row = [i for i, tree in enumerate(rows) for _ in tree.last]
        yield [n for tree in rows for n in tree.last], hidden[row, [at for tree in rows for at in tree.last.values()]]


def _mask(rows: Sequence[Tree], root: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What each token sees, [rows, 1, tokens, root + tokens]: 0, or the least number where it sees nothing.

    It sees itself, what all begin with, and the earlier tokens that end behind it. So does the padding, which would
    else be the mean of nothing.
    """
    place = torch.arange(max(len(tree.ids) for tree in rows))
    ends = (place + 1).repeat(len(rows), 1)
    for end, tree in zip(ends, rows, strict=True):
        end[: len(tree.ids)] = torch.tensor(tree.ends)
    ends, place = ends.to(device), place.to(device)
    hidden = (place > place[:, None]) | (place[:, None] >= ends[:, None, :])
    out = torch.zeros((len(rows), 1, len(place), root + len(place)), dtype=dtype, device=device)
    out[:, 0, :, root:].masked_fill_(hidden, torch.finfo(dtype).min)
    return out


def _begin(model: Any, ids: Ids, device: torch.device) -> Any:
    """Keys and values of ``ids``, to be seen by any number of rows that leave nothing behind in them."""
    cache = DynamicCache(config=model.config)
    _inner(model)(input_ids=pad([ids], device), past_key_values=cache, use_cache=True)
    cache.layers = [_Lent(layer) for layer in cache.layers]
    return cache


class _Lent(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer of one row that is put before any number of rows, and that keeps nothing of them."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The lent keys and values before the rows' own."""
        return _before(self.keys, key_states), _before(self.values, value_states)


def _before(one: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([one.expand(len(rows), -1, -1, -1), rows], dim=-2)


READ = ("sdpa", "eager")
"""Kinds of attention that are told by a mask what each token sees; flash attention computes something else, or fails
on the GPU in a way that ends the process's use of it.
"""


def reads_masks(model: Any) -> bool:
    """Whether the model's attention can be told what each token sees."""
    return model.config.get_text_config()._attn_implementation in READ


def why_alone(model: Any) -> str:
    """Why requests share nothing, for the log."""
    if reads_masks(model):
        return (
            "This model family cannot share a sample's text between its six rating requests, so judging takes longer."
        )
    kind = model.config.get_text_config()._attn_implementation
    return (
        f"{kind} cannot share a sample's text between its six rating requests, so judging takes longer."
        ' [model] attention = "sdpa" may be faster.'
    )


PROBED = 260
"""Tokens of the longest row that sharing is tried with."""


def can_share(model: Any, device: torch.device) -> bool:
    """Whether this model gives the same states when beginnings are shared, tried on a few tokens."""
    layers = DynamicCache(config=model.config).layers
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return False  # sliding windows, which a few tokens do not show, and recurrent layers
    if model.config.model_type in BY_DISTANCE or getattr(model.config, "alibi", False):
        return False
    if not reads_masks(model):
        return False
    if positions(model.config) < PROBED:
        return False  # its requests are short as well
    size = int(model.config.get_text_config().vocab_size)
    start, *words = ([(7 * i * i + 3 * i) % size for i in range(first, first + 120)] for first in (1, 200, 400, 600))
    # Long branches: a bias by distance shows only where place and position lie far apart.
    ends = [words[0] + words[1], words[0] + words[2], words[1][:90] + words[2], words[1][:90] + words[0], words[2]]
    requests = [start[:20] + end for end in ends]
    root, trees = forest(requests)
    alone = _in_order(_alone(model, requests, range(len(requests)), device, 1 << 20), len(requests)).float()
    try:
        found = _in_order(_together(model, requests, root, trees, device, 1 << 20), len(requests)).float()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, NotImplementedError) as error:
        if failed(error, device):
            raise
        return False  # a family's own way to refuse such a mask or cache
    most = max(LEAST_ERROR, 8 * torch.finfo(model.dtype).eps)
    return bool((found - alone).norm() <= most * alone.norm())


def _inner(model: Any) -> Any:
    """The model without its head."""
    return getattr(model, model.base_model_prefix)


def pad(rows: Sequence[Ids], device: torch.device) -> torch.Tensor:
    """Token ids padded at the right, where causal attention never lets a token see the padding."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
