"""lm-eval in a process of its own: loads a round's model once, runs tasks one by one, reports each as it ends.

``python -m engine.evaluation.harness JOB DEATH_FD REPORT_FD``. The evaluate stage starts it as the leader of its own
process group, so that it can be ended with all that it started (a task's code, vLLM's engine), and reads what it
reports from a pipe. When the stage goes away by whatever means, the death pipe closes and the group kills itself. What
one task raises is that task's failure; the others are measured all the same.
"""

from __future__ import annotations

import atexit
import hashlib
import math
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.config.schema import Evaluate, Model
from engine.errors import MiddoError, StageError
from engine.evaluation import sandbox
from engine.evaluation.helper_processes import Team
from engine.evaluation.reply_cache import Replies
from engine.evaluation.task_index import main_metric
from engine.files.scratch import Scratch
from engine.models.locate import ModelRef
from engine.processes import environment
from engine.processes.death_pipe import kill_group_on_close
from engine.processes.exit_reason import ran_out_of_memory

EVERY_S = 0.5


class EvaluationJob(msgspec.Struct, frozen=True):
    """What to measure: the model as a ``ModelRef``, opened as [model] says, the tasks, and how.

    ``own``: the folder of a project's tasks; ``defaults``: whether lm-eval's are wanted too (finding them takes
    seconds). ``kept``: for each task, the file that its replies are kept in until it is done.
    ``processes``: how many hold the model, one per GPU. ``thinking``: whether replies begin with a reasoning trace, as
    the answers do that it was trained on. ``prepare``: only fetch what the tasks need, into this folder.
    """

    base: str
    adapter: str | None
    nf4: bool
    model: Model
    seed: int
    tasks: tuple[str, ...]
    own: str | None
    defaults: bool
    how: Evaluate
    kept: dict[str, str]
    processes: int = 1
    thinking: bool = False
    prepare: str | None = None


class Figure(msgspec.Struct, frozen=True):
    """One figure of a task. ``main``: it stands for the task. ``items``: (hash of the question, its score), when the
    figure is their mean.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    higher: bool
    main: bool
    items: tuple[tuple[int, float], ...] = ()


class Planned(msgspec.Struct, frozen=True, tag=True):
    """Number of questions per task."""

    sizes: dict[str, int]


class At(msgspec.Struct, frozen=True, tag=True):
    """Progress: the share of this task's requests that are answered."""

    task: str
    share: float


class TaskResult(msgspec.Struct, frozen=True, tag=True):
    """A task is done. ``shots``: examples before each question."""

    task: str
    figures: tuple[Figure, ...]
    shots: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A task failed, and why."""

    task: str
    reason: str


Report = Planned | At | TaskResult | Failed
Tell = Callable[[Report], None]


def main(argv: list[str]) -> int:
    """Entry point of the process."""
    job = msgspec.json.decode(argv[0].encode(), type=EvaluationJob)
    kill_group_on_close(int(argv[1]))
    with os.fdopen(int(argv[2]), "wb", buffering=0) as pipe:
        measure(job, lambda report: _write(pipe, report))
    return 0


def _write(pipe: Any, report: Report) -> None:
    pipe.write(msgspec.json.encode(report) + b"\n")


def measure(job: EvaluationJob, tell: Tell) -> None:
    """Run the tasks of ``job``; every one of them is told as measured or failed."""
    loaded: dict[str, dict[str, Any]] = {}
    manager = _manager(job)
    for name in job.tasks:
        _guarded(name, tell, lambda name=name: loaded.update({name: _load(manager, name, job)}))  # type: ignore[misc]
    if job.prepare is not None:
        _keep_data(loaded, Path(job.prepare))
    if not loaded or job.prepare is not None:
        return
    tell(Planned({name: _size(tasks, job) for name, tasks in loaded.items()}))
    models: list[Any] = []
    team = _team(job) if job.processes > 1 else None
    for name, tasks in loaded.items():
        tell(At(name, 0.0))
        if not models and not _guarded(name, tell, lambda: models.append(_model(job))):
            continue
        _guarded(name, tell, lambda name=name, tasks=tasks: tell(_run(models[0], team, name, tasks, job, tell)))  # type: ignore[misc]


def _guarded(name: str, tell: Tell, work: Callable[[], object]) -> bool:
    """Run ``work``. Returns whether it succeeded; reports the reason if not."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a task raises is this task's failure
        sys.stderr.write(environment.without_values(traceback.format_exc()))
        tell(Failed(name, _reason(error)))
        return False
    return True


