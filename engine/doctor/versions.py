"""The installed packages against what this version of middo-tui asks for, which its own metadata says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.doctor.finding import Finding

SELF = "middo-tui"
TOLD = frozenset({"torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm-eval", "openai", "textual"})
"""What is told also when nothing is wrong with it, as are the packages of extras that are installed."""
USED = frozenset({"vllm", "qlora", "liger"})
"""Extras that settings ask for. Whether they are needed is said where the setting is looked at."""
Installed = Callable[[str], str]


def findings(installed: Installed = metadata.version, asked: Sequence[str] | None = None) -> Iterator[Finding]:
    """A finding for each package that a run depends on, and for every other one that is wrong.

    A version outside the range may work: it stops no run, but nobody has tried it. One that is missing does stop it.

    Args:
        installed: a distribution's version, or PackageNotFoundError.
        asked: the requirements, as in ``Requires-Dist``.
    """
    if asked is None:
        try:
            asked = metadata.requires(SELF) or []
        except metadata.PackageNotFoundError:
            yield Finding(SELF, "not installed as a package: versions are not checked", fix="pip install -e .")
            return
    for requirement, extra in _chosen(asked):
        if (found := _finding(requirement, extra, installed)) is not None:
            yield found


def _chosen(asked: Sequence[str]) -> Iterator[tuple[Requirement, str]]:
    """The requirements that hold here, each with the extra that it belongs to; a package of two extras once."""
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
    return Finding(name, f"{version}, but this version of {SELF} was made for {wanted.specifier}", fix=fix)
