"""Reads and checks an accelerate config ([launch] accelerate_config): how training is sharded. Loads no torch.

``accelerate config`` writes the file. It says whether every process holds a whole copy of the model (DDP), or a shard
of weights, gradients and optimiser state (FSDP, DeepSpeed's ZeRO). Only training uses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.config.launch import Launch
from engine.config.schema import Config
from engine.errors import ConfigError

COPIES = ("MULTI_GPU", "MULTI_CPU")
PARTS = "SHARDED_STATE_DICT"
MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, slots=True)
class ShardingPlan:
    """What an accelerate config asks for.

    kind: what accelerate's ``distributed_type`` must be once it runs; "": DDP, not checked.
    fsdp, zero: FSDP's version, ZeRO's stage; 0: not used.
    weights, gradients, optimiser: whether each process holds only its shard of them.
    checkpointing: FSDP recomputes activations itself, in place of train.gradient_checkpointing.
    key: a hash of the files' content.
    """

    file: Path
    kind: str
    fsdp: int = 0
    zero: int = 0
    weights: bool = False
    gradients: bool = False
    optimiser: bool = False
    checkpointing: bool = False
    key: str = ""

    @property
    def name(self) -> str:
        """The name for messages, e.g. ``FSDP2``."""
        if self.fsdp:
            return f"FSDP{self.fsdp}"
        return f"DeepSpeed ZeRO-{self.zero}" if self.zero else "DDP"


def plan(config: Config, project: Path) -> ShardingPlan | None:
    """What the accelerate config of ``project`` asks for; None when config.toml names none.

    Raises:
        ConfigError: the file cannot be read or used, or contradicts config.toml; names file, key, reason and the way
            out.
    """
    if not (named := config.launch.accelerate_config):
        return None
    file = (project / Path(named).expanduser()).resolve()
    text = _text(file, "config.toml: [launch] accelerate_config names it")
    found = _Reading(file, _mapping(file, text, "YAML"))
    found.agree_on_processes(config.launch)
    found.refuse_the_unknown()
    kind = str(found.settings.get("distributed_type"))
    if kind in COPIES:
        made = ShardingPlan(file, "", key=_key(text))
    elif kind == "FSDP":
        made = found.fsdp(_key(text))
    elif kind == "DEEPSPEED":
        made = found.deepspeed(config, text)
    else:
        raise found.wrong("distributed_type", f"is {kind}", f"Use {', '.join(COPIES)}, FSDP or DEEPSPEED")
    _agree(found, made, config)
    return made


def check(config: Config, project: Path, gpus: int) -> ShardingPlan | None:
    """The plan, after checking that this machine can carry it out.

    Args:
        gpus: the number of GPUs.

    Raises:
        ConfigError: as ``plan``, or this machine lacks a package or GPUs.
    """
    made = plan(config, project)
    if made is None:
        return None
    if made.zero and find_spec("deepspeed") is None:
        raise ConfigError(
            f"{made.file}: distributed_type: DEEPSPEED needs the package deepspeed, which is not installed."
            ' Install it with `pip install "middo-tui[deepspeed]"`, or name an FSDP config.'
        )
    if made.fsdp and (config.model.device == "cpu" or not gpus):
        raise ConfigError(
            f"{made.file}: distributed_type: FSDP needs GPUs: on a CPU accelerate would split nothing."
            ' Set [launch] accelerate_config = "" in config.toml.'
        )
    return made


class _Reading:
    """Parses one accelerate config."""

    def __init__(self, file: Path, said: Mapping[str, Any]) -> None:
        self.file = file
        self.settings = said

    def wrong(self, key: str, reason: str, way: str) -> ConfigError:
        """The error for a key."""
        return ConfigError(f"{self.file}: {key} {reason}. {way}.")

    def agree_on_processes(self, launch: Launch) -> None:
        """Check that the numbers of machines and processes are those of [launch]."""
        if (machines := self.settings.get("num_machines", 1)) != launch.nodes:
            reason = f"is {machines}, but config.toml says [launch] nodes = {launch.nodes}"
            raise self.wrong("num_machines", reason, f"Set num_machines: {launch.nodes}")
        said, wanted = self.settings.get("num_processes"), launch.total
        if said != wanted:
            each = f"[launch] processes = {launch.processes}"
            if launch.nodes > 1:
                each += f" on each of {launch.nodes} machines, {wanted} in all"
            other = f", or processes = {said} in config.toml" if said and launch.nodes == 1 else ""
            raise self.wrong(
                "num_processes",
                f"is {said}, but config.toml says {each}" if said else "is missing",
                f"Set num_processes: {wanted}{other}",
            )

    def refuse_the_unknown(self) -> None:
        """Reject ways to shard a model that are untested with this trainer and its checkpoints."""
        for key in ("parallelism_config", "megatron_lm_config", "fp8_config"):
            if self.settings.get(key):
                raise self.wrong(key, "is not supported", "Remove it")

    def part(self, key: str) -> Mapping[str, Any]:
        """A table of the file."""
        found = self.settings.get(key) or {}
        if not isinstance(found, Mapping):
            raise self.wrong(key, "is not a mapping", "Compare it with what `accelerate config` writes")
        return found

    def fsdp(self, key: str) -> ShardingPlan:
        """FullyShardedDataParallel."""
        how = self.part("fsdp_config")
        if (version := how.get("fsdp_version", 1)) != 2:
            # accelerate 1.15 does not restore FSDP1's optimiser state from a sharded checkpoint: a resumed run would
            # silently train differently.
            reason = f"is {version!r}, whose checkpoints cannot be resumed (1 is the default)"
            raise self.wrong("fsdp_config.fsdp_version", reason, "Set fsdp_version: 2")
        if (kind := how.get("fsdp_state_dict_type", PARTS)) != PARTS:
            way = f"Set it to {PARTS}; the final checkpoint is a single one regardless"
            raise self.wrong("fsdp_config.fsdp_state_dict_type", f"is {kind}", way)
        again = bool(how.get("fsdp_activation_checkpointing"))
        return ShardingPlan(self.file, "FSDP", 2, 0, True, True, True, again, key)

    def deepspeed(self, config: Config, text: str) -> ShardingPlan:
        """The plan for DeepSpeed, configured here or in a separate JSON file."""
        how = self.part("deepspeed_config")
        if other := how.get("deepspeed_config_file"):
            file = (self.file.parent / str(other)).resolve()
            more = _text(file, f"{self.file}: deepspeed_config_file names it")
            text += more
            said = _mapping(file, more, "JSON")
            zero = said.get("zero_optimization") or {}
            given = _Reading(file, said)
            stage, name = zero.get("stage", 0), "zero_optimization.stage"
        else:
            said, given = how, self
            stage, name = how.get("zero_stage", 2), "deepspeed_config.zero_stage"
        if stage not in (1, 2, 3):
            raise given.wrong(name, f"is {stage!r}", "Use 1, 2 or 3")
        pairs = {"gradient_accumulation_steps": "gradient_accumulation", "gradient_clipping": "max_grad_norm"}
        for key, ours in pairs.items():
            wanted = getattr(config.train, ours)
            if (value := said.get(key, "auto")) not in ("auto", wanted):
                reason = f"is {value}, but config.toml says [train] {ours} = {wanted}"
                raise given.wrong(key, reason, f'Remove it, or set it to "auto" or {wanted}')
        return ShardingPlan(self.file, "DEEPSPEED", 0, stage, stage == 3, stage >= 2, True, False, _key(text))


def _agree(found: _Reading, made: ShardingPlan, config: Config) -> None:
    """Reject dtypes and methods that conflict with the plan."""
    said = found.settings.get("mixed_precision")
    dtype = config.model.dtype
    if made.kind and config.launch.nodes > 1:
        way = 'Use distributed_type: MULTI_GPU, or [launch] nodes = 1 and accelerate_config = "" in config.toml'
        raise found.wrong(
            "distributed_type", f"splits the model over several machines, which was never tried ({made.name})", way
        )
    if said and str(said) != "no" and dtype != "auto" and str(said) != MIXED[dtype]:
        reason = f'is {said}, but config.toml says [model] dtype = "{dtype}"'
        raise found.wrong("mixed_precision", reason, "Remove it; dtype decides")
    if config.train.method == "qlora" and made.kind:
        raise ConfigError(
            f'{found.file}: {made.name} does not shard the 4-bit weights of [train] method = "qlora".'
            ' Set method = "lora" in config.toml, or [launch] accelerate_config = "".'
        )


def _text(file: Path, whence: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror} ({whence}). Correct the path, or create the file with `accelerate config`."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _mapping(file: Path, text: str, what: str) -> Mapping[str, Any]:
    """The content of a YAML or JSON file, which must be a mapping."""
    import yaml

    try:
        read = json.loads(text) if what == "JSON" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{file}: not valid {what}: {reason}. Compare it with the examples in docs/examples."
        ) from None
    if not isinstance(read, Mapping):
        raise ConfigError(f"{file}: not a mapping. Compare it with the examples in docs/examples.")
    return read


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
