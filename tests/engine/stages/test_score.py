"""Scoring: losses and embeddings equal a naive reference, and a resumed run equals an undisturbed one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from engine.backends import Scored, hf
from engine.chat.render import Rendered, render
from engine.errors import StageError
from engine.runtime.context import StoreCtx
from engine.signals import losses, round_models
from engine.stages import score, train
from engine.store import write
from engine.store.rows import CachedLoss, Cluster, Flaw, Lenses, Losses, Message, Metric, Neighbourhood
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("own_models")

TOO_LONG = tiny.chat("red " * 200, "ok")
CHATS = [
    *tiny.chats(20),
    (Message("system", "be brief"), *tiny.chat("sort red blue", "blue red", "again", "blue red")),
    TOO_LONG,
    tiny.chat("sort 0: sort the", "the sort, again"),  # the first prompt with another answer
]


class Killed(BaseException):
    """Stands for kill -9."""


def embeddings(ctx: StoreCtx) -> NDArray[np.float16]:
    """What the stage has published, [n, hidden]."""
    file = ctx.artifact("embeddings")
    assert file is not None
    found: NDArray[np.float16] = np.load(file)
    return found


class KilledAt(StoreCtx):
    """Killed instead of the n-th save."""

    left = 1

    def save(self, rows: Any, done: int | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed
        super().save(rows, done)


class KilledWithClusters(StoreCtx):
    """Killed just before, or just after, the neighbours and clusters are saved."""

    after = False

    def save(self, rows: Any, done: int | None = None) -> None:
        last = any(isinstance(row, Cluster) for row in rows)
        if last and not self.after:
            raise Killed
        super().save(rows, done)
        if last:
            raise Killed


def trained(folder: Path, model: Path, extra: str = "") -> tiny.Project:
    config = tiny.make_config(model, extra)
    calm = replace(config, train=replace(config.train, learning_rate=0.003))  # far from the base, all is one cluster
    out = tiny.Project(folder, calm, CHATS)
    train.run(out.ctx("train"))
    return out


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    out = trained(tmp_path_factory.mktemp("score") / "p", tiny_model)
    score.run(out.ctx("score"))
    return out


@pytest.fixture(scope="module")
def naive(scored: tiny.Project, tiny_model: Path) -> list[tuple[Any, ...] | None]:
    """Loss before and after of the last answer, embedding, losses of all answers, of each sample from full logits."""
    tokenizer = tiny.make_tokenizer()
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    folder = scored.ctx("score").artifact("checkpoint")
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder).eval()
    out: list[tuple[Any, ...] | None] = []
    for chat in CHATS:
        row = render(tokenizer, chat, 96)
        if row.error:
            out.append(None)
            continue
        losses = []
        for model in (base, tuned):
            with torch.no_grad():
                answer = model(torch.tensor([row.ids]), output_hidden_states=True)
            each = cross_entropy(answer.logits[0, :-1], torch.tensor(row.ids[1:]), reduction="none")
            last = [i >= row.prompt_end and learned for i, learned in enumerate(row.mask)]
            losses.append([float(each[torch.tensor(mask[1:])].mean()) for mask in (last, row.mask)])
        said = tokenizer("\n\n".join(m.content for m in chat[:-1] if m.role != "system"), return_tensors="pt")
        with torch.no_grad():
            states = tuned(said["input_ids"], output_hidden_states=True).hidden_states[-1]
        out.append((losses[0][0], losses[1][0], states[0].mean(0).numpy(), losses[0][1], losses[1][1]))
    return out


def outcome(project: tiny.Project) -> tuple[Any, ...]:
    ctx = project.ctx("score")
    paths = [ctx.artifact(name) for name in ("embeddings", "map")]
    rows = [ctx.rows(kind) for kind in (Losses, Lenses, Flaw, Neighbourhood, Cluster, CachedLoss)]
    return *rows, *(path.read_bytes() for path in paths if path), None not in paths


def test_losses_equal_the_naive_reference(scored: tiny.Project, naive: list[Any]) -> None:
    ctx = scored.ctx("score")
    rows = {row.sample_id: row for row in ctx.rows(Losses)}
    assert len(rows) == len(CHATS)
    for sample, expected in zip(ctx.dataset(), naive, strict=True):
        row = rows[sample.id]
        if expected is None:
            assert (row.loss_before, row.loss_after) == (None, None)
            assert "the prompt alone has" in str(row.score_error)
        else:
            assert (row.loss_before, row.loss_after) == pytest.approx(expected[:2], abs=1e-4)
            assert row.score_error is None
            whole = (row.conversation_before, row.conversation_after)
            several = sum(m.role == "assistant" for m in sample.messages) > 1
            assert whole == (pytest.approx(expected[3:], abs=1e-4) if several else (None, None))


def test_a_conversation_is_measured_by_its_last_answer(scored: tiny.Project, naive: list[Any]) -> None:
    """As it is rated and rewritten; how hard its other answers are changes nothing."""
    ctx = scored.ctx("score")
    (sample,) = (s for s in ctx.dataset() if len(s.messages) == 5)
    row = next(r for r in ctx.rows(Losses) if r.sample_id == sample.id)
    assert row.conversation_before is not None
    assert abs(row.conversation_before - float(str(row.loss_before))) > 0.01
    rendered = render(tiny.make_tokenizer(), sample.messages, 96)
    assert row.prompt_tokens + row.response_tokens == len(rendered.ids) - 1, "a line break ends the row"
    again = next(c for c in ctx.rows(CachedLoss) if c.sample_id == sample.id)
    assert (again.loss, again.conversation) == (row.loss_before, row.conversation_before)


def test_embeddings_are_the_mean_of_what_the_prompt_says(scored: tiny.Project, naive: list[Any]) -> None:
    path = scored.ctx("score").artifact("embeddings")
    assert path is not None
    array = np.load(path, mmap_mode="r")
    assert (array.shape, array.dtype) == ((len(CHATS), 32), np.float16)
    for row, expected in zip(array, naive, strict=True):
        if expected is None:
            assert np.isnan(row).all()
        else:
            np.testing.assert_allclose(row.astype(np.float32), expected[2], atol=2e-3)


def test_neighbours_are_other_prompts(scored: tiny.Project, naive: list[Any]) -> None:
    ctx = scored.ctx("score")
    ids = [sample.id for sample in ctx.dataset()]
    rows = {row.sample_id: row for row in ctx.rows(Neighbourhood)}
    assert set(ids) - set(rows) == {ids[-2]}, "what has no embedding has no neighbourhood"
    array = embeddings(ctx).astype(np.float32)[[*range(21)]]
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    for i in range(21):
        nearest = np.argsort(-cosine[i], kind="stable")[:2]
        assert json.loads(rows[ids[i]].neighbours) == [ids[j] for j in nearest]
        assert rows[ids[i]].similarity == pytest.approx(cosine[i, nearest].mean(), abs=1e-3)
    assert rows[ids[-1]].neighbours == rows[ids[0]].neighbours, "a copy of a prompt is no neighbour"


@pytest.mark.parametrize("saves", [0, 2, 5, 8, 9])
def test_killed_and_resumed_equals_undisturbed(
    tmp_path: Path, tiny_model: Path, scored: tiny.Project, saves: int
) -> None:
    killed = trained(tmp_path / "p", tiny_model)
    ctx = KilledAt(killed.db, killed.folder, killed.config, 0, "score")
    ctx.left = saves
    with pytest.raises(Killed):
        score.run(ctx)
    hf.release()
    score.run(killed.ctx("score"))
    assert outcome(killed) == outcome(scored)


@pytest.mark.parametrize("after", [False, True])
def test_killed_around_the_clusters_writes_the_same_ones(
    tmp_path: Path, tiny_model: Path, scored: tiny.Project, after: bool
) -> None:
    assert len(scored.ctx("score").rows(Cluster)) > 1
    killed = trained(tmp_path / "p", tiny_model)
    ctx = KilledWithClusters(killed.db, killed.folder, killed.config, 0, "score")
    ctx.after = after
    with pytest.raises(Killed):
        score.run(ctx)
    hf.release()
    score.run(killed.ctx("score"))
    assert outcome(killed) == outcome(scored)


def test_clusters_are_of_samples_with_an_embedding_and_reset_with_the_stage(tmp_path: Path, tiny_model: Path) -> None:
    one = trained(tmp_path / "p", tiny_model)
    score.run(one.ctx("score"))
    before = outcome(one)
    rows = one.ctx("score").rows(Neighbourhood)
    sizes = {c.cluster: c.size for c in one.ctx("score").rows(Cluster)}
    assert sizes == {n: sum(row.cluster == n for row in rows) for n in sizes}
    assert {row.cluster for row in rows} <= {*sizes, -1}
    copy = [row.cluster for row in rows if row.sample_id in (one.ctx("x").dataset()[i].id for i in (0, -1))]
    assert copy[0] == copy[1], "the same prompt with another answer"
    write.reset(one.db, 0, ["score"])
    assert one.ctx("score").rows(Cluster) == []
    assert one.ctx("score").rows(Neighbourhood) == []
    score.run(one.ctx("score"))
    assert outcome(one) == before


def test_running_it_again_does_nothing(scored: tiny.Project) -> None:
    score.run(KilledAt(scored.db, scored.folder, scored.config, 0, "score"))


def test_losses_before_come_from_the_cache(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trained(tmp_path / "p", tiny_model)
    score.run(one.ctx("score"))
    config = tiny.make_config(tiny_model, "[train]\nlearning_rate = 0.02\n[score]\nembed = 'in_template'\n")
    train.run(one.ctx("train", round=1, config=config))
    passes: list[bool] = []
    real = hf.HF.score

    def noted(self: hf.HF, rows: Sequence[Rendered], embed: bool = True, tokens: bool = False) -> list[Scored]:
        passes.append(embed)
        return real(self, rows, embed, tokens)

    monkeypatch.setattr(hf.HF, "score", noted)
    score.run(one.ctx("score", round=1, config=config))
    assert passes
    assert all(passes), "no pass without embeddings: nothing under the base model"
    first, second = (one.ctx("score").rows(Losses, round=r) for r in (0, 1))
    assert [a.loss_before for a in first] == [b.loss_before for b in second]
    assert [a.loss_after for a in first] != [b.loss_after for b in second]
    read = [[replace(row, round=0) for row in one.ctx("score").rows(Lenses, round=r)] for r in (0, 1)]
    assert read[0] == read[1]
    assert len(read[0]) == len(one.ctx("score").rows(Flaw, round=1)) == len(CHATS) - 1


def test_previous_rounds_loss_after_is_this_rounds_loss_before(tmp_path: Path, tiny_model: Path) -> None:
    one = trained(tmp_path / "p", tiny_model, '[train]\ninit = "previous"\n')
    score.run(one.ctx("score"))
    train.run(one.ctx("train", round=1))
    score.run(one.ctx("score", round=1))
    first, second = (one.ctx("score").rows(Losses, round=r) for r in (0, 1))
    assert [a.loss_after for a in first] == [b.loss_before for b in second]
    lenses = [[replace(row, round=0) for row in one.ctx("score").rows(Lenses, round=r)] for r in (0, 1)]
    assert lenses[0] == lenses[1] != [], "the base model's in every round"


def test_a_new_checkpoint_is_scored_anew(tmp_path: Path, tiny_model: Path) -> None:
    one = trained(tmp_path / "p", tiny_model)
    score.run(one.ctx("score"))
    old = one.ctx("score").rows(Losses)
    one.db.execute("DELETE FROM artifact WHERE name='checkpoint'")
    config = tiny.make_config(tiny_model, "[train]\nlearning_rate = 0.02\n")
    train.run(one.ctx("train", config=config))
    score.run(one.ctx("score", config=config))
    new = one.ctx("score").rows(Losses)
    assert [a.loss_before for a in old] == [b.loss_before for b in new]
    assert all(a.loss_after != b.loss_after for a, b in zip(old, new, strict=True) if not a.score_error)


def test_full_training_is_scored_with_two_models(tmp_path: Path, tiny_model: Path) -> None:
    full = trained(tmp_path / "p", tiny_model, '[train]\nmethod = "full"\n')
    score.run(full.ctx("score"))
    rows = [row for row in full.ctx("score").rows(Losses) if not row.score_error]
    assert all(row.loss_before != row.loss_after for row in rows)


def test_in_bfloat16_training_and_losses_are_near_those_of_float32(
    tmp_path: Path, tiny_model: Path, scored: tiny.Project
) -> None:
    half = trained(tmp_path / "p", tiny_model, '[model]\ndtype = "bfloat16"\n')
    score.run(half.ctx("score"))
    model = round_models.open_model(half.config.model, round_models.after_model(half.ctx("score"))).loaded.model
    assert {p.dtype for n, p in model.named_parameters() if "lora_" not in n} == {torch.bfloat16}
    folder = half.ctx("score").artifact("checkpoint")
    assert folder is not None
    adapter = load_file(folder / "adapter_model.safetensors")
    assert {t.dtype for t in adapter.values()} == {torch.float32}
    assert all(bool(t.isfinite().all()) for t in adapter.values())
    assert any(bool(t.any()) for n, t in adapter.items() if "lora_B" in n), "it has learned"
    for ours, exact in zip(half.ctx("score").rows(Losses), scored.ctx("score").rows(Losses), strict=True):
        assert ours.loss_before == pytest.approx(exact.loss_before, rel=1e-2)
        assert ours.loss_after == pytest.approx(exact.loss_after, rel=1e-2)
    steps = [m.loss for m in half.ctx("train").rows(Metric)]
    assert steps == pytest.approx([m.loss for m in scored.ctx("train").rows(Metric)], rel=1e-2)


def test_bare_prompts_are_embedded_without_the_template(tmp_path: Path, tiny_model: Path, scored: tiny.Project) -> None:
    bare = trained(tmp_path / "p", tiny_model, '[score]\nembed = "bare_prompt"\n')
    score.run(bare.ctx("score"))
    tuned = round_models.open_model(bare.config.model, round_models.after_model(bare.ctx("score")))
    ids = tuned.tokenizer(CHATS[3][0].content, add_special_tokens=False)["input_ids"]
    with tuned._active():
        expected = tuned._hidden(torch.tensor([ids]))[0].mean(0).numpy()
    array = embeddings(bare.ctx("score"))
    np.testing.assert_allclose(array[3].astype(np.float32), expected, atol=2e-3)
    assert [r.loss_after for r in bare.ctx("x").rows(Losses)] == pytest.approx(
        [r.loss_after for r in scored.ctx("x").rows(Losses)], abs=1e-4
    )


def test_candidates_are_measured_as_samples_are(scored: tiny.Project) -> None:
    ctx = scored.ctx("verify")
    rows = {row.sample_id: row for row in ctx.rows(Losses)}
    measured = losses.measure(ctx, CHATS)
    array = embeddings(ctx)
    for i, (sample, found) in enumerate(zip(ctx.dataset(), measured, strict=True)):
        row = rows[sample.id]
        assert (found.loss_before, found.loss_after) == pytest.approx((row.loss_before, row.loss_after), abs=1e-5)
        assert found.error == row.score_error
        assert (found.lenses.ifd is None) == bool(found.error)
        if found.embedding is not None:
            np.testing.assert_allclose(array[i], found.embedding, atol=2e-3)


def test_one_prompt_alone_has_no_neighbourhood(tmp_path: Path, tiny_model: Path) -> None:
    one = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), [tiny.chat("a", "b"), tiny.chat("a", "c")])
    train.run(one.ctx("train"))
    score.run(one.ctx("score"))
    assert one.ctx("score").rows(Neighbourhood) == []
    assert "fewer than two distinct prompts" in one.events()[-1]


def test_without_a_checkpoint_it_says_what_to_run(tmp_path: Path, tiny_model: Path) -> None:
    one = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), CHATS[:2])
    with pytest.raises(StageError, match=r"round 0 has no checkpoint\. Run its train stage first"):
        score.run(one.ctx("score"))


def test_an_adapter_is_added_into_the_weights_and_taken_out_bit_for_bit(scored: tiny.Project) -> None:
    ref = round_models.after_model(scored.ctx("score"))
    assert ref.adapter is not None
    hf.release()
    base, tuned = (hf.load(ref.base, adapter, device="cpu", threads=1) for adapter in (None, ref.adapter))
    rows = [render(base.tokenizer, chat, 96) for chat in CHATS[:9]]
    before, weights = base.score(rows), {k: v.clone() for k, v in base.loaded.model.state_dict().items()}
    summed = tuned.score(rows)
    assert tuned.loaded.sums[str(tuned.adapter)], "every linear layer"
    assert all(torch.equal(v, weights[k]) for k, v in base.loaded.model.state_dict().items())
    assert [one.loss for one in base.score(rows)] == [one.loss for one in before]
    tuned.loaded.sums[str(tuned.adapter)] = None
    beside = tuned.score(rows)
    assert [one.loss for one in summed] == pytest.approx([one.loss for one in beside], abs=1e-5)
    assert [one.loss for one in summed] != pytest.approx([one.loss for one in before], abs=1e-3)
    for one, other in zip(summed, beside, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)
