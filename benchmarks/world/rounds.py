"""Three rounds over an invented dataset: signals, thresholds, selections, rewrites, decisions, the next dataset.

What belongs together agrees: selections follow from signals and thresholds, verdicts from the rewrites' new signals,
the next round's dataset from what was accepted.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import texts
from benchmarks.world.dataset import HOUR, ROUNDS, SIDES, START, Data, Floats
from benchmarks.world.rewrites import rewrites
from engine.config import defaults
from engine.config import schema as configs
from engine.loop import NAMES
from engine.signals.flaw_score import LENSES, flaw_scores
from engine.store import write
from engine.store.connect import transaction
from engine.store.rows import (
    AXES,
    EvalScore,
    Metric,
    content_id,
    load_messages,
)

SELECTED = {"complexity": 0.045, "diversity": 0.012, "quality": 0.04}
MOST = {"complexity": 3500, "diversity": 900, "quality": 3000}
AXIS_OF = {"loss_before": "complexity", "loss_after": "complexity", "similarity": "diversity", "quality": "quality"}
STEPS = 480


def write_rounds(db: sqlite3.Connection, data: Data, seed: int, settings: dict[str, dict[str, object]]) -> str:
    """All rounds; returns the text of the config that they ran with."""
    rng, noise = random.Random(seed + 1), np.random.default_rng(seed)
    floors: dict[str, float] = {}
    text = ""
    for round in range(ROUNDS):
        found = signals(data, noise, round)
        marks = {name: (float(np.nanmean(found[name])), float(np.nanstd(found[name]))) for name in SIDES}
        if round == 0:
            settings["select"] = {f"m_{axis}": m for axis, m in strictness(found, marks).items()}
            text = defaults.render(settings)
        config = configs.parse(text, "config.toml")
        m: dict[str, float] = {axis: getattr(config.select, f"m_{axis}") for axis in AXES}
        with transaction(db):
            _open(db, round, configs.snapshot(config))
            _write_signals(db, round, data, found)
            chosen, limits = _select(db, round, data, found, marks, m, floors)
            floors = floors or limits
            rows = rewrites(db, rng, round, data, found, chosen, marks)
            _measurements(db, rng, round, len(data.id))
            if round < ROUNDS - 1:
                data = _merge(db, round, data, found, chosen, rows)
    with transaction(db):
        db.execute("INSERT INTO plan (id, rounds, auto, want) VALUES (1, ?, 0, 'run')", (ROUNDS,))
    return text


# --------------------------------------------------------------------------------------------------- signals


def signals(data: Data, noise: np.random.Generator, round: int) -> dict[str, Any]:
    """The round's signals; NaN where a sample could not be measured."""
    size = len(data.id)
    base = np.exp(0.25 + 0.8 * (data.hard - 0.5) + 0.55 * data.flaw + noise.normal(0, 0.22, size))
    after = base * (0.52 + 0.25 * data.hard + 0.1 * data.flaw) * np.exp(noise.normal(0, 0.08, size))
    ratings = np.clip(7.6 - 5.2 * data.flaw[:, None] + noise.normal(0, 0.7, (size, 6)), 0, 9)
    lone = noise.random(size) < 0.18
    similarity = np.clip(noise.normal(0.80, 0.055, size) - 0.12 * lone, -1, 1)
    similarity[noise.random(size) < 0.004] = 1.0  # copies
    outlier = np.clip(noise.beta(1.6, 9, size) + 0.35 * lone, 0, 1)
    broken, unrated = noise.random(size) < 0.001, noise.random(size) < 0.002
    lenses = _lenses(data, base, round)
    for array in (base, after, similarity, outlier, *lenses.values()):
        array[broken] = np.nan
    scores, worst = flaw_scores({name: lenses[name] for name in LENSES})
    ratings[broken | unrated] = np.nan
    return {
        "loss_before": base,
        "loss_after": after * (0.98**round),
        "similarity": similarity,
        "ratings": ratings,
        "quality": ratings.mean(axis=1),
        "digit_mass": np.where(broken | unrated, 0.01, np.clip(noise.normal(0.96, 0.03, size), 0.06, 1)),
        "cluster": np.where(lone, -1, data.topic),
        "outlier": outlier,
        **lenses,
        "flaw": scores,
        "flaw_lens": np.array(LENSES)[worst],
        "broken": broken,
        "unrated": unrated,
    }


