"""The backends with a model on a second device (``second_device``), family by family: the CPU's numbers, no mix.

What such a stub cannot run: kernels of a real GPU (flash attention, Liger, bitsandbytes, grouped experts, for which the
experts' loop stands in), vLLM, and what runs in other processes (lm-eval, ranks). A prompt on the CPU is no error in
transformers' own ``generate``, which moves it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from engine.backends import left_padding, lm_head, shared_prefixes
from engine.backends.continuous_batching import GenerationRequest, Writer, Writing, can_refill
from engine.backends.sampling import Sampling
from tests.support.second_device import CPU, CUDA, Ledger, second_device
from tests.support.small_models import model_of

START = list(range(1, 41))
REQUESTS = [[*START, *range(50, 90), 7, n] for n in range(6)] + [[*START, *range(100, 140), 8, n] for n in range(6)]
MIX = "Expected all tensors to be on the same device"
Found = dict[str, Any]
FAMILIES = ("llama", "bloom", "rwkv", "qwen2_moe", "gemma2", "recurrent_gemma")
"""Each kind of layer once."""


def model_on(family: str, device: torch.device) -> Any:
    """A tiny model on ``device``."""
    made = model_of(family)
    made.config._experts_implementation = "eager"
    return made.to(device)


def judged(model: Any, device: torch.device) -> Found:
    """The judge's logits, with what the requests share computed once where the family can."""
    with torch.inference_mode():
        shared = shared_prefixes.can_share(model, device)
        hidden = shared_prefixes.last_hidden(model, REQUESTS, device, shared, 4096)
        logits = lm_head.read(model, Path("folder")).logits(model, hidden)
    assert logits.device == device
    return {"shared": shared, "logits": logits.tolist()}


def written(model: Any, device: torch.device) -> Found:
    """Replies, drawn in slots where the family can, else in whole batches."""
    work = Writing.begin([GenerationRequest(ids[:n], 5, n) for n, ids in zip((5, 9, 9, 30), REQUESTS, strict=False)])
    writer, how = Writer(model, device, [2], 0, 3), Sampling(0.8, 0.9)
    with torch.inference_mode():
        refills = can_refill(model, device)
        together = left_padding.together(model, 0, 512, device)
        if refills:
            writer.write(work, how, lambda _: None)
        else:
            writer.write_whole(work, how, lambda _: None, together)
    return {"refills": refills, "together": together, "replies": work.written}


def learned(model: Any, device: torch.device) -> Found:
    """Loss and gradients of a step."""
    ids = torch.tensor([row[:20] for row in REQUESTS[:3]], device=device)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert {one.device for one in (*model.parameters(), *gradients)} == {device}
    return {"loss": loss.item(), "gradients": [one.norm().item() for one in gradients]}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_on_the_second_device_gives_the_cpus_numbers(family: str) -> None:
    def all_of(device: torch.device) -> Found:
        model = model_on(family, device)
        return judged(model, device) | written(model, device) | learned(model, device)

    expected = all_of(CPU)
    with second_device():
        assert all_of(CUDA) == expected


# ------------------------------------------------------------------------------------- one tensor made beside the model


def beside(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, place: int) -> None:
    """Have ``owner.name`` be given the CPU, whatever device it is called with as its argument ``place``."""
    real = getattr(owner, name)

    def made(*args: Any) -> Any:
        return real(*args[:place], CPU, *args[place + 1 :])

    monkeypatch.setattr(owner, name, made)


Broken = tuple[Callable[[Any, torch.device], Found], Any, str, int]
BROKEN: dict[str, Broken] = {
    "the mask of shared requests": (judged, shared_prefixes, "_mask", 3),
    "token ids": (judged, shared_prefixes, "pad", 1),
    "what is written": (written, Writer, "__init__", 2),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_tensor_beside_the_model_is_an_error(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a family that cannot share or refill, which would only be slower in silence."""
    work, owner, name, place = BROKEN[what]
    beside(monkeypatch, owner, name, place)
    with second_device():
        model = model_on("llama", CUDA)
        with pytest.raises(RuntimeError, match=MIX):
            work(model, CUDA)


# ------------------------------------------------------------------------------------------------------ the stub itself


@pytest.fixture
def two() -> Any:
    """Tensors of two rows and three columns: there, and on the CPU."""
    with second_device():
        yield torch.ones(2, 3, device=CUDA), torch.ones(2, 3)


MIXES: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "sum": lambda there, here: there + here,
    "cat": lambda there, here: torch.cat([there, here]),
    "mask": lambda there, here: there.masked_fill_(here > 0, 1.0),
    "where": lambda there, here: torch.where(here > 0, there, there),
    "embedding": lambda there, here: functional.embedding(here[0].long(), there),
    "indices there": lambda there, here: here[there[0].long()],
    "in place": lambda there, here: here.add_(there),
    "a view": lambda there, here: there.T @ here[:, :1],
    "attention": lambda there, here: functional.scaled_dot_product_attention(there[None], there[None], here[None]),
    "loss": lambda there, here: functional.cross_entropy(there, here[:, 0].long()),
    "foreach": lambda there, here: torch._foreach_add([there], [here]),
}


@pytest.mark.parametrize("what", MIXES)
def test_a_mix_is_refused_as_torch_refuses_it(what: str, two: Any) -> None:
    with pytest.raises(RuntimeError, match=MIX):
        MIXES[what](*two)


KEPT: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "a number of the CPU": lambda there, here: there * here.sum(),
    "indices of the CPU": lambda there, here: there[here[0, :1].long()],
    "what is like it": lambda there, here: torch.zeros_like(there) + there.new_zeros(3),
    "a copy": lambda there, here: torch.zeros_like(there).copy_(here),
    "moved": lambda there, here: here.to(there) + here.to(CUDA) + here.cuda() + here.to("cuda", torch.float32),
    "causal attention": lambda there, here: functional.scaled_dot_product_attention(
        there[None], there[None], there[None], is_causal=True
    ),
    "made there": lambda there, here: torch.arange(3, device=there.device) + torch.tensor([1, 2, 3], device="cuda"),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_torch_allows_stays_on_the_second_device(what: str, two: Any) -> None:
    assert KEPT[what](*two).device == CUDA


def test_going_back_is_a_copy_on_the_cpu_with_its_gradient(two: Any) -> None:
    there, here = two
    weight = there.clone().requires_grad_(True)
    (weight.cpu() * here).sum().backward()
    assert weight.grad is not None
    assert weight.grad.device == CUDA
    assert (there.cpu() + here).device == torch.zeros_like(there, device="cpu").device == CPU
    assert (weight.is_cuda, here.is_cuda, there.get_device()) == (True, False, 0)
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        there.numpy()


def test_memory_that_is_used_again_is_not_taken_for_the_second_device() -> None:
    with second_device() as ledger:
        assert isinstance(ledger, Ledger)
        for _ in range(64):
            torch.ones(1000, device=CUDA)
            assert torch.ones(1000).device == CPU
