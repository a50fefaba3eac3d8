"""lm-eval's tasks as a stage measures them: the project's own model and template, task by task, whatever dies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from engine.backends import hf
from engine.chat.render import render_prompt
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import StageError
from engine.evaluation import harness, run_tasks
from engine.evaluation.harness import EvaluationJob, Failed, Planned, Report, TaskResult
from engine.models import locate
from engine.stages import evaluate, train
from engine.store import paired_difference, read, write
from engine.store.rows import EvalScore, Message, TaskItem
from tests.support import ROOT, tiny

pytestmark = pytest.mark.usefixtures("own_models")

BASE = ROOT / "engine" / "demo" / "base"
EXAMPLES = ROOT / "docs" / "examples" / "tasks"
ASKED = """
[model]
max_length = 256
[evaluate]
limit = 12
"""
QUESTIONS = {name: [json.loads(line) for line in (EXAMPLES / f"{name}.jsonl").read_text().splitlines()[:12]]
             for name in ("sums", "words")}  # fmt: skip


def settings(*tasks: str, folder: Path = EXAMPLES, method: str = "full", model: Path = BASE) -> Config:
    wanted = f'tasks = {list(tasks)}\ninclude_path = "{folder}"\n'
    rate = {"full": 0.006, "lora": 0.04}[method]  # enough to lose some of the answers that the base has right
    return tiny.make_config(model, f'{ASKED}{wanted}[train]\nmethod = "{method}"\nlearning_rate = {rate}\n')


def scores(one: tiny.Project, round: int = 0) -> dict[str, EvalScore]:
    return {row.task: row for row in one.ctx("evaluate", round).rows(EvalScore)}


# --------------------------------------------------------------------------------------- what is measured


def measured(job: EvaluationJob) -> list[Report]:
    """In this process: what the child would tell."""
    told: list[Report] = []
    harness.measure(job, told.append)
    return told


def job(config: Config, folder: Path, ref: locate.ModelRef) -> EvaluationJob:
    return EvaluationJob(
        str(ref.base), str(ref.adapter) if ref.adapter else None, ref.nf4, config.model, 0, config.evaluate.tasks,
        config.evaluate.include_path, False, config.evaluate,
        {name: str(folder / f"{name}.jsonl") for name in config.evaluate.tasks},
    )  # fmt: skip


def right_sums(model: hf.HF) -> list[float]:
    """By our own greedy generation: whether the last number of the first line is the right one."""
    import re

    chats = [(Message("user", one["question"]),) for one in QUESTIONS["sums"]]
    replies = model.generate(chats, max_new_tokens=32, temperature=0.0, top_p=1.0, seed=0)
    last = [(re.findall(r"-?\d+", reply.text.split("\n")[0]) or ["[invalid]"])[-1] for reply in replies]
    return [float(said == one["answer"]) for said, one in zip(last, QUESTIONS["sums"], strict=True)]


def right_words(model: hf.HF) -> list[float]:
    """By full forwards over the rendered prompt and each choice: whether the right one is the likeliest."""
    out = []
    for one in QUESTIONS["words"]:
        asked = render_prompt(model.tokenizer, (Message("user", one["question"]),), 256)
        sums = []
        for choice in one["choices"]:
            said = model.tokenizer.encode(choice, add_special_tokens=False)
            with torch.no_grad():
                logits = model.loaded.model(torch.tensor([asked + said])).logits[0, len(asked) - 1 : -1]
            sums.append(float(cross_entropy(logits, torch.tensor(said), reduction="sum")))
        out.append(float(sums.index(min(sums)) == one["right"]))
    return out


@pytest.mark.parametrize("method", ["full", "lora"])
def test_lm_eval_sees_the_tuned_model_in_the_trained_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Its figures are those of our own generation and of plain forwards, question by question."""
    monkeypatch.chdir(EXAMPLES)
    config = settings("sums", "words", method=method)
    one = tiny.Project(tmp_path / "p", config, tiny.chats(16))
    train.run(one.ctx("train"))
    folder = one.ctx("x").artifact("checkpoint")
    assert folder is not None
    ref = locate.checkpoint(folder, one.folder)
    told = measured(job(config, one.folder, ref))
    planned, *_ = told
    assert planned == Planned({"sums": 12, "words": 12})
    sums, words = (report for report in told if isinstance(report, TaskResult))
    model = hf.load(ref.base, ref.adapter, device="cpu", threads=1)
    assert 0 < sum(right_sums(model)) < 12, "the base has all of them right: it is the tuned model that was asked"
    for report, kind, own in ((sums, "exact_match,last-number", right_sums), (words, "acc,none", right_words)):
        (figure,) = report.figures
        wanted = own(model)
        assert (figure.metric, figure.main, figure.higher, figure.n) == (kind, True, True, 12)
        assert [score for _, score in figure.items] == wanted
        assert figure.value == pytest.approx(sum(wanted) / 12)
        assert figure.stderr == pytest.approx((figure.value * (1 - figure.value) / 11) ** 0.5)


