"""Which checkpoints stay, and that removing one leaves neither its files nor its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.runtime.retention import kept
from engine.stages import train
from engine.store import write
from engine.store.rows import EvalScore
from tests.support import tiny


@pytest.mark.parametrize(
    ("scores", "keep", "stay"),
    [
        ({}, 1, {3}),
        ({}, 2, {2, 3}),
        ({}, 9, {0, 1, 2, 3}),
        ({0: {"heldout_loss": 1.0}, 1: {"heldout_loss": 0.5}, 2: {"heldout_loss": 0.7}}, 1, {1, 3}),
        ({0: {"accuracy": 0.9, "heldout_loss": 1.0}, 1: {"accuracy": 0.5, "heldout_loss": 0.5}}, 1, {0, 3}),
        ({0: {"heldout_loss": 0.5}, 1: {"heldout_loss": 0.5}}, 1, {1, 3}),
    ],
)
def test_the_last_and_the_best_stay(scores: dict[int, dict[str, float]], keep: int, stay: set[int]) -> None:
    rows = {r: {t: EvalScore(r, t, v, None, 8, higher=t != "heldout_loss") for t, v in of.items()}
            for r, of in scores.items()}  # fmt: skip
    assert kept([0, 1, 2, 3], rows, keep) == stay


def test_a_task_can_be_the_main_score() -> None:
    """Whichever way is better, and among rounds that were asked alike."""

    def measured(values: dict[int, float], higher: bool, sources: dict[int, str]) -> dict[int, dict[str, EvalScore]]:
        return {r: {"heldout_loss": EvalScore(r, "heldout_loss", r, None, 8, higher=False),
                    "sums": EvalScore(r, "sums", value, None, 8, "m", higher, sources.get(r, "a"))}
                for r, value in values.items()}  # fmt: skip

    values = {0: 0.9, 1: 0.6, 2: 0.5, 3: 0.7}
    assert kept([0, 1, 2, 3], measured(values, True, {}), 1, ["sums"]) == {0, 3}
    assert kept([0, 1, 2, 3], measured(values, False, {}), 1, ["sums"]) == {2, 3}
    assert kept([0, 1, 2], measured(values, True, {0: "b"}), 1, ["sums"]) == {1, 2}, "round 0 was asked other questions"


def rounds(folder: Path, model: Path, extra: str) -> tiny.Project:
    """Four rounds of training; round 1 is the best one."""
    done = tiny.Project(folder, tiny.make_config(model, f"[train]\n{extra}"), tiny.chats(8))
    for number, loss in enumerate((2.0, 1.0, 1.5, 1.2)):
        train.run(done.ctx("train", round=number))
        write.save(done.db, number, "evaluate", [EvalScore(number, "heldout_loss", loss, None, 8, higher=False)], None)
    return done


def there(project: tiny.Project) -> list[int]:
    ctx = project.ctx("train")
    found = [r for r in range(4) if ctx.artifact("checkpoint", r) is not None]
    on_disk = sorted(int(p.parent.name.removeprefix("round-")) for p in project.folder.glob("artifacts/*/checkpoint"))
    assert on_disk == found, "files and rows agree"
    return found


@pytest.mark.parametrize(
    ("extra", "stay"),
    [
        ("", [0, 1, 2, 3]),
        ("keep_checkpoints = 1\n", [1, 3]),
        ("keep_checkpoints = 2\n", [1, 2, 3]),
        ('keep_checkpoints = 1\ninit = "previous"\n', [1, 2, 3]),
    ],
)
def test_earlier_rounds_go_once_the_next_is_trained(
    tmp_path: Path, tiny_model: Path, extra: str, stay: list[int]
) -> None:
    project = rounds(tmp_path / "p", tiny_model, extra)
    assert there(project) == stay
    said = [line for line in project.events() if line.startswith("removed the checkpoint of round")]
    assert len(said) == 4 - len(stay), "every removal is in the log"


def test_what_is_kept_changes_no_result() -> None:
    """Neither resuming a run nor the mark of a finished stage depends on it."""
    plain, other = (configs.parse(text, "c") for text in ("", "[train]\nkeep_checkpoints = 3\nreport_to = ['wandb']\n"))
    assert configs.slice_hash(plain, ("train",)) == configs.slice_hash(other, ("train",))
    changed = configs.parse("[train]\nlora_r = 8\n", "c")
    assert configs.slice_hash(plain, ("train",)) != configs.slice_hash(changed, ("train",))