def _lenses(data: Data, base: Floats, round: int) -> dict[str, Floats]:
    """What the base model's token losses tell; each kind of flaw shows in one of them."""
    noise, size = np.random.default_rng(round + 1000), len(data.id)
    kind = noise.integers(0, 3, size)
    shows = [np.where(kind == at, data.flaw, 0.0) for at in range(3)]
    ifd = np.clip(noise.normal(0.62, 0.1, size) + 0.4 * shows[1], 0.05, 1.4)
    return {
        "end_of_turn": np.exp(noise.normal(-0.5, 0.7, size) + 2.6 * shows[0]),
        "without_prompt": base / ifd,
        "ifd": ifd,
        "worst_window": base * np.exp(noise.normal(0.6, 0.15, size) + 0.9 * shows[2]),
    }


def _write_signals(db: sqlite3.Connection, round: int, data: Data, found: dict[str, Any]) -> None:
    order = np.argsort(data.id)
    ids, near = data.id.tolist(), _neighbours(data)
    lists = {k: _nullable(found[k]) for k in ("loss_before", "loss_after", "similarity", "quality", "outlier", *FLAWS)}
    lens = found["flaw_lens"].tolist()
    ratings = [_nullable(found["ratings"][:, i]) for i in range(6)]
    clusters, mass = found["cluster"].tolist(), found["digit_mass"].tolist()
    prompt, response = data.prompt.tolist(), data.response.tolist()
    broken, unrated = found["broken"].tolist(), found["unrated"].tolist()
    db.executemany(
        SIGNALS,
        (
            (
                round,
                ids[i],
                lists["loss_before"][i],
                lists["loss_after"][i],
                prompt[i],
                response[i],
                "the prompt alone has 2,310 tokens, the limit is 2048" if broken[i] else None,
                lists["similarity"][i],
                None if broken[i] else near[i],
                *(column[i] for column in ratings),
                lists["quality"][i],
                mass[i],
                "only 0.010 of the probability is on digits" if unrated[i] else None,
                None if broken[i] else clusters[i],
                lists["outlier"][i],
                *(lists[name][i] for name in FLAWS),
                None if broken[i] else lens[i],
                None if broken[i] else response[i],
                None if broken[i] else response[i] + 60,
            )
            for i in order.tolist()
        ),
    )
    _write_clusters(db, round, found["cluster"], data)


