"""Prefix sharing: tokens that several requests begin with are computed once.

Requests are token ids, so prefixes match exactly. Sorted, they form a forest of prefix trees. A tree is laid out as one
row that holds every shared token once, with an attention mask that shows each token its predecessors. The prefix of all
requests (the instructions) is computed once, and every row uses its keys and values.

Model families where this does not work (sliding windows, recurrent layers, positions derived from the mask) are
detected by trying it once on a few tokens. For those, and where little is shared, each request is computed by itself.
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
"""Minimum length of the common prefix, in tokens, for it to be computed separately."""
LONGEST = 1 << 14
"""Maximum tokens of a row with a mask: 0.8 GB at 16 bits. Longer requests are computed one by one, without a mask."""
LEAST_ERROR = 1e-3
"""The relative difference that is allowed to the states without sharing, or 8 epsilons of the number format if that is
more. Rounding stays below it; a mask that the model interprets differently does not."""
BY_DISTANCE = ("bloom", "mpt")
"""Families that bias attention by the distance of two tokens in the row, whatever their position ids."""

Ids = list[int]


@dataclass(slots=True)
class Tree:
    """Requests with a common prefix as one row of tokens, without the prefix of all requests.

    root: length of the prefix of all requests. ids: the row's tokens. depth: each token's position in its requests.
    ends: for each token, the index just past its descendants. last: index of each request's last token, by request.
    """

    root: int
    ids: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)
    _path: list[int] = field(default_factory=list)

    def add(self, number: int, own: Ids, alike: int) -> None:
        """Add request ``number``, which shares its first ``alike`` tokens with the one added before."""
        for place in self._path[alike:]:
            self.ends[place] = len(self.ids)
        new = range(len(self.ids), len(self.ids) + len(own) - alike)
        self._path[alike:] = new
        self.ids += own[alike:]
        self.depth += range(self.root + alike, self.root + len(own))
        self.ends += [new.stop] * len(new)
        self.last[number] = self._path[-1]

    def close(self) -> Tree:
        """Finish the row: the descendants of the last request's tokens reach to its end."""
        for place in self._path:
            self.ends[place] = len(self.ids)
        return self


def common(a: Ids, b: Ids) -> int:
    """Length of the common prefix, by bisection: slices compare at C speed."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def forest(requests: Sequence[Ids]) -> tuple[int, list[Tree]]:
    """The length of the prefix of all requests in tokens, and the trees of what follows it.

    A request joins its neighbour's tree if they share at least half of the shorter one's remaining tokens.
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

    ``shared``: compute common prefixes once. ``token_budget``: maximum tokens of a forward pass, padding included.
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
    """The requests of ``trees``, all of which begin with the same ``root`` tokens."""
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
    """The additive attention mask, [rows, 1, tokens, root + tokens]: 0 where a token attends, else the smallest number.

    A token attends to itself, to the common prefix, and to its ancestors. Padding attends to itself, as a softmax over
    nothing would be NaN.
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
    """A cache with the keys and values of ``ids`` that any number of rows can use without changing it."""
    cache = DynamicCache(config=model.config)
    _inner(model)(input_ids=pad([ids], device), past_key_values=cache, use_cache=True)
    cache.layers = [_Lent(layer) for layer in cache.layers]
    return cache


class _Lent(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A cache layer of one row, prepended to any number of rows and never extended."""

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
"""Attention implementations that follow an arbitrary mask. Flash attention computes something else, or fails on the GPU
in a way that leaves the process unable to use it.
"""


def reads_masks(model: Any) -> bool:
    """Whether the model's attention implementation follows an arbitrary mask."""
    return model.config.get_text_config()._attn_implementation in READ


def why_alone(model: Any) -> str:
    """Why requests do not share prefixes, for the log."""
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
"""Tokens of the longest request that sharing is tried with."""


def can_share(model: Any, device: torch.device) -> bool:
    """Whether this model computes the same states with shared prefixes, tried on a few tokens."""
    layers = DynamicCache(config=model.config).layers
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return False  # recurrent layers, and sliding windows, which a few tokens would not reveal
    if model.config.model_type in BY_DISTANCE or getattr(model.config, "alibi", False):
        return False
    if not reads_masks(model):
        return False
    if positions(model.config) < PROBED:
        return False  # its requests are as short, so little would be gained
    size = int(model.config.get_text_config().vocab_size)
    start, *words = ([(7 * i * i + 3 * i) % size for i in range(first, first + 120)] for first in (1, 200, 400, 600))
    # Long branches: a bias by distance shows only where index and position differ much.
    ends = [words[0] + words[1], words[0] + words[2], words[1][:90] + words[2], words[1][:90] + words[0], words[2]]
    requests = [start[:20] + end for end in ends]
    root, trees = forest(requests)
    alone = _in_order(_alone(model, requests, range(len(requests)), device, 1 << 20), len(requests)).float()
    try:
        found = _in_order(_together(model, requests, root, trees, device, 1 << 20), len(requests)).float()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, NotImplementedError) as error:
        if failed(error, device):
            raise
        return False  # how a family refuses such a mask or cache
    most = max(LEAST_ERROR, 8 * torch.finfo(model.dtype).eps)
    return bool((found - alone).norm() <= most * alone.norm())


def _inner(model: Any) -> Any:
    """The model without its head."""
    return getattr(model, model.base_model_prefix)


def pad(rows: Sequence[Ids], device: torch.device) -> torch.Tensor:
    """Token ids, [rows, longest], padded on the right, where causal attention hides the padding from every token."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
