"""Replies of a local model, many at a time: equal to one at a time, whatever makes room, pauses or does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, MambaConfig, MistralConfig, OPTConfig

from engine.backends import Call, Generation, ReplyProgress, hf
from engine.backends.continuous_batching import can_refill
from engine.chat.render import render_prompt
from engine.errors import Paused
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("own_models")

SIZES = {"vocab_size": 340, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
FAMILIES = {
    "sliding": (MistralConfig(**SIZES, intermediate_size=48, num_key_value_heads=2, sliding_window=6), True),
    "learned": (GPT2Config(vocab_size=340, n_embd=32, n_head=4, n_layer=2, n_positions=512), True),
    "offset": (OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=512), True),
    "distance": (BloomConfig(vocab_size=340, hidden_size=32, n_head=4, n_layer=2), True),
    "recurrent": (MambaConfig(vocab_size=340, hidden_size=32, num_hidden_layers=2, state_size=8), False),
}


def calls(temperature: float = 0.0, limit: int = 24) -> list[Call]:
    """Nine requests of different lengths."""
    asked = [chat[:1] for chat in tiny.chats(9)]
    return [Call(i, chat, limit, temperature, 0.9, 100 + i) for i, chat in enumerate(asked)]


def write(
    model: hf.HF, asked: Sequence[Call], keep: Path, rows: int = 3, watch: Callable[[ReplyProgress], object] = str
) -> list[Generation]:
    return model.write(asked, rows=rows, watch=watch, keep=keep)  # type: ignore[arg-type]


def naive(folder: Path, model: hf.HF, asked: Sequence[Call]) -> list[list[int]]:
    """Each reply by itself, a whole forward for each token."""
    plain = AutoModelForCausalLM.from_pretrained(folder)
    out = []
    for call in asked:
        ids = render_prompt(model.tokenizer, call.chat, 512)
        own: list[int] = []
        while len(own) < call.max_new_tokens and (not own or own[-1] not in model.loaded.stops):
            with torch.no_grad():
                own.append(int(plain(torch.tensor([ids + own]), use_cache=False).logits[0, -1].argmax()))
        out.append(own)
    return out


def family(folder: Path, name: str) -> Path:
    """A random model of a family with the tests' tokenizer."""
    tokenizer = tiny.make_tokenizer()
    config = FAMILIES[name][0]
    config.update(
        {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    )
    config.update({"initializer_range": 0.4, "init_std": 0.4})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_replies_in_slots_equal_replies_alone(tmp_path: Path, name: str) -> None:
    """Nine requests in three slots: most are laid beside replies that are half written."""
    folder = family(tmp_path / name, name)
    model = hf.load(folder, device="cpu", threads=1)
    asked = calls()
    found = write(model, asked, tmp_path / "kept")
    assert model.loaded.refills == FAMILIES[name][1]
    for own, reply in zip(naive(folder, model, asked), found, strict=True):
        ended = own[-1] in model.loaded.stops
        assert reply.text == model.tokenizer.decode(own[:-1] if ended else own, skip_special_tokens=True)
        assert (reply.finish_reason, reply.tokens_out) == ("stop" if ended else "length", len(own))
        assert reply.seconds > 0


def test_a_model_that_reads_the_mask_otherwise_is_found(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(family(tmp_path / "m", "learned"))
    assert can_refill(model, torch.device("cpu"))
    forward = model.forward
    model.forward = lambda input_ids, **kw: forward(input_ids, **{**kw, "attention_mask": None})
    assert not can_refill(model, torch.device("cpu"))


class Stop:
    """Pauses after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, going: ReplyProgress) -> None:
        self.left -= 1
        if self.left < 0:
            raise Paused


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family_name", ["", "recurrent"])
def test_a_pause_anywhere_changes_no_byte(
    tmp_path: Path, tiny_model: Path, temperature: float, family_name: str
) -> None:
    folder = family(tmp_path / "m", family_name) if family_name else tiny_model
    keep, asked = tmp_path / "kept", calls(temperature)
    steps: list[int] = []
    rest: list[int] = []
    whole = write(hf.load(folder, device="cpu", threads=1), asked, keep, watch=lambda going: steps.append(going.tokens))
    assert not keep.exists(), "there is nothing to keep when all are whole"
    for after in (0, 1, 2, 5, 11, 23, len(steps) - 2):
        hf.release()
        with pytest.raises(Paused):
            write(hf.load(folder, device="cpu", threads=1), asked, keep, watch=Stop(after))
        hf.release()
        rest.clear()
        again = write(
            hf.load(folder, device="cpu", threads=1), asked, keep, watch=lambda going: rest.append(going.tokens)
        )
        assert again == whole
        assert family_name or len(rest) == len(steps) - after, "one look before, and no step is made again"


def test_what_was_kept_for_other_requests_is_not_taken(tmp_path: Path, tiny_model: Path) -> None:
    keep = tmp_path / "kept"
    model = hf.load(tiny_model, device="cpu", threads=1)
    with pytest.raises(Paused):
        write(model, calls(1.0), keep, watch=Stop(8))
    assert keep.exists()
    other = [Call(c.tag, c.chat, c.max_new_tokens, 1.0, c.top_p, c.seed + 50) for c in calls(1.0)]
    assert write(model, other, keep) == write(model, other, tmp_path / "elsewhere")
    keep.write_bytes(b"torn")
    assert write(model, other, keep) == write(model, other, tmp_path / "elsewhere")


def test_a_reply_draws_by_its_own_seed(tmp_path: Path, tiny_model: Path) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    asked = calls(1.2)
    together = write(model, asked, tmp_path / "kept", rows=9)
    assert write(model, asked[4:5], tmp_path / "kept") == together[4:5]
    assert write(model, [*asked[:4], *asked[5:]], tmp_path / "kept", rows=2) == [*together[:4], *together[5:]]
    twice = [Call(i, asked[0].chat, 24, 1.2, 1.0, i) for i in range(6)]
    assert len({reply.text for reply in write(model, twice, tmp_path / "kept")}) > 1


@pytest.mark.parametrize(("fits", "error"), [(2, MemoryError()), (0, torch.OutOfMemoryError("out of memory"))])
def test_what_does_not_fit_is_written_in_fewer_rows(
    tmp_path: Path, tiny_model: Path, fits: int, error: Exception
) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    whole = write(model, calls(), tmp_path / "kept", rows=9)

    def full(_: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > fits:
            raise error

    model.loaded.model.register_forward_pre_hook(full, with_kwargs=True)
    found: list[Generation] = write(model, calls(), tmp_path / "kept", rows=9)
    if fits:
        assert found == whole
    else:
        assert all("does not fit into memory" in str(reply.error) for reply in found)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("out of memory")])
def test_no_memory_before_any_reply_has_begun_is_no_reason_to_try_forever(
    tmp_path: Path, tiny_model: Path, error: Exception
) -> None:
    def full(_: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        write(hf.load(tiny_model, device="cpu", threads=1), calls(), tmp_path / "kept", watch=full)


def test_who_looks_on_sees_replies_grow(tmp_path: Path, tiny_model: Path) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    seen: list[tuple[int, int, str, int]] = []
    found = write(
        model, calls(), tmp_path / "kept", watch=lambda g: seen.append((g.done, g.tokens, g.text(), len(g.replies())))
    )
    assert [tokens for _, tokens, _, _ in seen] == sorted(tokens for _, tokens, _, _ in seen)
    assert seen[-1][:2] == (9, sum(reply.tokens_out for reply in found))
    assert all(done == whole for done, _, _, whole in seen)
    assert any(any(reply.text.startswith(text) for reply in found) for _, _, text, _ in seen if text)