SIGNALS = """
INSERT INTO signal (round, sample_id, loss_before, loss_after, prompt_tokens, response_tokens, score_error, similarity,
  neighbours, prompt_clarity, prompt_completeness, prompt_factuality, response_clarity, response_completeness,
  response_factuality, quality, digit_mass, judge_error, cluster, outlier, end_of_turn,
  without_prompt, ifd, worst_window, flaw, flaw_lens, window_begin, window_end)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""
FLAWS = ("end_of_turn", "without_prompt", "ifd", "worst_window", "flaw")
CLUSTERS = (
    "INSERT INTO cluster (round, cluster, size, exemplar, change, previous, previous_size) VALUES (?,?,?,?,?,?,?)"
)
SELECTION = "INSERT INTO selection (round, sample_id, axis, value, threshold) VALUES (?,?,?,?,?)"
GAUGES = (
    "INSERT INTO gauge (at, device, util, memory_used, memory_total, power, temperature)"
    " VALUES (?, 'cuda:0 NVIDIA H200', ?, 98000000000, 141000000000, 612.0, 64.0)"
)


def _nullable(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _neighbours(data: Data) -> list[str]:
    """Two others of the same topic for every sample, as the store keeps them."""
    out = [""] * len(data.id)
    for topic in range(len(texts.TOPICS)):
        places = np.flatnonzero(data.topic == topic).tolist()
        ids = data.id[places].tolist()
        for n, place in enumerate(places):
            out[place] = json.dumps([ids[(n + 1) % len(ids)], ids[n - 1]])
    return out


def _write_clusters(db: sqlite3.Connection, round: int, clusters: NDArray[np.int64], data: Data) -> None:
    before = dict(db.execute("SELECT cluster, size FROM cluster WHERE round=?", (round - 1,)).fetchall())
    rows = []
    for cluster, size in zip(*(a.tolist() for a in np.unique(clusters, return_counts=True)), strict=True):
        old = before.get(cluster)
        change = (
            "born" if old is None else "kept" if abs(size - old) < 0.002 * old else "grew" if size > old else "shrank"
        )
        exemplar = None if cluster < 0 else int(data.id[np.flatnonzero(clusters == cluster)[0]])
        rows.append((round, cluster, size, exemplar, change, None if old is None else cluster, old))
    db.executemany(CLUSTERS, rows)


# ------------------------------------------------------------------------------------------------- selection


def strictness(found: dict[str, Any], marks: dict[str, tuple[float, float]]) -> dict[str, float]:
    """The m of each axis that selects about as many as were wanted."""
    z = {name: sign * (found[name] - marks[name][0]) / marks[name][1] for name, sign in SIDES.items()}
    by_axis = {"complexity": np.minimum(z["loss_before"], z["loss_after"]), "diversity": z["similarity"]}
    by_axis["quality"] = z["quality"]
    out: dict[str, float] = {}
    for axis in AXES:
        values = by_axis[axis][np.isfinite(by_axis[axis])]
        share = min(SELECTED[axis], MOST[axis] / len(values))
        out[axis] = round_up(float(np.quantile(values, 1 - share)))
    return out


def round_up(value: float) -> float:
    """Two decimals, as a person would write it."""
    return max(0.05, math.ceil(value * 100) / 100)


def _select(
    db: sqlite3.Connection,
    round: int,
    data: Data,
    found: dict[str, Any],
    marks: dict[str, tuple[float, float]],
    m: dict[str, float],
    floors: dict[str, float],
) -> tuple[dict[str, list[int]], dict[str, float]]:
    """Thresholds and selections; returns the places selected by axis, and the cuts."""
    cuts, limits = {}, {}
    for name, sign in SIDES.items():
        mean, sigma = marks[name]
        cuts[name] = mean + sign * m[AXIS_OF[name]] * sigma
        floor = floors.get(name)
        limits[name] = cuts[name] if floor is None else max(cuts[name], floor) if sign > 0 else min(cuts[name], floor)
        db.execute(
            "INSERT INTO threshold (round, signal, axis, mean, sigma, m, cut, floor) VALUES (?,?,?,?,?,?,?,?)",
            (round, name, AXIS_OF[name], mean, sigma, m[AXIS_OF[name]], cuts[name], floor),
        )
    beyond = {name: sign * found[name] > sign * limits[name] for name, sign in SIDES.items()}
    chosen = {
        "complexity": np.flatnonzero(beyond["loss_before"] & beyond["loss_after"]).tolist(),
        "diversity": np.flatnonzero(beyond["similarity"]).tolist(),
        "quality": np.flatnonzero(beyond["quality"]).tolist(),
    }
    for axis, name in (("complexity", "loss_after"), ("diversity", "similarity"), ("quality", "quality")):
        db.executemany(
            SELECTION,
            [(round, int(data.id[i]), axis, float(found[name][i]), limits[name]) for i in chosen[axis]],
        )
    return chosen, cuts


# ------------------------------------------------------------------------------------------- the next dataset


def _merge(
    db: sqlite3.Connection,
    round: int,
    data: Data,
    found: dict[str, Any],
    chosen: dict[str, list[int]],
    rows: dict[tuple[int, str], tuple[str, str]],
) -> Data:
    """Accepted rewrites replace their samples; those of diversity are added, as many copies leave."""
    accepted = [(key, messages) for key, (state, messages) in rows.items() if state == "accepted"]
    kept = np.ones(len(data.id), np.bool_)
    new, born = Data.empty(len(accepted)), []
    top, known = int(data.seq.max()), set(data.id.tolist())
    for at, ((place, axis), messages) in enumerate(accepted):
        turns = load_messages(messages)
        copy = 0
        while (id := content_id(turns, copy)) in known:
            copy += 1
        known.add(id)
        new.put(at, id, top + 1 + at, int(data.topic[place]), False, turns)
        parent = int(data.id[place])
        born.append((id, messages, top + 1 + at, parent, axis, round + 1, f"rewrite of {parent}"))
        kept[place] = kept[place] and axis == "diversity"
    added = sum(1 for (_, axis), _ in accepted if axis == "diversity")
    taken = {place for places in chosen.values() for place in places}
    ranked = [i for i in np.argsort(-np.nan_to_num(found["similarity"], nan=-1)).tolist() if i not in taken]
    kept[ranked[:added]] = False
    db.executemany(
        "INSERT INTO sample (id, messages, seq, parent_id, axis, born_round, source) VALUES (?,?,?,?,?,?,?)", born
    )
    db.executemany("INSERT INTO departure VALUES (?,?)", [(i, round + 1) for i in sorted(data.id[~kept].tolist())])
    text = f"{len(accepted) - added} samples replaced, {added} added, {added} redundant ones retired"
    write.event(db, text, "info", round, "merge")
    return data.joined(new, kept)


# ---------------------------------------------------------------------------------------------- measurements


def _open(db: sqlite3.Connection, round: int, config: str) -> None:
    """The round with its jobs: done, but the last round's review, which waits."""
    begun, last = START + round * 6 * HOUR, round == ROUNDS - 1
    db.execute(
        "INSERT INTO round (round, config, closing, started_at, finished_at) VALUES (?,?,0,?,?)",
        (round, config, begun, None if last else begun + 5 * HOUR),
    )
    for at, stage in enumerate(NAMES):
        state = "done" if not last or at < 7 else "waiting" if at == 7 else "pending"
        times = (None, None) if state == "pending" else (begun + at * 1800, begun + at * 1800 + 1500)
        db.execute(
            "INSERT INTO job (round, stage, state, done, total, started_at, finished_at) VALUES (?,?,?,?,?,?,?)",
            (round, stage, state, 1000 if state == "done" else 0, 1000, *times),
        )


