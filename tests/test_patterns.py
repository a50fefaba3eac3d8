"""Every pattern of the program is linear in what it reads: a text that repeats itself holds up nothing.

For ``LONG`` characters a linear pattern needs a tenth of a second at most, a quadratic one from three seconds to a
minute: the limit on the processor's time lies between them.
"""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from engine.chat import prompts
from engine.injection.detect import find
from engine.verification import text_checks
from middo_tui.feed import filters
from tests.support import ROOT

LONG = 100_000
CPU_S = 1.0
"""Of work on one text, not of time: a busy machine fails nothing. The signal ends the process in the midst of it."""
PUMPS = (
    *"-'’ \n\t.a_Zé1\"#<[{|=:/\\,\x1b;漢",
    "<prompt>", "<think>", "<|", "- ", "a ", "a.", "a, ", "\n-", "a:", "a:\"", "\x1b[", "\x1b[1;", "a\n", "task: a\n",
    "ignore a ", "i g ", "01100001 ",
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


def attack(name: str, pattern: re.Pattern[str] | re.Pattern[bytes]) -> None:
    """Ask the pattern about every long text."""
    for beginning in BEGINNINGS.get(name, ("",)):
        for pump in PUMPS:
            for end in ENDS:
                text = beginning + pump * (LONG // len(pump)) + end
                subject = text.encode() if isinstance(pattern.pattern, bytes) else text
                signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
                pattern.match(subject)
                pattern.fullmatch(subject)
                if name not in AT_ONE_PLACE:
                    pattern.sub(subject[:0], subject)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)  # the next module's imports are not the pattern's work


def main() -> None:
    for name, pattern in patterns():
        print(f"{name}: {pattern.pattern!r}", flush=True)  # noqa: T201
        attack(name, pattern)
    for pump in PUMPS:
        print(f"checks: {pump!r}", flush=True)  # noqa: T201
        text = pump * (LONG // len(pump))
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
        new = text_checks.Exchange(text, text)
        text_checks.inspect(
            new,
            text_checks.Exchange("a", "b"),
            text_checks.CheckLimits(phrases=("a line of the request's template, long",)),
        )
        text_checks.inspect(new, new, text_checks.CheckLimits())
        text_checks.shingled(text)
        prompts.parse_prompt(text, text)
        find(text)
        for asked in (filters.parse, filters.match_of):
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
            with suppress(filters.FilterError):
                asked(text)
    print("checks: ends of blocks", flush=True)  # noqa: T201
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    find("x" * 10 * LONG + "<response>" + "</response>" * (LONG // 11))  # every end asks whether there was a beginning


def alone(*program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_pattern_and_no_check_takes_more_than_linear_time() -> None:
    done = alone("-m", "tests.test_patterns")
    assert done.returncode == 0, [*done.stdout.splitlines()[-1:], done.stderr[-2000:]]
    seen = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert {"_REFUSAL", "SCAFFOLDING", "_NAMED", "_TERM", "_TOKEN", "_UNPRINTABLE", "checks"} <= seen


def test_a_quadratic_pattern_is_ended() -> None:
    program = "import re; from tests import test_patterns as t; t.attack('_', re.compile(r'[\\s-]+$')); print('linear')"
    done = alone("-c", program)
    assert (done.returncode, done.stdout) == (-signal.SIGVTALRM, ""), done.stderr[-2000:]


@pytest.mark.parametrize("name", sorted(AT_ONE_PLACE))
def test_a_pattern_for_one_place_is_never_searched_for(name: str) -> None:
    used = [f for module, text in sources() for f in re.findall(rf"\b{name}(?:\[\d\])?\.(\w+)\(", text)]
    assert used
    assert set(used) <= {"match", "fullmatch"}


if __name__ == "__main__":
    main()
