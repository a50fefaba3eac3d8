"""Every pattern of the program is linear in what it reads: a text that repeats itself holds up nothing.

A quadratic pattern needs hours for ``LONG`` characters, all of them together need 20 s: the limit on the processor's
time lies far from both.
"""

from __future__ import annotations

import importlib
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from engine.chat import prompts
from engine.verification import text_checks
from middo_tui.feed import filters
from tests.support import ROOT

LONG = 300_000
CPU_S = 120
PUMPS = (
    *"-'’ \n\t.a_Zé1\"#<[{|=:/\\,\x1b;漢",
    "<prompt>", "<think>", "<|", "- ", "a ", "a.", "a, ", "\n-", "a:", "a:\"", "\x1b[", "\x1b[1;", "a\n", "task: a\n",
)  # fmt: skip
ENDS = ("", '\x00"x')
BEGINNINGS = {
    "_REFUSAL": ("", "sorry, i", "as an ai", "i can't ", "i can't a "),
    "_THOUGHT": ("", "<think>"),
    "_NAMED": ("", "task: a"),
    "_TAGGED": ("", "tag: a"),
    "KEY": ("", "a", "a."),
    "_WRITTEN": ("", "a/b", "a/b:c", "a/b "),
    "_TERM": ("", "a:", '"'),
}
AT_ONE_PLACE = {
    *("_REFUSAL", "_THOUGHT", "_VERSION", "KEY", "HEADER", "_WRITTEN", "_TERM", "_MOVES_NOTHING", "MODIFIED"),
    *("STEERING", "KEPT", "SECRET", "NOT_SECRET"),
}
"""Patterns that are only asked about one place of a text, by ``match`` or ``fullmatch``."""


def sources() -> Iterator[tuple[str, str]]:
    for package in ("engine", "middo_tui"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text(encoding="utf-8")


def patterns() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    for module, text in sources():
        if not re.search(r"^[A-Z_]+ = .*re\.compile|^    re\.compile", text, re.M):
            continue
        for name, value in vars(importlib.import_module(module.removesuffix(".__init__"))).items():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, re.Pattern):
                    yield name, one


def attack(name: str, pattern: re.Pattern[str] | re.Pattern[bytes]) -> int:
    """Ask the pattern about every long text; returns how many there were."""
    count = 0
    for beginning in BEGINNINGS.get(name, ("",)):
        for pump in PUMPS:
            for end in ENDS:
                text = beginning + pump * (LONG // len(pump)) + end
                subject = text.encode() if isinstance(pattern.pattern, bytes) else text
                pattern.match(subject)  # type: ignore[arg-type]
                pattern.fullmatch(subject)  # type: ignore[arg-type]
                if name not in AT_ONE_PLACE:
                    pattern.sub(subject[:0], subject)  # type: ignore[type-var]
                count += 1
    return count


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))  # of work, not of time: a busy machine fails nothing
    for name, pattern in patterns():
        print(f"{name}: {attack(name, pattern)} texts", flush=True)  # noqa: T201
    for pump in PUMPS:
        text = pump * (LONG // len(pump))
        new = text_checks.Exchange(text, text)
        text_checks.inspect(
            new,
            text_checks.Exchange("a", "b"),
            text_checks.CheckLimits(phrases=("a line of the request's template, long",)),
        )
        text_checks.inspect(new, new, text_checks.CheckLimits())
        text_checks.shingled(text)
        prompts.parse_prompt(text, text)
        for asked in (filters.parse, filters.match_of):
            with suppress(filters.FilterError):
                asked(text)
        print(f"{pump!r}: checked", flush=True)  # noqa: T201


def test_no_pattern_and_no_check_takes_more_than_linear_time() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_patterns"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert {"_REFUSAL", "SCAFFOLDING", "_NAMED", "_TERM", "_TOKEN", "_UNPRINTABLE"} <= seen


@pytest.mark.parametrize("name", sorted(AT_ONE_PLACE))
def test_a_pattern_for_one_place_is_never_searched_for(name: str) -> None:
    used = [f for module, text in sources() for f in re.findall(rf"\b{name}(?:\[\d\])?\.(\w+)\(", text)]
    assert used
    assert set(used) <= {"match", "fullmatch"}


if __name__ == "__main__":
    main()
