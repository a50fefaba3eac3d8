"""How long the stages of a round take: seconds as a sum of amounts of work, each times the seconds of one unit.

    seconds(stage) = START + rows × ROW + tokens × seconds a token + …

Amounts follow from the dataset, the settings and the stages' own code: which passes over which tokens. Seconds a token
depend on model and machine: ``engine.doctor.speed_probe`` measures them. START and ROW do not depend on the model; they
are CPU seconds on the machine of docs/benchmarks/cost-model.md, which fits them and holds the whole against
larger runs. Once a stage has run, its own seconds are believed instead (``scaled``). Pure functions; loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config.schema import Config

READ, PREDICTED, LEARNED = "read", "predicted", "learned"
"""Units: a token through the layers without gradients; one whose probabilities are computed; one that is learned."""
WRITTEN, ASKED, REPLIED, RATED = "written", "asked", "replied", "rated"
"""Units: a token that the model writes; one that the teacher reads; one that it writes; a sample rated six times."""
OPENED, FETCHED = "opened", "fetched"
"""Units: once that the model is read from its files; once that a local teacher is."""
OF_TEACHER = frozenset({ASKED, REPLIED, FETCHED})
OF_MACHINE = OF_TEACHER | {OPENED}
"""Units that more processes make no faster."""
ROWS, CHECKED, COMPARED = "rows", "checked", "compared"
"""Units that need no measuring: a sample, a rewrite that verify measures, a second of comparing embeddings."""
Amounts = Mapping[str, float]
Speeds = Mapping[str, float]
"""Seconds of one unit."""

START = {
    "train": 1.14,
    "score": 1.42,
    "judge": 0.185,
    "evaluate": 0.06,
    "select": 0.007,
    "rewrite": 0.173,
    "verify": 1.04,
}
"""Seconds before a stage's first sample: libraries are loaded, adapters made."""
LOAD = 1.1e-9
"""Seconds for a byte of weights that is read from a file in memory: .6 CPU seconds for half a GB in float32."""
ROW = {
    "train": 7.4e-4,
    "score": 8.6e-4,
    "judge": 5.1e-4,
    "select": 4.4e-5,
    "rewrite": 2.6e-2,
    "verify": 5.5e-5,
    "merge": 2e-5,
}
"""Seconds a sample besides the model's: rendering, reading and writing rows. Rewrite: a sample that is asked about."""
CHECK = 5.5e-3
"""Seconds for a rewrite that verify measures, besides the model's: its words, its neighbours, its row."""
SUSTAINED = 1.05
"""A stage's tokens take so much longer than those of a trial of a second at its fastest."""
PAIR, PAIR_WIDTH, INDEXED, INDEX_FROM = 2.1e-9, 9e-12, 1.1e-4, 50_000
"""Seconds for a pair of rows, and more for each number of an embedding; for a row where an index is used, and from how
many rows on (docs/benchmarks/neighbours.md, neighbour-index.md).
"""
RATING = 60
"""Tokens that tell a sample's six rating requests apart, about."""
OPENING = 10
"""Tokens that a template puts around a prompt."""
PAIRS, SPOILT = 256, 32
"""Verify's random answers to random prompts; the judge's copies (``verification.drift``, ``signals.spoilt_copies``)."""
REQUEST = 200
"""Tokens of a request for a new prompt, beside the sample."""


@dataclass(frozen=True, slots=True)
class RoundWork:
    """What a round works on. prompt, response: tokens of the mean sample. fresh: samples whose losses under the base
    nobody knows yet. asked: samples that the teacher is asked about. passed: of their rewrites, those that pass the
    text checks and so are measured; None: all, as nobody knows before. width: numbers of an embedding.
    padding: tokens of training with padding, for each without.
    """

    rows: int
    prompt: float
    response: float
    heldout: int = 0
    fresh: int = 0
    asked: int = 0
    passed: int | None = None
    width: int = 0
    padding: float = 1.0

    @property
    def tokens(self) -> float:
        """Of the mean sample."""
        return self.prompt + self.response


def amounts(facts: RoundWork, config: Config) -> dict[str, Amounts]:
    """The work of every stage of a round, by unit. Nothing for a stage whose work the settings leave unknown."""
    return {
        "train": _train(facts, config),
        "score": _score(facts, config),
        "judge": _judge(facts, config),
        "evaluate": _evaluate(facts, config),
        "select": {ROWS: facts.rows},
        "rewrite": _rewrite(facts, config),
        "verify": _verify(facts, config),
        "merge": {ROWS: facts.rows},
    }


def _train(facts: RoundWork, config: Config) -> Amounts:
    return {ROWS: facts.rows, OPENED: 1, LEARNED: facts.rows * config.train.epochs * facts.tokens * facts.padding}


