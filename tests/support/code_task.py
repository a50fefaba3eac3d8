"""Tasks of model-written code that need no Hub: lm-eval's own HumanEval with problems and a metric of ours."""

from __future__ import annotations

import json
from pathlib import Path

import lm_eval

METRIC = '''
"""pass@1 with the interface of the Hub's metric code_eval, which lm-eval loads by that name."""
import datasets
import evaluate

from .execute import passes


class PassAt1(evaluate.Metric):
    def _info(self):
        features = {"predictions": datasets.Sequence(datasets.Value("string")), "references": datasets.Value("string")}
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features(features))

    def _compute(self, predictions, references, k):
        passed = [passes(program + "\\n" + test) for (program,), test in zip(predictions, references)]
        return {"pass@1": sum(passed) / len(passed)}, {}
'''
EXECUTE = """
import subprocess
import sys


def passes(program):
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, timeout=60).returncode == 0
"""
FILES = {"code_eval.py": METRIC.encode(), "execute.py": EXECUTE.encode()}
PROMPT = 'def add(a, b):\n    """Add two numbers.\n    >>> add(2, 3)\n    5\n    """\n'
TEST = "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n"
RIGHT = "    return a + b\n"
GIVEN = """
def solutions(resps, docs):
    return [[doc["prompt"] + doc["solution"] for _ in resp] for resp, doc in zip(resps, docs)]
"""
"""A filter of a task that puts a given solution in the place of the model's reply."""


def problem(number: int, solution: str = RIGHT) -> dict[str, str]:
    """A row in HumanEval's format, and the solution that is to be scored."""
    fixed = {"prompt": PROMPT, "canonical_solution": RIGHT, "test": TEST, "entry_point": "add"}
    return {"task_id": f"Own/{number}", **fixed, "solution": solution}


def program(solution: str) -> str:
    """What is run for a solution: the same text as lm-eval makes."""
    return f"{PROMPT}{solution}\n{TEST}\ncheck(add)"


def write_task(folder: Path, name: str, solutions: list[str] | None, data: str = "") -> None:
    """A task of lm-eval's HumanEval. ``solutions``: what is scored, each in a problem of its own; None: the model's
    own replies. ``data``: lines that say where the problems are; without them they lie beside the task.
    """
    folder.mkdir(exist_ok=True)
    rows = [problem(number, solution) for number, solution in enumerate(solutions or [RIGHT, RIGHT])]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "given.py").write_text(GIVEN, encoding="utf-8")
    own = "filter_list: [{name: given, filter: [{function: custom, filter_fn: !function given.solutions}]}]\n"
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\n"
        f"include: {Path(lm_eval.__file__).parent / 'tasks' / 'humaneval' / 'humaneval_instruct.yaml'}\n"
        "generation_kwargs: {until: ['```'], max_gen_toks: 8, do_sample: false}\n"
        + (data or f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {name}.jsonl}}}}\n")
        + (own if solutions else ""),
        encoding="utf-8",
    )


def write_metric(folder: Path) -> None:
    """The metric beside the tasks, where ``evaluate.load`` looks before it asks the Hub."""
    (folder / "code_eval").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "code_eval" / name).write_bytes(content)
