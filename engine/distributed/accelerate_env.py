"""The environment variables that ``accelerate launch --config_file`` would set for every process.

The processes themselves are started by torchrun (``engine.distributed.torchrun``), which accelerate uses as well. That
keeps them tied to the worker, and ``accelerate launch`` would start a single process on a machine without a GPU.
"""

from __future__ import annotations

import os
from typing import Any

from engine.distributed.sharding import ShardingPlan
from engine.errors import ConfigError

# torchrun sets the rendezvous, [model] dtype the precision; our modules are found without "/" on the path.
NOT_OURS = ("MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION", "PYTHONPATH")

PLACES = (
    "--main_process_ip",
    "127.0.0.1",
    "--main_process_port",
    "0",
    "--machine_rank",
    "0",
)  # accelerate asks for them; torchrun decides


def environment(plan: ShardingPlan) -> dict[str, str]:
    """The variables from which accelerate's Accelerator reads what the file configures.

    Raises:
        ConfigError: accelerate refuses the file; names it and accelerate's reason.
    """
    from accelerate.commands import launch
    from accelerate.utils import launch as prepare

    try:
        asked = launch.launch_command_parser().parse_args(
            ["--config_file", str(plan.file), *PLACES, "--module", "engine.runtime.run_stage"]
        )
        asked, said, mixed = launch._validate_launch_command(asked)
        if plan.zero:
            fields = [*said.deepspeed_config, *(["mixed_precision"] if mixed else [])]
            asked.deepspeed_fields_from_accelerate_config = ",".join(fields)
            _complete(plan, asked, said.deepspeed_config)
            _, made = prepare.prepare_deepspeed_cmd_env(asked)
        elif plan.fsdp or asked.multi_gpu:
            made = prepare.prepare_multi_gpu_env(asked)
        else:
            _, made = prepare.prepare_simple_launcher_cmd_env(asked)
    except (ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{plan.file}: not a valid accelerate config: {reason}") from error
    return {name: value for name, value in made.items() if os.environ.get(name) != value and name not in NOT_OURS}


def _complete(plan: ShardingPlan, asked: Any, said: dict[str, Any]) -> None:
    """Leave to the trainer ("auto") what config.toml decides; resolve a file relative to the one that names it."""
    for name in ("gradient_accumulation_steps", "gradient_clipping"):
        if name not in said:
            setattr(asked, name, "auto")
    if asked.deepspeed_config_file:
        asked.deepspeed_config_file = str((plan.file.parent / asked.deepspeed_config_file).resolve())
