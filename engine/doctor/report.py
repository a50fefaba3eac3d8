"""All findings of the doctor for a machine and a project. Loads no torch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import psutil
import pynvml

from engine.backends import roles
from engine.config import renamed
from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import sharding
from engine.doctor import (
    backend_advice,
    data_facts,
    endpoint,
    fit,
    judge_servers,
    machines,
    memory,
    model_check_process,
    notification,
    privacy,
    timing,
    versions,
    vllm_memory,
)
from engine.doctor.data_facts import DataFacts
from engine.doctor.endpoint import ExpectedRequests
from engine.doctor.finding import Finding, refused
from engine.doctor.fit import Device
from engine.doctor.memory import DeviceSplit, ModelShape
from engine.doctor.model_check_process import ModelCheckResult
from engine.errors import MiddoError, ModelError
from engine.evaluation import task_index
from engine.machine.gauges import visible_gpus
from engine.models import folder as model_folder
from engine.models import locate
from engine.models.folder import local_models
from engine.plurals import counted
from engine.store.connect import FILE, database, filesystem, reader, refuse_network
from engine.training import liger, trackers

LOW_DISK = 10 * 2**30
GIB = 2**30


def findings(project: Path | None, ask: bool = False, timed: bool = False) -> Iterator[Finding]:
    """The machine's findings, then the project's, if one is named.

    ask: also send a fixed sentence to a remote teacher's endpoint. timed: also try how fast the models are.
    """
    yield Finding("python", f"{sys.version.split()[0]}")
    yield from versions.findings()
    yield from _gpus()
    memory = psutil.virtual_memory()
    yield Finding(
        "memory",
        f"{memory.available / GIB:.0f} of {memory.total / GIB:.0f} GiB free · {psutil.cpu_count()} CPUs",
    )
    yield _disk(project or Path.cwd())
    if project is not None:
        yield from _project(project, ask, timed)


def _gpus() -> Iterator[Finding]:
    handles = visible_gpus()
    if not handles:
        yield Finding("gpu", "none: everything runs on the CPU", fix="enough for the demo; a 7-8B model needs a GPU")
    for index, handle in enumerate(handles):
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        driver = pynvml.nvmlSystemGetDriverVersion()
        free, total = memory.free / GIB, memory.total / GIB
        name = pynvml.nvmlDeviceGetName(handle)
        fix = "another process uses its memory; find it with nvidia-smi" if free < 0.9 * total else ""
        yield Finding(f"gpu {index}", f"{name} · {free:.0f} of {total:.0f} GiB free · driver {driver}", fix=fix)


def _disk(path: Path) -> Finding:
    there = next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    fix = "a checkpoint of a full fine-tune is three times the model's size" if free < LOW_DISK else ""
    return Finding("disk", f"{free / GIB:.0f} GiB free at {there}", fix=fix)


def _project(project: Path, ask: bool, timed: bool) -> Iterator[Finding]:
    try:
        refuse_network(database(project))
        proc = Path("/proc/mounts")
        kind = filesystem(database(project), proc.read_text(encoding="utf-8") if proc.exists() else "")
        reader(project).close()
        yield Finding("store", f"{project / FILE} on {kind or 'an unknown filesystem'}")
        config = configs.load(project)
        data = data_facts.of_project(project, config)
    except MiddoError as error:
        yield Finding("project", str(error), bad=True)
        return
    for note in renamed.notes(project):
        yield Finding("config", note, fix="rename it")
    looked = _looked(config, project, sizes=timing.sizes(config, data) if timed else None)
    reply: Mapping[str, float] = {}
    asked = ExpectedRequests(ask, data.longest or config.model.max_length, data.system)
    for found in _roles(config, project, asked, looked):
        reply = found.facts or reply
        yield found
    yield from _fits(config, project, data, looked)
    if timed:
        yield from timing.of_project(project, config, data, _trained(config, project, data, looked), reply)


Cancelled = Callable[[], bool]
Keep = Callable[[Path], None]
"""Whether nobody waits any more; keeps in a project that was created what was measured before."""


def planned(folder: Path, config: Config, cancelled: Cancelled, keeps: Callable[[Keep], None]) -> Iterator[Finding]:
    """The findings for a project that would be created in ``folder`` with ``config``. ``cancelled``: whether nobody
    waits for them any more. ``keeps`` is given what keeps the measured speeds.
    """
    yield from findings(None)
    if _disk(folder).text != _disk(Path.cwd()).text:
        yield _disk(folder)
    looked = _looked(config, folder, cancelled, timing.sizes(config, DataFacts()))
    yield from _roles(config, folder, ExpectedRequests(longest=config.model.max_length), looked)
    yield from _fits(config, folder, DataFacts(), looked)
    tried = _trained(config, folder, DataFacts(), looked)
    keeps(lambda project: timing.keep(project, config, tried))
    yield from timing.planned(config, tried)


def _trained(
    config: Config, folder: Path, data: DataFacts, looked: Mapping[str, ModelCheckResult]
) -> timing.TriedModels:
    """How fast the models are, and whether training recomputes activations."""
    tried = timing.TriedModels({name: one for name, one in looked.items() if one.speeds or one.untimed})
    place = locate.on_disk(config.model.name, folder)
    try:
        shape = None if place is None else memory.read_shape(place)
    except ModelError:  # reported above
        shape = None
    if shape is None:
        return tried
    longest = data.longest or config.model.max_length
    again = fit.recomputes(fit.Models(shape), config, device(config), longest)
    return replace(tried, width=shape.hidden, recomputes=again)


def _fits(config: Config, folder: Path, data: DataFacts, looked: Mapping[str, ModelCheckResult]) -> Iterator[Finding]:
    """Memory per stage and disk space, with fixes; nothing if the model is not downloaded yet."""
    place = locate.on_disk(config.model.name, folder)
    if place is None or model("model", config.model.name, "alpaca", folder).bad:  # reported above
        return
    try:
        shape = replace(memory.read_shape(place), rows=looked["model"].rows if "model" in looked else 0)
    except ModelError as error:
        yield Finding("needs", str(error), fix="run the first round to see whether it fits")
        return
    tokens = data.longest or config.model.max_length
    try:
        plan = sharding.plan(config, folder)
    except MiddoError:  # reported above
        plan = None
    known = fit.Models(shape, _teacher(config, folder, shape))
    yield from fit.stages(known, config, device(config, plan), tokens)
    if (taken := gpus(config)) is not None:
        for role in roles.vllm_roles(config):
            if (served := known.teacher if vllm_memory.of_teacher(config, role) else shape) is not None:
                yield vllm_memory.finding(served, config, role, taken, min(tokens, config.model.max_length))
    counts = backend_advice.SampleCounts(data.rows, data.mean, min(tokens, config.model.max_length), data.selected)
    yield from backend_advice.findings(known, config, counts, _machine(taken))
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    yield fit.disk(shape, config, data.rows, shutil.disk_usage(there).free)


def _teacher(config: Config, folder: Path, own: ModelShape) -> ModelShape | None:
    """The shape of a local teacher; None if it is remote, not downloaded yet or unreadable."""
    if not config.teacher.model:
        return own
    place = None if config.teacher.backend == "openai" else locate.on_disk(config.teacher.model, folder)
    try:
        return None if place is None else memory.read_shape(place)
    except ModelError:  # its files are checked separately
        return None


def device(config: Config, plan: sharding.ShardingPlan | None = None) -> Device:
    """The memory of each process of a stage: its GPU, or its share of the free RAM.

    Args:
        plan: how training is spread.
    """
    split = DeviceSplit.of(plan, config.launch.processes)
    handles = [] if config.model.device == "cpu" else visible_gpus()
    if not handles:
        return Device("the CPU", psutil.virtual_memory().available // config.launch.processes, False, split)
    named = config.model.device.partition(":")[2]
    used = [int(named)] if named.isdigit() and int(named) < len(handles) else range(len(handles))
    free = {i: int(pynvml.nvmlDeviceGetMemoryInfo(handles[i]).free) for i in list(used)[: config.launch.processes]}
    least = min(free, key=lambda i: free[i])
    return Device(f"GPU {least}", free[least], True, split)


def gpus(config: Config) -> vllm_memory.Gpus | None:
    """The GPUs that vLLM would use, described by the one with the least free memory; None without a GPU."""
    handles = [] if config.model.device == "cpu" else visible_gpus()
    if not handles:
        return None
    found = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
    taken = range(min(len(found), config.vllm.tensor_parallel * config.vllm.data_parallel))
    least = min(taken, key=lambda i: int(found[i].free))
    return vllm_memory.Gpus(f"GPU {least}", len(found), int(found[least].free), int(found[least].total))


def _machine(taken: vllm_memory.Gpus | None) -> backend_advice.Machine:
    """The hardware for a local teacher or judge."""
    product = pynvml.nvmlDeviceGetName(visible_gpus()[int(taken.name.split()[-1])]) if taken else ""
    return backend_advice.Machine(taken, product, psutil.cpu_count(logical=False) or 1)


def _roles(
    config: Config, folder: Path, asked: ExpectedRequests, looked: Mapping[str, ModelCheckResult]
) -> Iterator[Finding]:
    """Findings on the model, the teacher, processes, privacy and evaluation tasks."""
    yield from _extras(config, len(visible_gpus()))
    if (found := _named_gpu(config, len(visible_gpus()))) is not None:
        yield found
    yield from _models(configs.placed(config, folder), folder, looked)
    if (found := vllm(config, len(visible_gpus()))) is not None:
        yield found
    if config.teacher.backend == "openai":
        yield from endpoint.findings(config, asked)
    elif not config.teacher.model:
        yield Finding(
            "teacher",
            "not set: the base model is its own teacher",
            fix="set [teacher] model to a stronger model",
        )
    yield from endpoint.others(config)
    yield from judge_servers.findings(config, folder)
    if (found := processes(config, len(visible_gpus()))) is not None:
        yield found
    if (found := training(config, folder, len(visible_gpus()))) is not None:
        yield found
    yield from machines.findings(config, folder)
    yield privacy.leaves(config)
    yield from notification.findings(config, folder)
    if config.evaluate.tasks:
        yield _evaluation(config, folder)


def _evaluation(config: Config, folder: Path) -> Finding:
    """Whether the evaluation tasks exist, and what they need."""
    try:
        needs = task_index.check(config, folder)
    except MiddoError as error:
        return Finding("evaluation", str(error), bad=True)
    fetched = [name for name, need in needs.items() if not need.local]
    where = f"; downloaded from the Hugging Face Hub: {', '.join(fetched)}" if fetched else ""
    code = [name for name, need in needs.items() if need.runs_code]
    fix = f"{', '.join(code)} runs model-written code with your permissions; use a disposable machine" if code else ""
    text = f"{len(needs)} task{'s' if len(needs) > 1 else ''} by lm-eval {metadata.version('lm_eval')}"
    return Finding("evaluation", f"{text}{where}", fix=fix)


def _named_gpu(config: Config, gpus: int) -> Finding | None:
    """A bad finding if config.toml names a GPU that does not exist; None otherwise."""
    name = config.model.device
    number = int(name.partition(":")[2] or 0)
    if not name.startswith("cuda") or number < gpus:
        return None
    there = f"this machine has {gpus} (numbered from 0)" if gpus else "this machine has no GPU"
    return Finding("device", f'[model] device = "{name}", but {there}', bad=True, fix='set device = "auto"')


def processes(config: Config, gpus: int) -> Finding | None:
    """Whether [launch] processes matches the number of GPUs; None if there is nothing to report."""
    wanted = config.launch.processes
    each = f" on each of {config.launch.nodes} machines" if config.launch.nodes > 1 else ""
    if config.model.device == "cpu" or not gpus:
        return Finding("processes", f"{wanted} on the CPU{each}") if config.launch.total > 1 else None
    if wanted > gpus:
        return Finding(
            "processes", f"{wanted} on {counted(gpus, 'GPU')}", bad=True, fix=f"set [launch] processes = {gpus}"
        )
    if config.launch.total > 1 and ":" in config.model.device:
        text = f'{wanted}{each}, but [model] device = "{config.model.device}" names one GPU'
        return Finding("processes", text, bad=True, fix='set device = "auto"')
    if wanted < gpus and ":" not in config.model.device:
        return Finding(
            "processes", f"{wanted} on {gpus} GPUs{each}", fix=f"set [launch] processes = {gpus} to use all of them"
        )
    return Finding("processes", f"{wanted}, one per GPU{each}") if config.launch.total > 1 else None


def training(config: Config, folder: Path, gpus: int) -> Finding | None:
    """How the accelerate config shards training, and what is missing for it; None without an accelerate config."""
    try:
        plan = sharding.check(config, folder, gpus)
    except MiddoError as error:
        return Finding("training", str(error), bad=True)
    if plan is None:
        return None
    parts = [name for name in ("weights", "gradients", "optimiser") if getattr(plan, name)]
    how = f"{', '.join(parts)} sharded over" if parts else "a full copy in each of"
    processes = counted(config.launch.total, "process", "processes")
    text = f"{plan.name} by {config.launch.accelerate_config}: {how} {processes}"
    fix = "only training is sharded; scoring and judging need the whole model on each GPU" if plan.weights else ""
    return Finding("training", text, fix=fix)


def _extras(config: Config, gpus: int) -> Iterator[Finding]:
    """Findings on optional packages that the settings need or can use."""
    found = liger.possible(config, gpus > 0 and config.model.device != "cpu")
    yield Finding(
        "liger", found.why, fix=f"{liger.INSTALL} makes training faster" if liger.INSTALL in found.why else ""
    )
    try:
        if config.train.method == "qlora":
            locate.require_nf4()
        trackers.require(config.train.report_to)
    except MiddoError as error:
        yield Finding("train", str(error), bad=True)


def vllm(config: Config, gpus: int) -> Finding | None:
    """Whether vLLM is installed and has enough GPUs; None if no role uses it."""
    if not (chosen := roles.vllm_roles(config)):
        return None
    name, version = "vllm for", roles.vllm_version()
    if version is None:
        return Finding(name, f"{' and '.join(chosen)}: not installed", bad=True, fix=roles.INSTALL)
    try:
        roles.check(config)
    except MiddoError as error:
        return Finding(name, str(error), bad=True, fix="change config.toml")
    wanted = config.vllm.tensor_parallel * config.vllm.data_parallel
    text = f"{' and '.join(chosen)}: {version}"
    if gpus and wanted > gpus:
        fix = f"lower [vllm] tensor_parallel or data_parallel; this machine has {gpus}"
        return Finding(name, f"{text} · needs {counted(wanted, 'GPU')}", bad=True, fix=fix)
    return Finding(name, text, fix=next(roles.notes(config), ""))


def model(role: str, name: str, chat_template: str = "", project: Path = Path()) -> Finding:
    """Whether the model ``name`` (see ``models.locate``) has all files that ``role`` needs."""
    if not name:
        return Finding(role, "not set", bad=True, fix="set [model] name in config.toml")
    folder = locate.on_disk(name, project)
    if folder is None:
        if Path(name).is_absolute():
            return Finding(role, f"{name}: no such folder", bad=True, fix="correct the path in config.toml")
        return Finding(role, f"{name}: will be downloaded from the Hugging Face Hub in the first run")
    try:
        model_folder.check(folder)
        if chat_template:
            from engine.chat.render import template_text

            template_text(chat_template)
        elif not model_folder.has_template(folder):
            fix = "set [model] chat_template, or use an instruct model's tokenizer"
            return Finding(role, f"{name}: its tokenizer has no chat template", bad=True, fix=fix)
        weights = sum(file.stat().st_size for file in model_folder.weight_files(folder))
    except MiddoError as error:
        return refused(role, error)
    template = f"chat template {chat_template}" if chat_template else "chat template"
    return Finding(role, f"{name} · {_size(weights)} of weights · {template}")


def _looked(
    config: Config,
    folder: Path,
    cancelled: Callable[[], bool] = model_check_process.never,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, ModelCheckResult]:
    """Findings from loading the models; empty if no model's files are complete. ``sizes``: as in ``check_models``."""
    for role, name, template in local_models(configs.placed(config, folder)):
        if locate.on_disk(name, folder) is not None and not model(role, name, template, folder).bad:
            return model_check_process.check_models(config, folder, cancelled, sizes)
    return {}


def _models(config: Config, folder: Path, looked: Mapping[str, ModelCheckResult]) -> Iterator[Finding]:
    """Findings on the model and a local teacher: their files and, if those are complete, whether a run can use them."""
    for role, name, template in local_models(config):
        found = model(role, name, template, folder)
        more = looked[role].findings if role in looked and not found.bad else ()
        yield from [*([] if any(f.bad for f in more) else [found]), *more]


def _size(weights: int) -> str:
    """Bytes for a person: GiB, or MiB for a small model."""
    return f"{weights / GIB:.1f} GiB" if weights >= GIB else f"{weights / 2**20:.1f} MiB"
