"""Training: exactly our mask is learned, and whatever interrupts it, the result is the same to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaModel

from engine.chat.render import render
from engine.doctor import report
from engine.doctor.fit import Device
from engine.errors import ModelError, Paused, StageError
from engine.runtime.context import StoreCtx
from engine.stages import train
from engine.store.rows import Artifact, Metric
from engine.training import trainer
from tests.support import tiny
from tests.support.small_models import model_of

CHATS = tiny.chats(40)  # batches of 4, two per step: 5 steps an epoch


class Killed(BaseException):
    """Stands for kill -9: nothing in the engine may catch it."""


class Interrupted(StoreCtx):
    """Something happens once the row of step ``at`` is written."""

    at = 4
    kill = False

    def save(self, rows: Any, done: int | None = None) -> None:
        if self.kill and any(isinstance(row, Metric) and row.step == self.at for row in rows):
            raise Killed
        if any(isinstance(row, Metric) and row.step == self.at for row in rows):
            self._db.execute("UPDATE plan SET want='pause'")
        super().save(rows, done)


def project(folder: Path, model: Path, extra: str = "", chats: Any = CHATS) -> tiny.Project:
    return tiny.Project(folder, tiny.make_config(model, "[train]\nepochs = 2\n" + extra), chats)


def interrupted(project: tiny.Project, kill: bool) -> Interrupted:
    ctx = Interrupted(project.db, project.folder, project.config, 0, "train")
    ctx.kill = kill
    return ctx


def result(project: tiny.Project) -> tuple[dict[str, bytes], dict[str, Any], list[tuple[Any, ...]]]:
    """The published files, their meta, and what was logged (without clocks)."""
    (artifact,) = project.ctx("train").rows(Artifact)
    files = {p.name: p.read_bytes() for p in sorted((project.folder / artifact.path).iterdir())}
    logged = [(m.step, m.epoch, m.loss, m.learning_rate, m.grad_norm) for m in project.ctx("train").rows(Metric)]
    return files, json.loads(artifact.meta), logged


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    done = project(tmp_path_factory.mktemp("train") / "p", tiny_model)
    train.run(done.ctx("train"))
    return done


def test_the_adapter_is_published_with_its_metrics(undisturbed: tiny.Project, tiny_model: Path) -> None:
    files, meta, logged = result(undisturbed)
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "middo.json"]
    assert (meta["method"], meta["base"], meta["steps"]) == ("lora", str(tiny_model), 10)
    assert [row[0] for row in logged] == list(range(1, 11))
    losses = [row[2] for row in logged]
    assert meta["train_loss"] == pytest.approx(sum(losses) / 10)
    assert losses[-1] < losses[0]
    assert all(m.tokens_per_s and m.tokens_per_s > 0 for m in undisturbed.ctx("train").rows(Metric))
    (job,) = undisturbed.db.execute("SELECT done, total FROM job WHERE stage='train'").fetchall()
    assert tuple(job) == (10, 10)
    left = [p.name for p in undisturbed.ctx("train").workdir("checkpoint").iterdir()]
    assert left == ["final"]


def test_each_batch_of_a_step_is_progress(tmp_path: Path, tiny_model: Path) -> None:
    class Told(StoreCtx):
        def progress(self, done: int, partial: float = 0.0) -> None:
            told.append((done, partial))
            self._db.execute("UPDATE plan SET want='pause'")  # in a step; only its end may heed it
            self._reported = 0.0
            super().progress(done, partial)

    told: list[tuple[int, float]] = []
    own = project(tmp_path / "p", tiny_model, "batch_size = 2\ngradient_accumulation = 4\n")
    with pytest.raises(Paused):
        train.run(Told(own.db, own.folder, own.config, 0, "train"))

    assert told == [(0, 0.25), (0, 0.5), (0, 0.75)]
    assert own.db.execute("SELECT done, partial FROM job WHERE stage='train'").fetchone()[:] == (1, 0)


def test_running_it_again_does_nothing(undisturbed: tiny.Project) -> None:
    before = result(undisturbed)
    train.run(undisturbed.ctx("train"))
    assert result(undisturbed) == before


def test_nothing_is_printed(tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train.run(project(tmp_path / "p", tiny_model, chats=tiny.chats(8)).ctx("train"))
    assert capfd.readouterr().out == ""


def test_pause_and_resume_give_the_same_bytes(tmp_path: Path, tiny_model: Path, undisturbed: tiny.Project) -> None:
    paused = project(tmp_path / "p", tiny_model)
    with pytest.raises(Paused):
        train.run(interrupted(paused, kill=False))
    assert [m.step for m in paused.ctx("train").rows(Metric)] == [1, 2, 3, 4]
    assert paused.ctx("train").artifact("checkpoint") is None
    paused.want("run")
    train.run(paused.ctx("train"))
    assert "training resumes at step 4" in paused.events()
    assert result(paused) == result(undisturbed)


def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, tiny_model: Path, undisturbed: tiny.Project) -> None:
    killed = project(tmp_path / "p", tiny_model)
    with pytest.raises(Killed):
        train.run(interrupted(killed, kill=True))
    train.run(killed.ctx("train"))
    assert "training resumes at step 3" in killed.events()
    assert result(killed) == result(undisturbed)


@pytest.mark.parametrize("extra", ['method = "full"\n', "packing = true\n", "gradient_checkpointing = true\n"])
def test_other_ways_to_train_resume_to_the_same_bytes(tmp_path: Path, tiny_model: Path, extra: str) -> None:
    whole, killed = (project(tmp_path / name, tiny_model, f"checkpoint_steps = 1\n{extra}") for name in "pq")
    train.run(whole.ctx("train"))
    ctx = interrupted(killed, kill=True)
    ctx.at = 2
    with pytest.raises(Killed):
        train.run(ctx)
    train.run(killed.ctx("train"))
    assert "training resumes at step 1" in killed.events()
    assert result(killed) == result(whole)


def test_a_torn_checkpoint_is_discarded(tmp_path: Path, tiny_model: Path, undisturbed: tiny.Project) -> None:
    torn = project(tmp_path / "p", tiny_model)
    with pytest.raises(Killed):
        train.run(interrupted(torn, kill=True))
    folder = torn.ctx("train").workdir("checkpoint")
    (folder / "checkpoint-3" / train.MARKER).unlink()  # the marker is written last: killed before that
    (folder / "checkpoint-4").mkdir()
    (folder / "checkpoint-4" / train.MARKER).write_text('{"key": "')
    (folder / "final.new").mkdir()
    train.run(torn.ctx("train"))
    assert torn.events() == []
    assert result(torn) == result(undisturbed)


def test_a_checkpoint_of_other_settings_is_discarded(tmp_path: Path, tiny_model: Path) -> None:
    changed = project(tmp_path / "p", tiny_model)
    with pytest.raises(Killed):
        train.run(interrupted(changed, kill=True))
    config = tiny.make_config(tiny_model, "[train]\nepochs = 1\nlearning_rate = 0.02\n")
    train.run(changed.ctx("train", config=config))
    assert not any("resumes" in line for line in changed.events())
    assert [m.step for m in changed.ctx("train").rows(Metric)] == [1, 2, 3, 4, 5]


def test_killed_before_publishing_ends_in_the_same_bytes(
    tmp_path: Path, tiny_model: Path, undisturbed: tiny.Project
) -> None:
    class Unpublished(StoreCtx):
        def publish(self, name: str, path: Path, meta: dict[str, object]) -> None:
            raise Killed

    last = project(tmp_path / "p", tiny_model)
    with pytest.raises(Killed):
        train.run(Unpublished(last.db, last.folder, last.config, 0, "train"))
    assert last.ctx("train").artifact("checkpoint") is None
    train.run(last.ctx("train"))
    assert result(last) == result(undisturbed)


def test_only_the_mask_is_learned(tmp_path: Path, tiny_model: Path) -> None:
    """The first logged loss is the naive loss over the assistant tokens of the first batch, token-weighted."""
    chats = tiny.chats(8)
    one = project(tmp_path / "p", tiny_model, "batch_size = 8\ngradient_accumulation = 1\n", chats)
    train.run(one.ctx("train"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = tiny.make_tokenizer()
    losses: list[float] = []
    for chat in chats:
        row = render(tokenizer, chat, 96)
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0]
        each = cross_entropy(logits[:-1], torch.tensor(row.ids[1:]), reduction="none")
        losses += each[torch.tensor(row.mask[1:])].tolist()
    first = one.ctx("train").rows(Metric)[0].loss
    assert first == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_full_training_saves_a_model_that_loads(tmp_path: Path, tiny_model: Path) -> None:
    full = project(tmp_path / "p", tiny_model, 'method = "full"\n', tiny.chats(8))
    train.run(full.ctx("train"))
    folder = full.ctx("train").artifact("checkpoint")
    assert folder is not None
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert not torch.equal(loaded.lm_head.weight, base.lm_head.weight)
    assert (folder / "tokenizer.json").exists()


def test_packing_learns_the_same_tokens(tmp_path: Path, tiny_model: Path) -> None:
    """All rows in one step: the packed batch has the same mean loss as the padded one."""
    how = "batch_size = 8\ngradient_accumulation = 1\nlora_dropout = 0.0\n"
    losses = []
    for packing in ("false", "true"):
        one = project(tmp_path / packing, tiny_model, f"{how}packing = {packing}\n", tiny.chats(8))
        train.run(one.ctx("train"))
        losses.append(one.ctx("train").rows(Metric)[0].loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_later_round_trains_with_the_same_seed(tmp_path: Path, tiny_model: Path) -> None:
    """On the same dataset it is the same training: rounds differ by their data alone."""
    one = project(tmp_path / "p", tiny_model)
    losses = []
    for round in (0, 3):
        train.run(one.ctx("train", round=round))
        losses.append([m.loss for m in one.ctx("train").rows(Metric, round=round)])
    assert losses[0] == losses[1]


def test_a_packed_batch_is_one_row_without_a_mask(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention is told where samples begin, and costs the square of each alone."""
    seen: list[tuple[int, ...]] = []
    forward = LlamaModel.forward

    def noted(self: Any, input_ids: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append(tuple(input_ids.shape))
        assert options.get("attention_mask") is None, "with one, transformers sees no boundaries"
        return forward(self, input_ids, *arguments, **options)

    one = project(tmp_path / "p", tiny_model, "packing = true\ngradient_accumulation = 1\n", tiny.chats(24))
    monkeypatch.setattr(LlamaModel, "forward", noted)
    train.run(one.ctx("train"))
    assert {rows for rows, _ in seen} == {1}
    assert 96 < max(width for _, width in seen) <= 4 * 96, "train.batch_size rows of model.max_length"
    assert all(m.tokens_per_s and m.tokens_per_s > 0 for m in one.ctx("train").rows(Metric))


def test_a_family_that_mixes_packed_samples_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    folder = tmp_path / "bloom"
    model = model_of("bloom", words=len(tiny.make_tokenizer()))
    model.save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    one = project(tmp_path / "p", folder, "packing = true\n", tiny.chats(8))
    with pytest.raises(
        ModelError, match=r"'bloom' would let packed samples attend to each other\. Set \[train\] packing = false"
    ):
        train.run(one.ctx("train"))


def test_a_model_of_experts_is_saved_with_its_own_settings(tmp_path: Path) -> None:
    """TRL has a router's logits returned; a saved model that does so adds the experts' balance to every loss."""
    folder = tmp_path / "moe"
    model = model_of("qwen2_moe", words=len(tiny.make_tokenizer()))
    model.config.eos_token_id = tiny.make_tokenizer().eos_token_id
    model.save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    one = project(tmp_path / "p", folder, 'method = "full"\n', tiny.chats(8))
    train.run(one.ctx("train"))
    final = one.ctx("train").artifact("checkpoint")
    assert final is not None
    before, after = (json.loads((place / "config.json").read_text()) for place in (folder, final))
    assert {key for key in before if before[key] != after.get(key)} == set()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_goes_on_from_the_previous_round(tmp_path: Path, tiny_model: Path, method: str) -> None:
    extra = f'init = "previous"\nmethod = "{method}"\n'
    two = project(tmp_path / "p", tiny_model, extra, tiny.chats(8))
    train.run(two.ctx("train"))
    train.run(two.ctx("train", round=1))
    first, second = (two.ctx("train").rows(Metric, round=r) for r in (0, 1))
    assert second[0].loss is not None
    assert first[0].loss is not None
    assert second[0].loss < first[0].loss
    folder = two.ctx("train").artifact("checkpoint", 1)
    assert folder is not None
    if method == "lora":
        assert len(load_file(folder / "adapter_model.safetensors")) == 28
        assert json.loads((folder / "middo.json").read_text())["base"] == str(tiny_model)


@pytest.mark.parametrize(("warmup", "first"), [("0.03", ", the first at a learning rate of 0 (warm-up)"), ("0.0", "")])
def test_few_steps_are_warned_of(tmp_path: Path, tiny_model: Path, warmup: str, first: str) -> None:
    """A small dataset with the defaults, which are for thousands of samples: hardly anything is learned."""
    text = f"batch_size = 2\ngradient_accumulation = 4\nwarmup_ratio = {warmup}\n"
    few = project(tmp_path / "p", tiny_model, text, tiny.chats(9))
    train.run(few.ctx("train"))
    assert few.events() == [
        f"only 4 optimizer steps of 8 samples in this round{first}: the model may learn next to nothing."
        " Lower [train] gradient_accumulation, or raise epochs."
    ]
    rates = [m.learning_rate for m in few.ctx("train").rows(Metric)]
    assert (rates[0] == 0) == bool(first)


def test_samples_that_cannot_be_rendered_are_counted(tmp_path: Path, tiny_model: Path) -> None:
    chats = [*tiny.chats(6), tiny.chat("red " * 200, "ok"), tiny.chat("no answer")]
    some = project(tmp_path / "p", tiny_model, "", chats)
    train.run(some.ctx("train"))
    line = some.events()[0]
    assert line.startswith("2 of 8 samples are excluded from training, e.g.: the prompt alone has")
    none = project(tmp_path / "q", tiny_model, "", chats[6:])
    with pytest.raises(StageError, match="none of 2 samples can be trained on"):
        train.run(none.ctx("train"))


def test_answers_that_are_cut_off_are_counted(tmp_path: Path, tiny_model: Path) -> None:
    """A model that is trained on them does not learn to end."""
    cut = project(tmp_path / "p", tiny_model, "", [*tiny.chats(3), tiny.chat("sort", "red " * 200)])
    train.run(cut.ctx("train"))
    line = cut.events()[0]
    assert line.startswith("1 of 4 samples is longer than the limit and loses the end of the last answer: 96 tokens")


def test_balanced_batches_make_the_same_step_with_less_padding(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    collate = trainer.Trainer.compute_loss

    def counted(self: Any, model: Any, inputs: dict[str, torch.Tensor], *more: Any, **options: Any) -> Any:
        seen.append(inputs["input_ids"].numel())
        return collate(self, model, inputs, *more, **options)

    monkeypatch.setattr(trainer.Trainer, "compute_loss", counted)
    whole = f"gradient_accumulation = {len(CHATS) // 4}\nwarmup_ratio = 0.0\nlora_dropout = 0.0\n"
    steps, tokens = [], []
    for balance in ("true", "false"):
        made = tiny.Project(
            tmp_path / balance,
            tiny.make_config(tiny_model, f"[train]\nepochs = 1\nbalance = {balance}\n{whole}"),
            CHATS,
        )
        seen.clear()
        train.run(made.ctx("train"))
        (step,) = made.ctx("train").rows(Metric)  # the whole dataset is one step
        steps.append(step)
        tokens.append(sum(seen))
    assert tokens[0] < tokens[1]
    assert steps[0].loss == pytest.approx(steps[1].loss, rel=1e-5)
    assert steps[0].grad_norm == pytest.approx(steps[1].grad_norm, rel=1e-4)


def test_whether_activations_are_recomputed_is_decided_once(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run goes on as it began, whatever is free by then."""
    made = project(tmp_path / "p", tiny_model)
    config = tiny.make_config(tiny_model, '[train]\nepochs = 1\ngradient_checkpointing = "auto"\n')
    ctx, note = made.ctx("train", config=config), tmp_path / "recompute.json"

    def decided(free: int, key: str) -> bool:
        monkeypatch.setattr(report, "device", lambda config, plan: Device("the CPU", free, cuda=False))
        return train._recompute(ctx, note, key, tiny_model, 60, None)

    assert not decided(1 << 40, "one")
    assert "activations are kept: training would need about" in made.events()[-1]
    assert not decided(1, "one")
    assert decided(1, "another")
    assert decided(1 << 40, "another")
    note.write_text("{", encoding="utf-8")  # killed while it was written
    assert not decided(1 << 40, "another")


def test_kept_and_recomputed_activations_give_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    kept, again = (
        project(tmp_path / str(how), tiny_model, f"gradient_checkpointing = {how}\n") for how in ("false", "true")
    )
    for one in (kept, again):
        train.run(one.ctx("train"))
    assert result(kept)[2] == result(again)[2]
