"""A task that was stopped goes on after the replies that it had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import Paused, StageError
from engine.evaluation import run_tasks
from engine.evaluation.harness import Figure, TaskResult
from engine.evaluation.reply_cache import Replies
from engine.models import locate
from engine.stages import evaluate, train
from engine.store.rows import TaskItem
from tests.engine.evaluation.test_run_tasks import EXAMPLES, QUESTIONS, job, measured, scores, settings
from tests.support import ROOT, tiny

pytestmark = pytest.mark.usefixtures("own_models")


def imported(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str, **names: str) -> Path:
    """A new folder with ``program`` in it, which every Python process that is started from here on runs first."""
    here = folder / "here"
    here.mkdir()
    (here / "sitecustomize.py").write_text(program.format(here=str(here), **names), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{ROOT}")
    return here


# Imported by lm-eval's process: it writes down what the model is asked, and stops in front of a batch.
COUNTING = """
import sys
if "engine.evaluation.harness" in sys.orig_argv:
    import os, signal
    from pathlib import Path
    from lm_eval.models.huggingface import HFLM
    from engine.store import commands
    here, project = Path({here!r}), Path({project!r})
    def counting(kind, call):
        count = 0
        def counted(self, given=None, *args, **more):
            nonlocal count
            count += 1
            if (here / (kind + "-pause")).exists() and count == 3:
                commands.set_want(project, "pause")
                signal.pause()
            if (here / (kind + "-die")).exists() and count == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            with (here / kind).open("a") as file:
                file.write(str(len(more["context"] if given is None else given)) + "\\n")
            return call(self, *(() if given is None else (given,)), *args, **more)
        return counted
    HFLM._model_generate = counting("sums", HFLM._model_generate)
    HFLM._model_call = counting("words", HFLM._model_call)
"""


def test_a_task_goes_on_after_its_last_saved_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused amid a task whose model writes, then killed amid one whose model compares: no batch is computed twice,
    the figures are those of an undisturbed run, and nothing is left lying about."""
    config = settings("sums", "words")
    config = msgspec.structs.replace(config, evaluate=msgspec.structs.replace(config.evaluate, task_batch_size=2))
    one = tiny.Project(tmp_path / "p", config, tiny.chats(16))
    train.run(one.ctx("train"))
    here = imported(monkeypatch, tmp_path, COUNTING, project=str(one.folder))

    def asked() -> dict[str, list[str]]:
        return {kind: path.read_text().split() for kind in ("sums", "words") if (path := here / kind).exists()}

    (here / "sums-pause").touch()
    with pytest.raises(Paused):
        evaluate.run(one.ctx("evaluate"))
    assert asked() == {"sums": ["2", "2"]}
    (here / "sums-pause").unlink()
    one.want("run")
    (here / "words-die").touch()
    with pytest.raises(StageError, match="words: lm-eval was killed by signal 9"):
        evaluate.run(one.ctx("evaluate"))
    assert asked() == {"sums": ["2"] * 6, "words": ["2"] * 3}
    left = list((one.folder / "artifacts" / "round-0" / "replies").iterdir())
    assert len(left) == 1, "the replies of a task that is done are gone"
    kept = left[0].read_text(encoding="utf-8")
    assert kept.count("\n") == 6
    left[0].write_text(kept + kept.split("\n")[0][:40], encoding="utf-8")  # as a kill amid a write leaves it
    (here / "words-die").unlink()
    evaluate.run(one.ctx("evaluate"))
    choices = sum(len(question["choices"]) for question in QUESTIONS["words"])
    assert sum(map(int, asked()["words"])) == choices
    assert not (one.folder / "artifacts" / "round-0" / "replies").exists()

    monkeypatch.chdir(EXAMPLES)
    expected = as_undisturbed(one, config, tmp_path)
    items = {
        task: {row.item: row.value for row in one.ctx("x").rows(TaskItem) if row.task == task} for task in expected
    }
    assert items == {name: dict(figure.items) for name, figure in expected.items()}


def as_undisturbed(one: tiny.Project, config: Config, folder: Path) -> dict[str, Figure]:
    """Hold the project's scores against those of one process that nobody stops; returns these."""
    checkpoint = one.ctx("x").artifact("checkpoint")
    assert checkpoint is not None
    whole = measured(job(config, folder, locate.checkpoint(checkpoint, one.folder)))
    expected = {figure.task: figure for report in whole if isinstance(report, TaskResult) for figure in report.figures}
    assert {name: (row.value, row.stderr, row.n) for name, row in scores(one).items()} == {
        name: (figure.value, figure.stderr, figure.n) for name, figure in expected.items()
    }
    return expected


# Imported by lm-eval's processes: each writes down how much it answers. The first waits in its second part until the
# helper is at its first one, where it may have to die.
TEAM = """
import sys
if "engine.evaluation.harness" in sys.orig_argv or "--multiprocessing-fork" in sys.orig_argv:
    import multiprocessing, os, signal
    from pathlib import Path
    from lm_eval.models.huggingface import HFLM
    here = Path({here!r})
    def counting(kind, call):
        count = 0
        def counted(self, requests, *args, **more):
            nonlocal count
            count += 1
            if multiprocessing.parent_process() is None:
                if count == 2:
                    (here / (kind + "-fifo")).read_text()
            elif count == 1:
                with (here / (kind + "-fifo")).open("w"):
                    if (here / (kind + "-die")).exists():
                        (here / (kind + "-die")).unlink()
                        os.kill(os.getpid(), signal.SIGKILL)
            replies = call(self, requests, *args, **more)
            with (here / kind).open("a") as file:
                file.write(str(os.getpid()) + " " + str(len(requests)) + "\\n")
            return replies
        return counted
    for kind in ("generate_until", "loglikelihood"):
        setattr(HFLM, kind, counting(kind, getattr(HFLM, kind)))
"""