def padding(lengths: Sequence[int], config: Config) -> float:
    """Tokens that training computes for each token of a sample: a micro-batch is as wide as its longest.

    Args:
        lengths: tokens of some samples, in any random order.
    """
    how, own, whole = config.train, sum(lengths), 0
    if how.packing or not own:
        return 1.0
    step = how.batch_size * how.gradient_accumulation
    for first in range(0, len(lengths), step):
        part = sorted(lengths[first : first + step]) if how.balance else lengths[first : first + step]
        batches = [part[i : i + how.batch_size] for i in range(0, len(part), how.batch_size)]
        whole += sum(max(batch) * len(batch) for batch in batches)
    return whole / own


def _score(facts: RoundWork, config: Config) -> Amounts:
    """The pass under this round's model, the prompts by themselves, and the base's passes where they are not known."""
    embedded = 0.0 if config.score.embed == "in_template" else max(facts.prompt - OPENING, 0.0)
    base = facts.tokens + facts.response + OPENING
    return {
        ROWS: facts.rows,
        OPENED: 1,
        READ: facts.rows * (facts.tokens + embedded) + facts.fresh * base,
        PREDICTED: facts.rows * facts.response + facts.fresh * 2 * facts.response,
        COMPARED: compared(facts.rows, facts.width, config.score.neighbour_search == "exact"),
    }


def compared(rows: int, width: int, exact: bool) -> float:
    """Seconds for all nearest neighbours."""
    if rows < INDEX_FROM or exact:
        return rows * rows * (PAIR + PAIR_WIDTH * width)
    return rows * INDEXED


def _judge(facts: RoundWork, config: Config) -> Amounts:
    if config.judge.mode == "sampled" or config.judge.remote:
        return {}
    return {ROWS: facts.rows, RATED: facts.rows + 2 * SPOILT}


def _evaluate(facts: RoundWork, config: Config) -> Amounts:
    if config.evaluate.tasks:
        return {}
    found = {READ: facts.heldout * facts.tokens, PREDICTED: facts.heldout * facts.response}
    if config.evaluate.exact_match:
        written = min(facts.response, config.evaluate.max_new_tokens)
        found |= {READ: found[READ] + facts.heldout * facts.prompt, WRITTEN: facts.heldout * written}
    return found


def _rewrite(facts: RoundWork, config: Config) -> Amounts:
    """One answer to the sample's own prompt where evidence selects; else a new prompt, and an answer to it."""
    answer = {ASKED: facts.prompt, REPLIED: facts.response * config.teacher.best_of}
    if config.select.threshold != "evidence":
        answer = {ASKED: 2 * facts.prompt + facts.response + REQUEST, REPLIED: facts.tokens}
    return {ROWS: facts.asked, FETCHED: 1} | {unit: facts.asked * each for unit, each in answer.items()}


def least_seconds(facts: RoundWork, config: Config) -> float:
    """Seconds that the teacher's rate limits alone make of a rewrite stage: each server answers no faster."""
    how = config.teacher
    if how.backend != "openai" or how.batch:
        return 0.0
    work, calls = (
        _rewrite(facts, config),
        facts.asked * (1 if config.select.threshold == "evidence" else 1 + how.best_of),
    )
    limits = ((calls, how.requests_per_minute), (work[ASKED] + work[REPLIED], how.tokens_per_minute))
    return max(60 * count / (limit * (1 + len(how.more_urls))) if limit else 0.0 for count, limit in limits)


def _verify(facts: RoundWork, config: Config) -> Amounts:
    """Both losses, the lenses and the ratings of what the teacher wrote, and a look at every sample's words. Random
    pairs are read where rewrites have other prompts than their samples: not where evidence selects.
    """
    alone, passed = facts.response + OPENING, facts.asked if facts.passed is None else facts.passed
    crossed = config.verify.on_topic > 0 and config.select.threshold != "evidence"
    random = min(PAIRS, facts.rows // 2) if crossed and passed else 0
    return {
        ROWS: facts.rows,
        CHECKED: passed,
        OPENED: 1,
        READ: passed * (2 * facts.tokens + facts.prompt + alone) + random * (facts.tokens + alone),
        PREDICTED: (passed * 3 + random * 2) * facts.response,
        RATED: passed,
    }


def seconds(stage: str, work: Amounts, speeds: Speeds) -> float | None:
    """Seconds for the ``work`` of a stage; None: a speed that it needs is not known, or the work is not. What servers
    have read before is not waited for.
    """
    known = {ROWS: ROW.get(stage, 0.0), CHECKED: CHECK, COMPARED: 1.0, OPENED: 0.0, FETCHED: 0.0}
    known |= {unit: SUSTAINED * took for unit, took in speeds.items()}
    needed = {unit: count for unit, count in work.items() if count}
    if not work or any(unit not in known for unit in needed):
        return None
    return START.get(stage, 0.0) + sum(count * known[unit] for unit, count in needed.items())


def scaled(stage: str, took: float, rows_then: int, rows_now: int) -> float:
    """Seconds of a stage that ``took`` so long on ``rows_then`` samples, for ``rows_now`` of them. The held-out samples
    that are evaluated stay the same.
    """
    if stage == "evaluate":
        return took
    start = min(START.get(stage, 0.0), took)
    return start + (took - start) * rows_now / max(rows_then, 1)