def _reason(error: BaseException) -> str:
    kind = type(error).__name__
    if ran_out_of_memory(error):
        return "out of memory. Lower [evaluate] task_batch_size"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    first = environment.without_values(first)[:300]
    return first if isinstance(error, MiddoError) else f"{kind}: {first}"


def _manager(job: EvaluationJob) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=job.own, include_defaults=job.defaults)


def _load(manager: Any, name: str, job: EvaluationJob) -> dict[str, Any]:
    """The task, group or tag ``name`` with its data, set up as ``job`` says."""
    loaded: dict[str, Any] = manager.load([name])
    for task in loaded["tasks"].values():
        shots = job.how.num_fewshot.get(name, task.get_config("num_fewshot") or 0)
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=job.seed)
    return loaded


def _keep_data(loaded: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Copy the loaded datasets, and the metrics that the tasks have loaded, to where a sandbox will look for them."""
    from datasets import config as caches

    root = Path(caches.HF_DATASETS_CACHE)
    tasks = [task for one in loaded.values() for task in one["tasks"].values()]
    parts = [part for task in tasks for part in (task.dataset or {}).values()]
    files = [Path(file["filename"]) for part in parts for file in part.cache_files]
    for name in {file.relative_to(root).parts[0] for file in files if file.is_relative_to(root)}:
        shutil.copytree(root / name, folder / sandbox.CACHES["HF_DATASETS_CACHE"] / name, dirs_exist_ok=True)
    metrics = Path(caches.HF_MODULES_CACHE) / "evaluate_modules"
    if metrics.is_dir():
        shutil.copytree(metrics, folder / sandbox.CACHES["HF_MODULES_CACHE"] / metrics.name, dirs_exist_ok=True)


def _size(loaded: Mapping[str, Any], job: EvaluationJob) -> int:
    """Number of questions to ask."""
    sizes = (len(task.eval_docs) for task in loaded["tasks"].values())
    return sum(min(size, job.how.limit) if job.how.limit else size for size in sizes)


def _model(job: EvaluationJob) -> Any:
    """The round's model as lm-eval sees it, asked in the chat template that it was trained in."""
    from lm_eval.api.registry import get_model

    from engine.chat.render import FIXED_DATE

    args = {
        "enable_thinking": job.thinking,
        "chat_template_args": {
            "date_string": FIXED_DATE.strftime("%d %b %Y"),
            "strftime_now": FIXED_DATE.strftime,
        },
        # the template says what the text begins with; without it the tokenizer does
        "add_bos_token": False if job.how.apply_chat_template else None,
        "batch_size": job.how.task_batch_size or "auto",
        **job.how.model_args,
    }
    if job.how.backend == "vllm":
        return get_model("vllm")(**_vllm_args(job), **args)
    from engine.signals.round_models import open_model

    ours = open_model(job.model, ModelRef(Path(job.base), Path(job.adapter) if job.adapter else None, job.nf4))
    opened = ours.loaded
    opened.model.generation_config.eos_token_id = opened.stops
    if args["batch_size"] != 1 and not ours.takes_padding:
        # lm-eval pads at the left, which this family takes for text: its replies would not be those of each prompt
        args["batch_size"] = 1
        sys.stderr.write("This model family does not mask padding, so lm-eval runs one request at a time.\n")
    # an adapter sits in the layers of the model itself, so this is the tuned one
    return get_model("hf")(pretrained=opened.model, tokenizer=opened.tokenizer, **args)


def _vllm_args(job: EvaluationJob) -> dict[str, Any]:
    """What vLLM loads. It reads the tokenizer from a folder, with the project's chat template in it."""
    from peft import PeftConfig

    from engine.chat.render import load_tokenizer

    made = Scratch("middo-tokenizer-")
    atexit.register(made.remove)
    load_tokenizer(job.base, job.model.chat_template).save_pretrained(made.path)
    folder = str(made.path)
    args: dict[str, Any] = {"pretrained": job.base, "tokenizer": folder, "dtype": job.model.dtype, "seed": job.seed}
    if job.adapter:
        rank = int(PeftConfig.from_pretrained(job.adapter).r)
        args |= {"lora_local_path": job.adapter, "max_lora_rank": max(8, rank)}
    return args


def _share(name: str, tell: Tell) -> Callable[[int, int], None]:
    """Reports a task's progress at intervals."""
    told = time.monotonic()

    def share(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= EVERY_S:
            told = time.monotonic()
            tell(At(name, min(done / total, 1.0)))

    return share


def _team(job: EvaluationJob) -> Team:
    return Team(job.processes, max(job.how.task_batch_size, 1), partial(_model_on, job), _reason)


def _model_on(job: EvaluationJob, number: int) -> Any:
    """The model on GPU ``number``, where there are any."""
    import torch

    if job.model.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(number)
    return _model(job)


def _run(lm: Any, team: Team | None, name: str, loaded: dict[str, Any], job: EvaluationJob, tell: Tell) -> TaskResult:
    """Measure one task, group or tag."""
    import numpy as np
    import torch
    from lm_eval import evaluator

    random.seed(job.seed)
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
    Replies(Path(job.kept[name]), _share(name, tell)).stand_in(lm, team)
    found = evaluator.evaluate(
        lm=lm,
        task_dict=loaded,
        limit=job.how.limit or None,
        log_samples=True,
        apply_chat_template=job.how.apply_chat_template,
        fewshot_as_multiturn=job.how.apply_chat_template and job.how.fewshot_as_multiturn,
        confirm_run_unsafe_code=job.how.allow_code_execution,
    )
    figures = tuple(figures_of(found, name, job.how.metrics.get(name, "")))
    if not figures:
        raise StageError(f"lm-eval returned no score{_wish(job, name)} for it")
    return TaskResult(name, figures, max((int(n) for n in found["n-shot"].values()), default=0))


def _wish(job: EvaluationJob, name: str) -> str:
    wanted = job.how.metrics.get(name)
    return f" called {wanted!r} ([evaluate] metrics)" if wanted else ""


def figures_of(found: Mapping[str, Any], name: str, wanted: str = "") -> Iterable[Figure]:
    """The figures of ``name``, of lm-eval's results: its own; of a group or tag without any, those of its tasks."""
    own = {**found["results"], **found.get("groups", {})}
    if _metrics(own.get(name, {})):
        yield from _figures(found, own[name], name, list(found["samples"]), wanted)
        return
    for task in found["samples"]:
        yield from _figures(found, found["results"][task], task, [task], wanted)


def _metrics(results: Mapping[str, Any]) -> list[str]:
    """The keys that are figures: ``metric,filter``, not their errors."""
    return [key for key, value in results.items() if "," in key and "_stderr," not in key and _is_number(value)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _figures(
    found: Mapping[str, Any], results: Mapping[str, Any], name: str, leaves: Sequence[str], wanted: str
) -> Iterable[Figure]:
    names = _metrics(results)
    main = main_metric(names, wanted)
    if main is None:
        return
    directions = found["higher_is_better"].get(name, {})
    for metric in names:
        kind, _, kept = metric.partition(",")
        error = results.get(f"{kind}_stderr,{kept}")
        scored = [sample for leaf in leaves for sample in found["samples"][leaf] if sample["filter"] == kept]
        value = float(results[metric])
        yield Figure(
            name,
            metric,
            value,
            float(error) if error is not None and _is_number(error) else None,
            len(scored) or sum(found["n-samples"][leaf]["effective"] for leaf in leaves),
            directions.get(kind) is not False,
            metric == main,
            _items(found, leaves, metric, value) if metric == main else (),
        )


def _items(found: Mapping[str, Any], leaves: Sequence[str], metric: str, value: float) -> tuple[tuple[int, float], ...]:
    """The score of each question, if the task's score is their mean; otherwise empty."""
    kind, _, kept = metric.partition(",")
    out = []
    for leaf in leaves:
        for sample in found["samples"][leaf]:
            if sample["filter"] == kept:
                if not isinstance(one := sample.get(kind), int | float):
                    return ()
                question = f"{leaf}\x00{sample['doc_id']}\x00{sample['doc_hash']}"
                out.append(
                    (int.from_bytes(hashlib.blake2b(question.encode(), digest_size=8).digest()) >> 1, float(one))
                )
    mean = sum(score for _, score in out) / len(out) if out else float("nan")
    return tuple(out) if abs(mean - value) < 1e-6 else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