def test_two_processes_answer_one_task_and_one_that_dies_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[launch] processes = 2: the figures are those of one process. A dead one fails its task and no other; one process
    can do the rest."""
    config = settings("words", "sums")
    config = msgspec.structs.replace(
        config, evaluate=msgspec.structs.replace(config.evaluate, task_batch_size=1), launch=configs.Launch(processes=2)
    )
    one = tiny.Project(tmp_path / "p", config, tiny.chats(16))
    train.run(one.ctx("train"))
    here = imported(monkeypatch, tmp_path, TEAM)
    for kind in ("generate_until", "loglikelihood"):
        os.mkfifo(here / f"{kind}-fifo")
    (here / "loglikelihood-die").touch()
    with pytest.raises(StageError, match=r"1 of 2 .*words: lm-eval's process 2 \(pid \d+\) was killed by signal 9"):
        evaluate.run(one.ctx("evaluate"))
    assert scores(one).keys() == {"sums"}, "a task that comes after gets a helper anew"
    alone = msgspec.structs.replace(config, launch=configs.Launch())
    evaluate.run(one.ctx("evaluate", config=alone))
    choices = sum(len(question["choices"]) for question in QUESTIONS["words"])
    for kind, count in (("generate_until", 12), ("loglikelihood", choices)):
        told = [line.split() for line in (here / kind).read_text().splitlines()]
        assert sum(int(n) for _, n in told) == count, "each request was answered once"
        assert len({pid for pid, _ in told}) == 2, "both have answered some, of words one after the other"

    monkeypatch.chdir(EXAMPLES)
    as_undisturbed(one, alone, tmp_path)


def test_replies_of_another_model_or_of_other_settings_are_not_taken(tmp_path: Path, tiny_model: Path) -> None:
    config = settings("sums", "words", model=tiny_model)
    one = tiny.Project(tmp_path / "p", config, tiny.chats(16))
    train.run(one.ctx("train"))

    def files(config: Config = config, round: int = 0) -> set[Path]:
        ctx = one.ctx("evaluate", round, config)
        sources = {name: run_tasks.source(ctx.config, name) for name in ("sums", "words")}
        return set(run_tasks._kept(ctx, sources).values())

    first = files()
    assert len(first) == 2
    assert files() == first

    def changed(section: str, **values: Any) -> Config:
        return msgspec.structs.replace(config, **{section: msgspec.structs.replace(getattr(config, section), **values)})

    for other in (changed("evaluate", apply_chat_template=False), changed("model", dtype="float32"),
                  changed("evaluate", model_args={"add_bos_token": True})):  # fmt: skip
        assert not files(other) & first
    assert files(changed("evaluate", task_batch_size=3, exact_match=True)) == first, "they change no reply"
    train.run(one.ctx("train", 1, changed("train", learning_rate=0.01)))
    assert not {path.name for path in files(round=1)} & {path.name for path in first}
    checkpoint = one.ctx("x").artifact("checkpoint")
    assert checkpoint is not None
    shutil.copytree(one.ctx("x", 1).artifact("checkpoint") or Path(), checkpoint, dirs_exist_ok=True)
    assert not files() & first, "the round was trained anew"


def test_drawn_replies_and_those_that_vllm_tells_of_otherwise_are_kept_too(tmp_path: Path) -> None:
    """Equal requests have a reply each; vLLM's model tells its cache of other settings than it was asked with."""

    class Model:
        """Numbers its replies."""

        count = 0

        def set_cache_hook(self, hook: Replies) -> None:
            self.hook = hook

        def generate_until(self, requests: Any) -> list[str]:
            out = []
            for one in requests[:stop] if stop else requests:
                self.count += 1
                out.append(f"reply {self.count}")
                self.hook.add_partial("generate_until", (one.args[0], {"temperature": 1.0, "seed": 7}), out[-1])
            return out

        loglikelihood = loglikelihood_rolling = generate_until

    class Request:
        """As much of lm-eval's Instance as is looked at."""

        def __init__(self, text: str, until: str = "x") -> None:
            self.args = (text, {"until": until})

    stop = 3
    requests = [Request("a"), Request("a"), Request("b"), Request("a"), Request("c"), Request("c", "y")]
    told: list[tuple[int, int]] = []
    first, second = Model(), Model()
    Replies(tmp_path / "kept", lambda *at: told.append(at)).stand_in(first)
    with pytest.raises(StopIteration):
        first.generate_until(requests)
    assert told == [(1, 6), (2, 6), (3, 6)]
    stop, second.count = 0, 100
    Replies(tmp_path / "kept", lambda *at: told.append(at)).stand_in(second)
    replies = second.generate_until(requests)
    assert replies == ["reply 1", "reply 2", "reply 3", "reply 101", "reply 102", "reply 103"]
    assert told[3:] == [(4, 6), (5, 6), (6, 6)]
    third = Model()
    Replies(tmp_path / "kept", lambda *at: None).stand_in(third)
    assert third.generate_until(requests[:4]) == replies[:4]
    assert third.generate_until(requests[4:]) == ["reply 1", "reply 2"], (
        "whose reply it was cannot be told: asked again"
    )