def test_what_a_group_and_a_wish_give() -> None:
    """Of lm-eval's results: a group's own figure over its tasks' questions; each of a tag's; only means have items."""

    def sample(of: int, score: object) -> dict[str, Any]:
        return {"doc_id": of, "doc_hash": f"h{of}", "filter": "none", "acc": score, "f1": 0.5}

    found: dict[str, Any] = {
        "results": {
            "a": {"alias": "a", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,none": 0.9, "f1_stderr,none": "N/A"},
            "b": {"alias": "b", "acc,none": 1.0, "acc_stderr,none": float("nan"), "f1,none": float("nan")},
        },
        "groups": {"both": {"alias": "both", "acc,none": 0.75, "acc_stderr,none": 0.05}},
        "samples": {"a": [sample(0, 0.0), sample(1, True)], "b": [sample(0, 1.0), sample(1, 1.0)]},
        "n-samples": {"a": {"effective": 2}, "b": {"effective": 2}},
        "higher_is_better": {"a": {"acc": True, "f1": False}},
    }
    (both,) = harness.figures_of(found, "both")
    assert (both.task, both.value, both.stderr, both.n) == ("both", 0.75, 0.05, 4)
    assert [score for _, score in both.items] == [0.0, 1.0, 1.0, 1.0]
    assert len({item for item, _ in both.items}) == 4
    figures = list(harness.figures_of(found, "some_tag"))
    assert [(f.task, f.metric, f.main, f.higher) for f in figures] == [
        ("a", "acc,none", True, True), ("a", "f1,none", False, False), ("b", "acc,none", True, True)
    ]  # fmt: skip
    assert [f.stderr for f in figures] == [0.1, None, None], "what is no number is not told as one"
    (f1, other) = sorted(harness.figures_of(found, "a", "f1"), key=lambda f: not f.main)
    assert (f1.metric, f1.items, other.main) == ("f1,none", (), False), "0.9 is not the mean of its questions' 0.5"
    assert list(harness.figures_of(found, "a", "bleu")) == []


# ------------------------------------------------------------------------------------------- two rounds


def test_two_rounds_are_compared_question_by_question(tmp_path: Path) -> None:
    """In the child, offline; the change's standard error is that of the differences."""
    config = settings("sums", "words")
    one = tiny.Project(tmp_path / "p", config, tiny.chats(16), tiny.chats(3))
    for round in (0, 1):
        if round:
            write.open_round(one.db, round, configs.snapshot(config), ["train", "evaluate"], closing=True, stopped=None)
            config = settings("sums", "words", method="lora")
        train.run(one.ctx("train", round, config))
        evaluate.run(one.ctx("evaluate", round, config))
    now, before = scores(one, 1), scores(one, 0)
    assert now.keys() == before.keys() == {"heldout_loss", "sums", "words"}
    assert (now["heldout_loss"].higher, now["sums"].source) == (False, before["sums"].source)
    found = paired_difference.errors(one.db, 1)
    assert found.keys() == now.keys()
    spreads = {}
    for task in ("sums", "words"):
        values = [{row.item: row.value for row in one.ctx("x", round).rows(TaskItem) if row.task == task}
                  for round in (0, 1)]  # fmt: skip
        assert values[0].keys() == values[1].keys()
        change = [values[1][item] - values[0][item] for item in values[0]]
        mean = sum(change) / len(change)
        assert mean == pytest.approx(now[task].value - before[task].value)
        spreads[task] = sum((d - mean) ** 2 for d in change) ** 0.5 / len(change)
        assert found[task] == pytest.approx(spreads[task] or 1 / (len(change) + 1)), "Wilson's where none differ"
    done = one.db.execute("SELECT done, total FROM job WHERE round=1 AND stage='evaluate'").fetchone()
    assert tuple(done) == (3 + 24, 3 + 24)
    assert spreads["sums"] > 0, "the two models answer alike: nothing is compared here"
    main = read.main_task(one.db, 1)
    assert main is not None
    assert main.task == "sums"
    one.db.execute("UPDATE task_item SET item=item+1 WHERE round=0 AND task='words'")
    assert paired_difference.errors(one.db, 1).keys() == now.keys() - {"words"}, "other questions are not paired"


def test_the_child_runs_code_and_asks_the_network_only_with_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    shut, open_ = run_tasks._environment(offline=True, code=False), run_tasks._environment(False, True)
    assert (shut["HF_DATASETS_OFFLINE"], shut["HF_HUB_OFFLINE"]) == ("1", "1")
    assert not {"HF_ALLOW_CODE_EVAL", "RANK", "LOCAL_RANK"} & shut.keys()
    assert open_["HF_ALLOW_CODE_EVAL"] == "1"
    assert "HF_DATASETS_OFFLINE" not in open_


# ------------------------------------------------------------------------------------------ what goes wrong

OWN = """
task: {name}
include: {above}
process_results: !function own.{name}
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = """
import os, signal
from pathlib import Path
HERE = Path(__file__).parent
def _loaded(name):
    with (HERE / "asked").open("a") as file:
        file.write(name + "\\n")
    return {"acc": 1.0}
def deadly(doc, results):
    if not (HERE / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return _loaded("deadly")
def failing(doc, results):
    if not (HERE / "mended").exists():
        raise RuntimeError("no such column: [red]x[/red]")
    return _loaded("failing")
def hanging(doc, results):
    if not (HERE / "freed").exists():
        with (HERE / "fifo").open("w") as fifo:
            fifo.write("here\\n")
            fifo.flush()
            signal.pause()
    return _loaded("hanging")
def quick(doc, results):
    return _loaded("quick")
"""
STAGE = """
import sys
from pathlib import Path
from engine.config import schema as config
from engine.runtime.context import StoreCtx
from engine.stages import evaluate
from engine.store.connect import writer
folder = Path(sys.argv[1])
settings = config.restore((folder / "settings.json").read_text())
evaluate.run(StoreCtx(writer(folder), folder, settings, 0, "evaluate"))
"""


def own_tasks(folder: Path) -> Path:
    folder.mkdir()
    (folder / "own.py").write_text(FUNCTIONS, encoding="utf-8")
    (folder / "words.jsonl").write_text((EXAMPLES / "words.jsonl").read_text(), encoding="utf-8")
    (folder / "random.py").write_text("raise SystemError('a file of this folder stands in for a library')")
    for name in ("quick", "deadly", "failing", "hanging"):
        text = OWN.format(name=name, above=EXAMPLES / "words.yaml")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    os.mkfifo(folder / "fifo")
    return folder


def opened(fifo: Path, writer: subprocess.Popen[bytes]) -> IO[str]:
    """The reading end, once there is something to read; a writer that ends before fails the test, which would wait."""
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    while not select.select([end], [], [], 1.0)[0]:
        assert writer.poll() is None, "the stage ended before its task began"
    os.set_blocking(end, True)
    return os.fdopen(end)


def test_nothing_that_dies_or_fails_takes_finished_tasks_with_it(tmp_path: Path, tiny_model: Path) -> None:
    """SIGKILL to the stage amid a task ends lm-eval too; run again, no finished task is repeated. A task that kills its
    process and one that raises are named, the rest is measured; mended, only they are tried."""
    folder = own_tasks(tmp_path / "tasks")
    config = settings("quick", "hanging", "deadly", "failing", folder=folder, model=tiny_model)
    one = tiny.Project(tmp_path / "p", config, tiny.chats(8))
    train.run(one.ctx("train"))

    (one.folder / "settings.json").write_text(configs.snapshot(config), encoding="utf-8")
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(one.folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    with opened(folder / "fifo", stage) as fifo:
        assert fifo.readline() == "here\n"
        stage.kill()
        assert fifo.readline() == "", "lm-eval lives on without its stage"
    assert stage.wait() == -signal.SIGKILL
    assert scores(one).keys() == {"quick"}

    (folder / "freed").touch()
    with pytest.raises(StageError) as caught:
        evaluate.run(one.ctx("evaluate"))
    said = str(caught.value)
    assert "2 of 4 evaluation tasks failed" in said
    assert "deadly: lm-eval was killed by signal 9 (SIGKILL), as happens when memory runs out" in said
    assert "failing: RuntimeError: no such column" in said
    assert scores(one).keys() == {"quick", "hanging"}

    (folder / "mended").touch()
    evaluate.run(one.ctx("evaluate"))
    found = scores(one)
    assert found.keys() == {"quick", "hanging", "deadly", "failing"}
    assert {(row.value, row.n) for row in found.values()} == {(1.0, 12)}
    asked = (folder / "asked").read_text().split()
    assert {name: asked.count(name) for name in found} == dict.fromkeys(found, 12), "each was measured once"
    evaluate.run(one.ctx("evaluate"))
    assert len((folder / "asked").read_text().split()) == len(asked), "nothing is pending"


def test_what_cannot_be_loaded_fails_every_task_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    config = settings("sums", "words")
    told = measured(job(config, tmp_path, locate.ModelRef(tmp_path / "nowhere")))
    failed = [report for report in told if isinstance(report, Failed)]
    assert [report.task for report in failed] == ["sums", "words"]
    assert all(str(tmp_path / "nowhere") in report.reason for report in failed)
