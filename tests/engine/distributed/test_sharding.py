"""An accelerate config is understood, or refused with file, key, reason and the way out; the examples can be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine.config import schema as configs
from engine.distributed import sharding
from engine.distributed.accelerate_env import NOT_OURS, environment
from engine.doctor import report
from engine.doctor.memory import WHOLE, DeviceSplit
from engine.errors import ConfigError
from tests.support import ROOT

EXAMPLES = ROOT / "docs" / "examples" / "accelerate"
FSDP = "distributed_type: FSDP\nnum_processes: 2\n"
TWO = FSDP + "fsdp_config: {fsdp_version: 2}\n"
ZERO = "distributed_type: DEEPSPEED\nnum_processes: 2\n"


def asked(file: str = "a.yaml", extra: str = "", processes: int = 2) -> configs.Config:
    launch = f'[launch]\nprocesses = {processes}\naccelerate_config = "{file}"\n'
    return configs.parse(launch + extra, "config.toml")


@pytest.mark.parametrize(
    ("file", "name", "split"),
    [
        ("ddp.yaml", "DDP", WHOLE),
        ("fsdp.yaml", "FSDP2", DeviceSplit(4, 4, 4)),
        ("zero2.yaml", "DeepSpeed ZeRO-2", DeviceSplit(1, 4, 4, zero=True)),
        ("zero3.yaml", "DeepSpeed ZeRO-3", DeviceSplit(4, 4, 4, zero=True)),
    ],
)
def test_the_examples_can_be_used_as_they_are(file: str, name: str, split: DeviceSplit) -> None:
    plan = sharding.plan(asked(file, processes=4), EXAMPLES)
    assert plan is not None
    assert plan.name == name
    assert DeviceSplit.of(plan, 4) == split
    found = environment(plan)
    assert ("ACCELERATE_USE_FSDP" in found, "ACCELERATE_USE_DEEPSPEED" in found) == (plan.fsdp > 0, plan.zero > 0)
    assert not found.keys() & {*NOT_OURS, "WORLD_SIZE", "RANK"}
    if plan.zero:
        assert found["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == str(plan.zero)
        assert found["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "auto", "accelerate's own 1 is not config.toml's"


def test_without_a_file_nothing_is_planned(tmp_path: Path) -> None:
    assert sharding.plan(configs.parse("[launch]\nprocesses = 4\n", "config.toml"), tmp_path) is None
    assert DeviceSplit.of(None, 4) is WHOLE


@pytest.mark.parametrize(
    ("text", "says", "way"),
    [
        ("a: [", "not valid YAML", "docs/examples"),
        ("- a\n", "not a mapping", "docs/examples"),
        ("distributed_type: FSDP\n", "num_processes is missing", "Set num_processes: 2"),
        (
            "distributed_type: FSDP\nnum_processes: 8\n",
            "num_processes is 8, but config.toml says [launch] processes = 2",
            "Set num_processes: 2, or processes = 8 in config.toml",
        ),
        (
            FSDP + "num_machines: 2\n",
            "num_machines is 2, but config.toml says [launch] nodes = 1",
            "Set num_machines: 1",
        ),
        ("distributed_type: MEGATRON_LM\nnum_processes: 2\n", "distributed_type is MEGATRON_LM", "FSDP or DEEPSPEED"),
        ("num_processes: 2\n", "distributed_type is None", "FSDP or DEEPSPEED"),
        (FSDP + "parallelism_config: {parallelism_config_tp_size: 2}\n", "parallelism_config is not supp", "Remove it"),
        (FSDP + "fsdp_config: {fsdp_version: 3}\n", "fsdp_config.fsdp_version is 3", "Set fsdp_version: 2"),
        (FSDP, "fsdp_config.fsdp_version is 1", "Set fsdp_version: 2"),
        (FSDP + "fsdp_config: 7\n", "fsdp_config is not a mapping", "accelerate config"),
        (
            FSDP + "fsdp_config: {fsdp_version: 2, fsdp_state_dict_type: FULL_STATE_DICT}\n",
            "fsdp_state_dict_type is FULL_STATE_DICT",
            "Set it to SHARDED_STATE_DICT",
        ),
        (ZERO + "deepspeed_config: {zero_stage: 0}\n", "zero_stage is 0", "Use 1, 2 or 3"),
        (
            ZERO + "deepspeed_config: {zero_stage: 2, gradient_accumulation_steps: 3}\n",
            "gradient_accumulation_steps is 3, but config.toml says [train] gradient_accumulation = 8",
            '"auto"',
        ),
        (ZERO + "deepspeed_config: {deepspeed_config_file: no.json}\n", "no.json: No such file", "Correct the path"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, says: str, way: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        sharding.plan(asked(), tmp_path)
    said = str(caught.value)
    assert str(tmp_path) in said
    assert says in said
    assert way in said


def test_what_does_not_go_with_config_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with pytest.raises(ConfigError, match=r"a\.yaml: No such file .*\[launch\] accelerate_config"):
        sharding.plan(asked(), tmp_path)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        sharding.plan(asked(), tmp_path)
    file.write_text(TWO + "mixed_precision: bf16\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r'mixed_precision is bf16, .*dtype = "float32"'):
        sharding.plan(asked(extra='[model]\ndtype = "float32"\n'), tmp_path)
    with pytest.raises(ConfigError, match=r'FSDP2 does not shard the 4-bit weights of .*method = "qlora"'):
        sharding.plan(asked(extra='[train]\nmethod = "qlora"\n'), tmp_path)
    with pytest.raises(ConfigError, match="accelerate_config needs processes"):
        asked(processes=1)


SEVERAL = "\nnodes = 2\nrendezvous = '10.0.0.1:29400'\n"


def test_on_several_machines_the_file_must_agree_and_must_not_split_the_model(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    copies = "distributed_type: MULTI_CPU\nnum_machines: {}\nnum_processes: {}\n"
    file.write_text(copies.format(1, 4), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"num_machines is 1, but config.toml says \[launch\] nodes = 2\. Set .*: 2"):
        sharding.plan(asked(extra=SEVERAL), tmp_path)
    file.write_text(copies.format(2, 2), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is 2, but .* processes = 2 on each of 2 machines, 4 in all\. Set .*: 4\."):
        sharding.plan(asked(extra=SEVERAL), tmp_path)
    file.write_text(copies.format(2, 4), encoding="utf-8")
    plan = sharding.plan(asked(extra=SEVERAL), tmp_path)
    assert plan is not None
    assert not environment(plan).keys() & {*NOT_OURS, "WORLD_SIZE", "RANK", "NODE_RANK"}
    for text in (TWO, ZERO):
        file.write_text(text.replace("2\n", "4\n", 1) + "num_machines: 2\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"distributed_type splits the model .* never tried.*\. Use .*MULTI_GPU"):
            sharding.plan(asked(extra=SEVERAL), tmp_path)


def test_a_json_file_of_deepspeeds_is_looked_for_beside_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}), encoding="utf-8")
    text = ZERO + "deepspeed_config: {deepspeed_config_file: ds.json}\n"
    (tmp_path / "conf" / "a.yaml").write_text(text, encoding="utf-8")
    plan = sharding.plan(asked("conf/a.yaml"), tmp_path)
    assert plan is not None
    assert (plan.zero, plan.weights) == (3, True)
    assert environment(plan)["ACCELERATE_DEEPSPEED_CONFIG_FILE"] == str(tmp_path / "conf" / "ds.json")
    other = json.dumps({"zero_optimization": {"stage": 2}})
    (tmp_path / "conf" / "ds.json").write_text(other, encoding="utf-8")
    again = sharding.plan(asked("conf/a.yaml"), tmp_path)
    assert again is not None
    assert again.key != plan.key, "a checkpoint of the one is none of the other"


def test_what_accelerate_refuses_is_said_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TWO + "colour: red\n", encoding="utf-8")
    plan = sharding.plan(asked(), tmp_path)
    assert plan is not None
    with pytest.raises(ConfigError, match=r"a\.yaml: not a valid accelerate config: .*unknown keys \(\['colour'\]\)"):
        environment(plan)


def test_the_machine_must_be_able_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(TWO, encoding="utf-8")
    with pytest.raises(ConfigError, match="needs GPUs: on a CPU accelerate would split nothing"):
        sharding.check(asked(), tmp_path, gpus=0)
    with pytest.raises(ConfigError, match="needs GPUs"):
        sharding.check(asked(extra='[model]\ndevice = "cpu"\n'), tmp_path, gpus=2)
    found = report.training(asked(), tmp_path, 2)
    assert found is not None
    assert found.text == "FSDP2 by a.yaml: weights, gradients, optimiser sharded over 2 processes"
    assert "only training is sharded" in found.fix
    (tmp_path / "a.yaml").write_text(ZERO, encoding="utf-8")
    monkeypatch.setattr(sharding, "find_spec", lambda name: None)
    found = report.training(asked(), tmp_path, 2)
    assert found is not None
    assert found.bad
    assert 'pip install "middo-tui[deepspeed]"' in found.text
    assert report.training(configs.Config(), tmp_path, 2) is None


SHOW = "import json, os\nif os.environ.get('RANK', '0') == '0': print('ENV' + json.dumps(dict(os.environ)))\n"


@pytest.mark.slow
def test_the_environment_is_accelerate_launchs_own(tmp_path: Path) -> None:
    """Every process that the real command starts has what ours have, value by value."""
    said = yaml.safe_load((EXAMPLES / "fsdp.yaml").read_text(encoding="utf-8"))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(said | {"num_processes": 2}), encoding="utf-8")
    (tmp_path / "show.py").write_text(SHOW, encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "a.yaml"]
    command += ["--main_process_port", "0", "show.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    line = next(line for line in done.stdout.splitlines() if line.startswith("ENV"))
    theirs = {k: v for k, v in json.loads(line[3:]).items() if k.startswith(("ACCELERATE_", "FSDP_"))}
    plan = sharding.plan(asked(), tmp_path)
    assert plan is not None
    ours = {k: v for k, v in {**os.environ, **environment(plan)}.items() if k.startswith(("ACCELERATE_", "FSDP_"))}
    assert theirs.pop("ACCELERATE_MIXED_PRECISION") == "no"  # [model] dtype decides
    assert ours == theirs
    assert ours["FSDP_VERSION"] == "2"