def _measurements(db: sqlite3.Connection, rng: random.Random, round: int, size: int) -> None:
    begun = START + round * 6 * HOUR
    rows: list[Metric | EvalScore] = [
        Metric(
            round,
            step,
            begun + step * 3,
            step / STEPS,
            0.95 - 0.05 * round + 1.1 * math.exp(-step / 60) + rng.gauss(0, 0.03),
            2e-4 * (1 - step / STEPS),
            rng.uniform(0.6, 1.1),
            rng.gauss(41_000, 700),
        )
        for step in range(1, STEPS + 1)
    ]
    rows.append(EvalScore(round, "heldout_loss", 1.312 - 0.06 * round, 0.01, 300, higher=False))
    rows.append(EvalScore(round, "accuracy", 0.356 + 0.019 * round, 0.013, 300))
    rows.append(EvalScore(round, "gsm8k", 0.301 + 0.011 * round, 0.012, 1319))
    write.upsert(db, rows)
    items = [(round, item, rng.uniform(0.8, 2.2), 200, "a reply", int(rng.random() < 0.37)) for item in range(1, 301)]
    db.executemany("INSERT INTO eval_item (round, item, loss, tokens, reply, correct) VALUES (?,?,?,?,?,?)", items)
    db.executemany(GAUGES, [(begun + i * 30, rng.uniform(90, 99)) for i in range(40)])
    for at, stage in enumerate(NAMES[:7]):
        db.execute(
            "INSERT INTO event (at, level, round, stage, text) VALUES (?,?,?,?,?)",
            (begun + at * 1800 + 1500, "info", round, stage, f"{stage} is done for {size:,} samples"),
        )
