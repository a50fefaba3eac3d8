"""What requests share is computed once, and that never changes what a request gets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends import shared_prefixes
from tests.support.small_models import model_of

CPU = torch.device("cpu")
FAMILIES = {"llama": True, "qwen2": True, "gpt2": True, "mistral": False, "bloom": False, "mpt": False}


def six(start: list[int], prompt: list[int], response: list[int]) -> list[list[int]]:
    """The requests for one sample, as the judge asks them."""
    ends = ([7], [8, 8, 8], [9, 1])
    return [[*start, *prompt, 3, *end] for end in ends] + [[*start, *prompt, 4, *response, 5, *end] for end in ends]


def some_requests(samples: int, begin: int = 40) -> list[list[int]]:
    draw = random.Random(0)
    start = [draw.randrange(10, 290) for _ in range(begin)]
    texts = ([draw.randrange(10, 290) for _ in range(draw.randrange(3, 60))] for _ in range(2 * samples))
    return [request for prompt, response in zip(texts, texts, strict=False) for request in six(start, prompt, response)]


requests_of_few_words = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=40), min_size=1, max_size=12)


@given(requests=requests_of_few_words, begin=st.integers(0, 30))
def test_a_tree_holds_every_request_whole(requests: list[list[int]], begin: int) -> None:
    requests = [[1] * begin + request for request in requests]
    root, trees = shared_prefixes.forest(requests)
    found = {}
    for tree in trees:
        for number, last in tree.last.items():
            seen = [place for place in range(last + 1) if tree.ends[place] > last]
            found[number] = requests[0][:root] + [tree.ids[place] for place in seen]
            assert [tree.depth[place] for place in seen] == list(range(root, len(requests[number])))
    assert [found[n] for n in range(len(requests))] == requests


def test_the_six_requests_of_a_sample_are_one_row_in_which_the_texts_stand_once() -> None:
    requests = some_requests(5)
    root, trees = shared_prefixes.forest(requests)
    assert root == 40
    assert [sorted(tree.last) for tree in sorted(trees, key=lambda t: min(t.last))] == [
        list(range(first, first + 6)) for first in range(0, 30, 6)
    ]
    for tree in trees:
        longest = max(len(requests[n]) for n in tree.last) - root
        assert len(tree.ids) < longest + 12


def test_a_request_too_long_for_a_mask_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = some_requests(4)
    monkeypatch.setattr(shared_prefixes, "LONGEST", 100)
    root, trees = shared_prefixes.forest(requests)
    assert all(len(tree.last) == 1 for tree in trees if root + len(tree.ids) > 100)
    model = model_of("llama")
    with torch.inference_mode():
        shared, alone = (shared_prefixes.last_hidden(model, requests, CPU, how, 4096) for how in (True, False))
    assert torch.allclose(shared, alone, atol=1e-4)


def computed(model: Any) -> list[tuple[int, int]]:
    """The shape of the tokens of every forward from now on."""
    shapes: list[tuple[int, int]] = []

    def seen(module: Any, inputs: Sequence[torch.Tensor]) -> None:
        shapes.append((inputs[0].shape[0], inputs[0].shape[1]))

    model.get_input_embeddings().register_forward_pre_hook(seen)
    return shapes


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("begin", [0, 40])
def test_sharing_computes_few_tokens_and_changes_nothing(attention: str, begin: int) -> None:
    model, requests = model_of("llama", attention), some_requests(9, begin)
    shapes = computed(model)
    with torch.inference_mode():
        alone = shared_prefixes.last_hidden(model, requests, CPU, False, 800)
        plain = sum(rows * width for rows, width in shapes)
        assert all(rows * width <= 800 for rows, width in shapes)
        shapes.clear()
        shared = shared_prefixes.last_hidden(model, requests, CPU, True, 800)
    assert torch.allclose(shared, alone, atol=1e-4)
    assert sum(rows * width for rows, width in shapes) < plain / 3
    assert all(rows * (width + begin) <= 800 for rows, width in shapes[begin > 0 :]), "what is lent counts too"


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_cannot_be_told_what_a_token_sees_compute_each_request_alone(family: str) -> None:
    model, requests = model_of(family), some_requests(3)
    with torch.inference_mode():
        assert shared_prefixes.can_share(model, CPU) is FAMILIES[family]
        if FAMILIES[family]:
            shared, alone = (shared_prefixes.last_hidden(model, requests, CPU, how, 4096) for how in (True, False))
            assert torch.allclose(shared, alone, atol=1e-4)


def test_sixteen_bits_are_told_from_a_wrong_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama").to(torch.bfloat16)
    with torch.inference_mode():
        assert shared_prefixes.can_share(model, CPU)
        monkeypatch.setattr(shared_prefixes, "_mask", lambda rows, root, dtype, device: None)
        assert not shared_prefixes.can_share(model, CPU)


@settings(max_examples=25, deadline=None)
@given(requests=requests_of_few_words)
def test_any_requests_get_what_they_get_alone(requests: list[list[int]]) -> None:
    with torch.inference_mode():
        shared, alone = (shared_prefixes.last_hidden(LLAMA, requests, CPU, how, 512) for how in (True, False))
    assert torch.allclose(shared, alone, atol=1e-4)


LLAMA = model_of("llama", "sdpa")


def test_attention_that_reads_no_mask_computes_each_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash attention does: a mask of ours would fail on the GPU, or not be read."""
    model = model_of("llama", "sdpa")
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    shapes = computed(model)
    assert not shared_prefixes.can_share(model, CPU)
    assert shapes == [], "it is not even tried"
    assert shared_prefixes.why_alone(model).startswith("flash_attention_2 cannot share")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("no memory"),
        torch.AcceleratorError("device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices"),
    ],
)
def test_a_failure_of_the_device_is_not_the_familys(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise error

    model = model_of("llama", "sdpa")
    monkeypatch.setattr(shared_prefixes, "_mask", broken)
    with pytest.raises(type(error), match=str(error)):
        shared_prefixes.can_share(model, CPU)


def test_a_device_that_is_gone_is_noticed_whatever_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("something of the family's")

    model = model_of("llama", "sdpa")
    monkeypatch.setattr(shared_prefixes, "_mask", broken)
    assert not shared_prefixes.can_share(model, CPU)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **how: _dead() if size == (1,) else zeros(*size, **how))
    with pytest.raises(ValueError, match="of the family's"):
        shared_prefixes.can_share(model, CPU)


def _dead() -> Any:
    raise RuntimeError("unspecified launch failure")
