"""Compares installed packages with the requirements in middo-tui's own metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.doctor.finding import Finding

SELF = "middo-tui"
TOLD = frozenset({"torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm-eval", "openai", "textual"})
"""Packages that are reported even if nothing is wrong with them, like installed packages of extras."""
USED = frozenset({"vllm", "qlora", "liger"})
"""Extras that settings may need. Another finding reports a missing one."""
Installed = Callable[[str], str]


def findings(installed: Installed = metadata.version, asked: Sequence[str] | None = None) -> Iterator[Finding]:
    """A finding for each main dependency, and for every other package with the wrong version.

    A version outside the range is only a warning, since it may work. A missing package would make a run fail.

    Args:
        installed: a distribution's version, or PackageNotFoundError.
        asked: the requirements, as in ``Requires-Dist``.
    """
    if asked is None:
        try:
            asked = metadata.requires(SELF) or []
        except metadata.PackageNotFoundError:
            yield Finding(SELF, "not installed as a package, so versions are not checked", fix="pip install -e .")
            return
    for requirement, extra in _chosen(asked):
        if (found := _finding(requirement, extra, installed)) is not None:
            yield found


def _chosen(asked: Sequence[str]) -> Iterator[tuple[Requirement, str]]:
    """The requirements that apply to this platform, each with its extra; a package of two extras appears once."""
    seen: set[str] = set()
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(USED)):
            holds = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if holds and name not in seen:
                seen.add(name)
                yield requirement, extra


def _finding(wanted: Requirement, extra: str, installed: Installed) -> Finding | None:
    name = canonicalize_name(wanted.name)
    try:
        version = installed(wanted.name)
    except metadata.PackageNotFoundError:
        fix = f'pip install "{wanted.name}{wanted.specifier}"'
        return None if extra else Finding(name, "not installed", bad=True, fix=fix)
    if wanted.specifier.contains(version, prereleases=True):
        return Finding(name, version) if extra or name in TOLD else None
    fix = f'pip install "{SELF}[{extra}]"' if extra else f'pip install "{wanted.name}{wanted.specifier}"'
    return Finding(name, f"{version}, but {SELF} was tested with {wanted.specifier}", fix=fix)
