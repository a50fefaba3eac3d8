"""Why two machines cannot work on one run: what differs, where, and what to install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.nodes import machine_versions
from engine.nodes.machine_versions import LIBRARIES, About, differences, shared

FIRST = About("head", "3.11", dict.fromkeys(LIBRARIES, "1.0"), "2.27", ("H200",) * 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"gpus": ("H200",) * 8}, None),
        ({"python": "3.12"}, "Python is 3.11 on head and 3.12 on node2; use the same on both"),
        (
            {"libraries": {**FIRST.libraries, "trl": ""}},
            "trl is 1.0 on head and missing on node2; install the same version there: pip install trl==1.0",
        ),
        ({"gpus": ()}, 'head has a GPU and node2 has none; set [model] device = "cpu" to use neither'),
        ({"nccl": "2.20"}, "NCCL is 2.27 on head and 2.20 on node2; install the same"),
        ({"gpus": ("H200",)}, "node2 has 1 of the 2 GPUs that [launch] processes asks for; lower it"),
        ({"gpus": ("A100",) * 4}, "the GPUs differ (A100, H200); results would depend on which one computes what"),
    ],
)
def test_a_difference_names_both_machines_and_the_way_out(changes: dict[str, Any], says: str | None) -> None:
    other = msgspec.structs.replace(FIRST, host="node2", **changes)
    assert next(iter(differences(FIRST, other, 2, "auto")), None) == says


def test_kernels_of_packages_that_are_not_needed_must_be_the_same_where_they_are_used() -> None:
    first, other = (
        msgspec.structs.replace(FIRST, host=host, libraries={**FIRST.libraries, **more})
        for host, more in (("head", {"liger-kernel": "0.8"}), ("node2", {"liger-kernel": ""}))
    )
    assert list(differences(first, other, 2, "auto")) == []
    there = "liger-kernel is 0.8 on head and missing on node2; install the same version there: pip install"
    there += " liger-kernel==0.8"
    assert list(differences(first, other, 2, "auto", ["liger-kernel"])) == [there]
    here = "liger-kernel is missing on node2 and 0.8 on head; install it here too"
    assert list(differences(other, first, 2, "auto", ["liger-kernel"])) == [here]


def test_gpus_do_not_matter_on_the_cpu() -> None:
    other = msgspec.structs.replace(FIRST, gpus=(), nccl="")
    assert list(differences(FIRST, other, 2, "cpu")) == []


def test_a_gpu_that_two_would_use_is_found_among_those_that_are_used() -> None:
    first, other = (msgspec.structs.replace(FIRST, uuids=uuids) for uuids in (("a", "b", "c"), ("d", "b")))
    assert [shared(first, other, processes, "auto") for processes in (1, 2)] == ["", "b"]
    assert shared(first, other, 2, "cpu") == ""


def test_two_checkouts_of_one_version_are_told_apart(tmp_path: Path) -> None:
    digests = []
    for name, text in (("a", "x = 1"), ("b", "x = 2"), ("c", "x = 1")):
        (tmp_path / name / "room").mkdir(parents=True)
        (tmp_path / name / "room" / "module.py").write_text(text)
        (tmp_path / name / "room" / "notes.txt").write_text(name)
        digests.append(machine_versions.code(tmp_path / name))
    assert digests[0] == digests[2] != digests[1]
    first, other = (msgspec.structs.replace(FIRST, host=host, code=host) for host in ("head", "node2"))
    said = "head and node2 have middo-tui 1.0, but not the same code; install both from the same commit"
    assert list(differences(first, other, 2, "auto")) == [said]


def test_this_machine_knows_its_versions() -> None:
    here = machine_versions.this_machine(["H200"], ["GPU-1f"])
    assert here.libraries["torch"]
    assert list(differences(here, here, 1, "cpu")) == []
