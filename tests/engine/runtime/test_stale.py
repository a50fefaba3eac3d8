"""Whether a person is told that a finished stage would give something else by now."""

from __future__ import annotations

from pathlib import Path

from engine.loop import spec
from engine.models import locate
from engine.runtime import run_stage, stale
from engine.store import write
from tests.support import tiny


def test_another_model_in_the_same_folder_makes_training_stale(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    made = tiny.Project(tmp_path / "p", tiny.make_config(base), tiny.chats(3))
    made.ctx("train").publish(
        "checkpoint", made.ctx("train").workdir("checkpoint"), {stale.CONTENT: locate.content(base)}
    )
    key = run_stage.input_key(made.db, made.config, 0, spec("train"))
    write.start_job(made.db, 0, "train", key, "{}")
    write.end_job(made.db, 0, "train", "done")
    assert list(stale.notes(made.db, made.folder, made.config)) == []
    tiny.make_model(base, seed=1)
    assert list(stale.notes(made.db, made.folder, made.config)) == [
        (f"stale: the files of {base} changed since train ran; `run --redo train` reruns it", 0, "train")
    ]
    (base / "config.json").unlink()
    (base / "model.safetensors").unlink()
    assert len(list(stale.notes(made.db, made.folder, made.config))) == 1, "no error either"


def test_another_wording_of_the_judges_request_makes_its_ratings_stale(tmp_path: Path, tiny_model: Path) -> None:
    made = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(3))
    key = run_stage.input_key(made.db, made.config, 0, spec("judge"))
    own = made.folder / "prompts" / "judge_response.txt"
    own.parent.mkdir()

    def judged() -> None:
        stale.keep_wordings(made.db, made.folder, 0, "judge")
        write.start_job(made.db, 0, "judge", key, "{}")
        write.end_job(made.db, 0, "judge", "done")

    judged()
    assert list(stale.notes(made.db, made.folder, made.config)) == []
    own.write_text("Rate it. {prompt} {response} {dimension}")
    said = ("stale: prompts/judge_response.txt changed since judge ran; `run --redo judge` reruns it", 0, "judge")
    assert list(stale.notes(made.db, made.folder, made.config)) == [said]
    judged()
    assert list(stale.notes(made.db, made.folder, made.config)) == [said], "a resumed stage has ratings of both"
    write.reset(made.db, 0, ["judge"])
    judged()
    assert list(stale.notes(made.db, made.folder, made.config)) == []
