"""What ``accelerate launch --config_file`` would put into the environment of every process that it starts.

The processes themselves are started by torchrun (``engine.distributed.torchrun``), as accelerate does it too: they so
stay tied to the worker, and ``accelerate launch`` would start a single process where there is no GPU.
"""

from __future__ import annotations

import os
from typing import Any

from engine.distributed.sharding import ShardingPlan
from engine.errors import ConfigError

# torchrun says where processes meet; [model] dtype says how they compute; ours are found without a folder "/".
NOT_OURS = ("MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION", "PYTHONPATH")

PLACES = (
    "--main_process_ip",
    "127.0.0.1",
    "--main_process_port",
    "0",
    "--machine_rank",
    "0",
)  # asked for, and not ours


def environment(plan: ShardingPlan) -> dict[str, str]:
    """The variables by which accelerate's Accelerator learns what the file asks for.

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
    """What config.toml says is filled in by the trainer ("auto"); a file is looked for beside the one that names it."""
    for name in ("gradient_accumulation_steps", "gradient_clipping"):
        if name not in said:
            setattr(asked, name, "auto")
    if asked.deepspeed_config_file:
        asked.deepspeed_config_file = str((plan.file.parent / asked.deepspeed_config_file).resolve())
