"""Evaluation tasks are known without loading lm-eval, and what cannot be run is refused with its reason."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.config.schema import Config, Evaluate, Train
from engine.errors import ConfigError
from engine.evaluation import task_index

NAMED = (
    "mmlu_generative",
    "ifeval",
    "gsm8k_cot",
    "minerva_math",
    "humaneval_instruct",
    "mbpp_instruct",
    "hellaswag",
    "gpqa_diamond_cot_zeroshot",
)


def asked(*tasks: str, **more: object) -> Config:
    return Config(evaluate=Evaluate(tasks=tasks, **more))  # type: ignore[arg-type]


def task(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_tasks_of_the_method_are_there_and_say_what_runs_code(tmp_path: Path) -> None:
    needs = task_index.check(asked(*NAMED, allow_code_execution=True, allow_unconfined_code=True), tmp_path)
    assert [name for name, need in needs.items() if need.runs_code] == ["humaneval_instruct", "mbpp_instruct"]
    assert not any(need.local for need in needs.values())


def test_tags_are_known_also_where_an_included_file_gives_them(tmp_path: Path) -> None:
    found = task_index.index(task_index.harness())
    assert len(found["chain_of_thought"]) > 1
    assert len(found["afrimmlu_tasks_prompt_1"]) > 1
    assert "scrolls_qasper" in found


def test_a_typo_gets_near_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        task_index.check(asked("hellaswag", "gsm8k_cott"), tmp_path)
    assert "lm-eval has no task 'gsm8k_cott'. Did you mean gsm8k_cot" in str(caught.value)
    folder = task(tmp_path / "tasks", "mine", "task: my_sums\ndataset_path: json\n")
    with pytest.raises(ConfigError) as caught:
        task_index.check(asked("my_sum", include_path="tasks"), tmp_path)
    assert f"neither lm-eval nor {folder} has a task 'my_sum'. Did you mean my_sums" in str(caught.value)


def test_code_is_run_only_with_leave(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"humaneval_instruct runs model-written code.* Set allow_code_execution = true"
    ):
        task_index.check(asked("hellaswag", "humaneval_instruct"), tmp_path)
    folder = task(tmp_path / "tasks", "base", "unsafe_code: true\n")
    task(folder, "code", "include: base.yaml\ntask: my_code\ndataset_path: json\nfilter: !function utils.f\n")
    task(folder, "both", "group: both\ntask: [{group: inner, task: [my_code]}, hellaswag]\n")
    with pytest.raises(ConfigError, match="both runs model-written code"):
        task_index.check(asked("both", include_path="tasks"), tmp_path)


def test_only_tasks_whose_data_lie_here_are_local(tmp_path: Path) -> None:
    folder = task(tmp_path / "tasks", "here", "task: here\ndataset_path: json\ndataset_kwargs: {data_files: x.json}\n")
    task(folder, "web", "task: web\ndataset_path: json\ndataset_kwargs: {data_files: 'https://example.org/x.json'}\n")
    task(folder, "hub", "task: hub\ndataset_path: owner/name\n")
    task(folder, "mixed", "group: mixed\ntask: [here, hub]\n")
    needs = task_index.check(asked("here", "web", "hub", "mixed", include_path="tasks"), tmp_path)
    assert [name for name, need in needs.items() if need.local] == ["here"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task: mine\nx: [1\n", "unreadable task file"),
        ("task: mine\ninclude: mine.yaml\n", "includes itself"),
        ("task: mine\ninclude: other.yaml\n", "other.yaml: unreadable task file"),
    ],
)
def test_a_broken_task_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    task(tmp_path / "tasks", "mine", text)
    with pytest.raises(ConfigError, match=says):
        task_index.check(asked("mine", include_path="tasks"), tmp_path)


def test_a_missing_folder_and_backend_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        task_index.check(asked("hellaswag", include_path="nowhere"), tmp_path)
    monkeypatch.setattr(task_index, "find_spec", lambda name: None if name == "vllm" else find_spec(name))
    with pytest.raises(ConfigError, match="vllm is not installed"):
        task_index.check(asked("hellaswag", backend="vllm"), tmp_path)
    monkeypatch.setattr(
        task_index, "find_spec", lambda name: find_spec("json" if name == "vllm" and not find_spec("vllm") else name)
    )
    with pytest.raises(ConfigError, match="4 bits"):
        task_index.check(
            Config(train=Train(method="qlora"), evaluate=Evaluate(tasks=("hellaswag",), backend="vllm")), tmp_path
        )


def test_the_figure_that_stands_for_a_task() -> None:
    gsm = ["exact_match,strict-match", "exact_match,flexible-extract"]
    assert task_index.main_metric(gsm) == "exact_match,flexible-extract"
    assert task_index.main_metric(gsm, "exact_match,strict-match") == "exact_match,strict-match"
    assert task_index.main_metric(["acc,none", "acc_norm,none"]) == "acc_norm,none"
    assert task_index.main_metric(["acc,none", "acc_norm,none"], "acc") == "acc,none"
    assert task_index.main_metric(["bleu,none", "ter,none"]) == "bleu,none"
    assert task_index.main_metric(["acc,none"], "f1") is None
    assert task_index.main_metric([]) is None


def test_looking_loads_neither_lm_eval_nor_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from engine.evaluation import task_index;"
        "from engine.config.schema import Config, Evaluate;"
        "task_index.check(Config(evaluate=Evaluate(tasks=('hellaswag',))), Path('.'));"
        "print(sorted({'lm_eval', 'torch', 'datasets', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
