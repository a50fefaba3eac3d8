"""No sentence says "1 calls": a number before a plural goes through ``plurals.counted``, or cannot be one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from engine.plurals import counted
from tests.support import ROOT

NOUNS = (
    "answers|attempts|batches|bytes|calls|characters|clusters|columns|copies|days|embeddings|entries|epochs|errors"
    "|failures|files|flaws|GPUs|hours|items|keys|labels|lines|machines|messages|minutes|models|names|pages|places"
    "|pairs|processes|projects|prompts|questions|ranks|ratings|repairs|replies|requests|results|rewrites|rounds|rows"
    "|samples|seconds|servers|stages|steps|tasks|times|tokens|turns|urls|values|votes|warnings|words|workers"
)
PLURAL = re.compile(rf" (?:[a-z-]+ )?({NOUNS})\b(?!')")
MORE_THAN_ONE = {
    " on each of {machines} machines": "said only of several",
    "context length {sees:,} tokens": "a model's context",
    "context length is {seen} tokens": "a model's context",
    "truncated to {seen} tokens": "a model's context",
    "context of {judge.positions} tokens": "a model's context",
    "context of {self.positions} tokens": "a model's context",
    "model's {self.positions} tokens": "a model's context",
    "takes {least} tokens": "a template has several",
    "samples ({longest:,} tokens": "the longest of many",
    "at most about {most} tokens": "a request with its reply",
    "requests of {there.request:,} tokens": "a request with its reply",
    "a request of {there.request:,} tokens": "a request with its reply",
    "cache: {tokens:,} tokens": "a cache",
    "samples of {SOME.mean:.0f} tokens": "a constant",
    "about {ahead.tokens_in:,} tokens": "a forecast of whole prompts",
    "{ahead.cap_tokens:,} tokens": "a budget",
    "of {how.budget_tokens:,} tokens": "a budget",
    "vLLM: {self.prompt_tokens:,} prompt tokens": "all prompts of a stage",
    "{number_format.short(tokens)} tokens": "of whole calls",
    "{number_format.short(data.tokens)} tokens": "of whole calls",
    "{number_format.short(abs(rest))} tokens": "of a budget",
    "{number_format.short(asked.tokens_in + asked.tokens_out):>13} tokens": "of whole calls",
    "{asked.tokens_in:,} tokens": "of whole calls",
    "{came.tokens_in} tokens": "a sent prompt",
    "{number_format.count(card.tokens)} tokens": "of whole calls",
    "{tokens_lost} tokens": "of whole calls",
    "{limit:,} tokens": "a context length",
    "{used} tokens": "of whole calls",
    "at least {LEAST_TOKEN} characters": "a constant",
    "on {gpus} GPUs": "more than the wanted ones",
    "of the {processes} GPUs": "more than there are",
    "of {self.launch.nodes} machines": "at least two",
    "of {nodes} machines": "at least two",
    "on {machines} machines": "at least two",
    "all {config.launch.nodes} machines": "at least two",
    "all {offer.nodes} machines": "at least two",
    "all {world.nodes} machines": "at least two",
    "each of {launch.nodes} machines": "at least two",
    "of {wanted} processes": "more than there are",
    "for each of {config.launch.total} processes": "more than there are",
    "each of {config.launch.nodes} machines": "at least two",
    "{MEET.total_seconds() / 60:g} minutes": "a constant",
    "ids of {self.head.rows:,} samples": "a map of many",
    "first {len(self.heard)} replies": "FIRST",
    "first {self._refused} calls": "OUTAGE_CALLS",
    "of {len(wanted):,} files": "said from 200 on",
    "about {took:,.0f} hours": "an estimate",
    "has only {rows} embeddings": "a tokenizer has many tokens",
    "more every day for {days} days": "a task of the demo",
    "{SEED_ROWS} seed rows": "a constant",
    "{requests:,} ratings": "six a sample",
    "turn {number} answers": "a verb",
    "{_THE_TEXT} rating ratings": "words of a rule",
    "sent to {where} in batches": "an address",
    "{min(SAMPLE, rows):,} sampled prompts": "an index of many",
    "{seed} labels": "a seed",
    "{self.how.url} answers": "a verb",
    "{min(placed.flaw[0], 0.999):.1%} of samples": "a share",
    "{min(flaw, 0.999):.1%} of samples": "a share",
    "({cost.tokens:,} tokens": "of whole calls",
    ", {both:,} with prompts": "of the samples before it",
    "{size(one.artifacts):>9} of models": "a size",
    "if per_s >= 10 else 1)}f} tokens": "a speed",
    "{screen.capitalize()} keys": "a name",
    "help: {screen} keys": "a name",
    "if known else ''} tokens": "of whole calls",
    "… {left + 1:,} more rows": "one row would be shown",
    "about {hf:,.1f} hours": "an estimate",
    "{(time.monotonic() - start) / 60:.0f} minutes": "of building a model",
    "{int(seconds / DAY_S):,} days": "at least two",
    "away {TRIES} times": "a constant",
    "of {want:,} bytes": "a whole file",
    "two {now} turns": "two",
    "none of {total:,} rows": "one has its own words",
    "newest {MOST:,} lines": "a constant",
    "first {MOST:,} rows": "a constant",
    "first {MOST:,} questions": "a constant",
    "{overlay.MOST} projects": "a constant",
    "of {found.found:,} lines": "more than are shown",
    "of {view.total:,} questions": "more than are shown",
    "of {turn.length:,} characters": "more than are shown",
    "All {count:,} rewrites": "one has its own words",
    "all {open_:,} rewrites": "one has its own words",
    "{count:,} samples": "one has its own words",
    "{self.masked:,} assistant turns": "one has its own words",
    "{one.rows:>9,} rows": "a table's column",
    "{added[0].rows:,} samples": "the demo's",
}
"""What stands before and in the braces, and why it is more than one."""


def pieces() -> Iterator[tuple[str, str]]:
    """(where, the source of a number with the words around it) of every f-string."""
    for package in ("engine", "middo_tui"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.JoinedStr):
                    yield from ((f"{path.relative_to(ROOT)}:{node.lineno}", one) for one in in_string(node))


def in_string(node: ast.JoinedStr) -> Iterator[str]:
    """``before {number} samples`` for each number that a plural follows."""
    for at, (value, after) in enumerate(zip(node.values, node.values[1:], strict=False)):
        if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
            continue
        found = PLURAL.match(str(after.value))
        if found is None or "counted(" in ast.unparse(value.value):
            continue
        before = node.values[at - 1] if at else None
        words = str(before.value) if isinstance(before, ast.Constant) else ""
        spec = ast.unparse(value.format_spec)[2:-1] if value.format_spec is not None else ""
        yield f"{words}{{{ast.unparse(value.value)}{':' + spec if spec else ''}}}{found[0]}"


def test_a_number_before_a_plural_is_counted_or_more_than_one() -> None:
    found = list(pieces())
    unused = [known for known in MORE_THAN_ONE if not any(known in text for _, text in found)]
    assert unused == []
    assert [(where, text) for where, text in found if not any(known in text for known in MORE_THAN_ONE)] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f'pausing: {n:,} calls in flight'", ["pausing: {n:,} calls"]),
        ("f'{counted(n, \"call\")} and {m} exact copies'", [" and {m} exact copies"]),
        ("f'{name} is read'", []),
    ],
)
def test_such_a_sentence_is_found(text: str, said: list[str]) -> None:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.JoinedStr)
    assert list(in_string(node)) == said


def test_one_has_its_singular() -> None:
    assert [counted(n, "call") for n in (0, 1, 2, 1200)] == ["0 calls", "1 call", "2 calls", "1,200 calls"]
    assert counted(1, "row is", "rows are") == "1 row is"
