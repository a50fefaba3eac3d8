"""The teacher in two copies, and split over two processes, in real vLLM: one is killed, and the texts are hf's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engine.config.edit import edit
from engine.store.connect import writer
from engine.store.rows import Rewrite
from tests.support.processes import run_child
from tests.with_vllm.conftest import copy
from tests.with_vllm.test_stages import answer, begin_again, context

CORES = sorted(os.sched_getaffinity(0))[:2]
# In the child: vLLM in several processes, as on GPUs.
APART = 'os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)\n'
# The second copy is killed when the {at}th request is handed over.
KILLING = """
from engine.backends.vllm_copies import Copies
add, asked = Copies.add, []
def killing(self, *args):
    asked.append(args)
    if len(asked) == {at}:
        (second,) = [p for p in self._engine.engine_core.resources.engine_manager.processes if p.name.endswith("DP1")]
        second.kill()
    add(self, *args)
Copies.add = killing
"""
# vLLM binds each part of a model to a core of its own, but finds only one per NUMA node by itself.
SPLIT = f'os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "{"|".join(map(str, CORES))}"\n'


@pytest.mark.skipif(len(CORES) < 2, reason="NOT RUN: a model is split over two cores, and there is one.")
def test_a_killed_copy_is_named_and_the_stage_goes_on_with_a_model_in_two_parts(by_hf: Path, tmp_path: Path) -> None:
    project = copy(by_hf, tmp_path / "P", {"teacher.backend": "vllm", "vllm.in_flight": 8, "vllm.data_parallel": 2})
    begin_again(project, "rewrite")
    ctx = context(project, "rewrite")
    assert run_child(project, 0, "rewrite", also=APART + KILLING.format(at=24)) == 0
    db = writer(project)
    ((state, error),) = db.execute("SELECT state, error FROM job WHERE stage='rewrite'").fetchall()
    db.close()
    assert state == "failed"
    assert re.search(r"vLLM's engine has died \(copy 2 of 2, pid \d+, was killed by signal 9 \(", error), error
    first = {r.key: r for r in ctx.rows(Rewrite)}
    calls = sum(r.attempts + r.answer_attempts for r in first.values())
    assert 24 - 8 <= calls <= 24, "all is saved but what was in flight"

    edit(project, {"vllm.data_parallel": 1, "vllm.tensor_parallel": 2})
    assert run_child(project, 0, "rewrite", also=APART + SPLIT) == 0
    ours, theirs = ({r.key: r for r in context(p, "x").rows(Rewrite)} for p in (project, by_hf))
    assert sum(r.attempts + r.answer_attempts for r in ours.values()) > calls, "nothing was left for the other"
    assert {key: answer(r) for key, r in ours.items()} == {key: answer(r) for key, r in theirs.items()}
    assert sum(r.tokens_in for r in ours.values()) == sum(r.tokens_in for r in theirs.values()), "no call was repeated"
