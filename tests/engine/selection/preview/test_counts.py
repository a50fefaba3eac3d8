"""The preview says exactly what the select stage then does, for any data, memory, floors, cap and order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from engine.config import schema as configs
from engine.files.mapped_file import Sections
from engine.selection import choose
from engine.selection.choose import Earlier, Picks
from engine.selection.preview import build_process
from engine.selection.preview.counts import Preview
from engine.selection.preview.facts import PreviewFacts
from engine.selection.preview.round_arrays import Round
from engine.signals.nearest import Bools
from engine.stages import select
from engine.store.rows import AXES, Axis, Rewrite, Selection, Threshold
from engine.teacher.forecast import BegunRewrites, Usage
from tests.support import rounds as stored
from tests.support.previews import SENT, in_this_process, previewed

FEW = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 5.0, float("nan")])  # few values: ties, also on the cut
SIGNALS = ("loss_before", "loss_after", "similarity", "quality")


def made(values: dict[str, list[float]]) -> Round:
    """A round of these signals; every sample has a prompt of 10 and a response of 20 tokens."""
    size = len(values["quality"])
    arrays = {name: np.array(values[name], dtype=np.float64) for name in SIGNALS}
    tokens = np.array([[10] * size, [20] * size], dtype=np.int64)
    return Round(1, np.arange(100, 100 + size), arrays, tokens, SENT)


def members(mask: Bools) -> BitMap:
    return BitMap(np.flatnonzero(mask).tolist())


def masks(data: Round, facts: PreviewFacts) -> Picks:
    """Which samples are not tried again, as the stage remembers them."""
    return {axis: np.isin(data.ids, sorted(ids)) for axis, ids in facts.tried.items()}


def stage(data: Round, config: configs.Config, facts: PreviewFacts) -> tuple[choose.SelectionMasks, Picks, Picks]:
    """What the select stage does with a round: its choice, what was beyond, and what of it may be tried."""
    thresholds = choose.cuts(data.values, config.select, facts.earlier, data.round)
    picks = choose.beyond_all(data.values, thresholds)
    tried = masks(data, facts)
    fresh: Picks = {a: picks[a] & ~tried[a] if a in tried else picks[a] for a in AXES}
    most = choose.rewrite_cap(config.select, len(data.ids))
    return (
        choose.choose(fresh, lambda: choose.ranked(choose.badness(data.values, thresholds)), config.merge.order, most),
        picks,
        fresh,
    )


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Round, PreviewFacts]:
    size = draw(st.integers(0, 30))
    values = {name: draw(st.lists(FEW, min_size=size, max_size=size)) for name in SIGNALS}
    floors = {name: draw(st.sampled_from([0.0, 0.75, 1.0, 2.0])) for name in draw(st.sets(st.sampled_from(SIGNALS)))}
    tried: dict[Axis, set[int]] = {}
    if draw(st.booleans()):
        some = st.sets(st.integers(90, 135))  # of the round's samples and of others
        replacing = draw(some)
        tried = {"complexity": replacing, "quality": replacing, "diversity": draw(some)}
    return made(values), PreviewFacts(configs.Config(), tried=tried, earlier=Earlier(floors))


M = st.sampled_from([-1.0, -0.25, 0.0, 0.3, 0.5, 1.0, 2.0])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rounds(),
    st.lists(st.tuples(M, M, M), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.permutations(["quality", "complexity"]),
)
def test_counts_are_the_stages(
    stored: tuple[Round, PreviewFacts], asked: list[tuple[float, float, float]], share: float, order: list[str]
) -> None:
    data, facts = stored
    text = f"[select]\nmax_share = {share}\n[merge]\norder = ['{order[0]}', '{order[1]}']"
    preview = previewed(data, replace(facts, config=configs.parse(text, "x")))
    for c, d, q in asked:  # one object, asked again and again: nothing that it keeps may be stale
        set_to = f"m_complexity = {c}\nm_diversity = {d}\nm_quality = {q}"
        chosen, picks, fresh = stage(data, configs.parse(text.replace("[merge]", f"{set_to}\n[merge]"), "x"), facts)
        found = preview.counts({"complexity": c, "diversity": d, "quality": q})
        sizes = {a: int(chosen.selected[a].sum()) for a in AXES}
        assert found.size == len(data.ids)
        assert found.beyond == {a: int(picks[a].sum()) for a in AXES}
        assert found.selected == sizes
        for (a, b), both in found.both.items():
            assert both == int((chosen.selected[a] & chosen.selected[b]).sum())
        three = chosen.selected["complexity"] & chosen.selected["diversity"] & chosen.selected["quality"]
        assert found.all_three == int(three.sum())
        assert found.rewrites == {a: int(chosen.pending[a].sum()) for a in AXES}
        assert found.capped == chosen.capped
        assert found.again == sum(int((picks[a] & ~fresh[a]).sum()) for a in AXES)
        mine = preview.chosen({"complexity": c, "diversity": d, "quality": q})
        assert mine.selected == {a: members(chosen.selected[a]) for a in AXES}
        assert mine.pending == {a: members(chosen.pending[a]) for a in AXES}


@settings(max_examples=150, deadline=None)
@given(rounds(), st.sampled_from(AXES), M, st.integers(1, 6))
def test_the_margin_is_what_lies_nearest_to_the_cut(
    stored: tuple[Round, PreviewFacts], axis: Axis, m: float, n: int
) -> None:
    data, facts = stored
    tried = masks(data, facts)
    preview = previewed(data, facts)
    marks = preview.cut(axis, m)
    beyond, kept = preview.margin(axis, m, n)
    if len(marks) < len(choose.OF_AXIS[axis]):
        assert (beyond, kept) == ([], [])
        return
    away = np.full(len(data.ids), np.inf)
    for mark in marks:
        sign = 1 if choose.BY_NAME[mark.signal].side == "above" else -1
        away = np.minimum(away, sign * (data.values[mark.signal] - choose.threshold_value(mark)) / (mark.sigma or 1.0))
    may = np.isfinite(away) & (~tried[axis] if axis in tried else True)
    assert [near.distance for near in beyond] == sorted(away[may & (away > 0)])[:n]
    assert [near.distance for near in kept] == sorted(away[may & (away <= 0)], reverse=True)[:n]
    for near in beyond + kept:
        at = int(near.id) - 100
        assert may[at]
        assert away[at] == near.distance
        assert data.values[near.signal][at] == near.value


def groups(size: int, flawed: float) -> Round:
    """A share of ``flawed`` samples with high loss before and low ratings; similarity is one hump."""
    rng = np.random.default_rng(0)
    bad = rng.random(size) < flawed
    arrays = {
        "loss_before": np.exp(rng.normal(size=size) * 0.3 + 1.6 * bad),
        "loss_after": rng.gamma(3, 1, size),
        "similarity": rng.beta(20, 2, size),
        "quality": rng.normal(7, 0.5, size) - 3 * bad,
    }
    arrays["loss_after"][:3] = np.nan
    return made({name: values.tolist() for name, values in arrays.items()})


def test_the_mixture_rule_counts_as_the_stage_does_and_m_does_not_matter() -> None:
    data = groups(2_000, 0.2)
    config = configs.parse('[select]\nthreshold = "mixture"', "x")
    preview = previewed(data, config)
    chosen, picks, _ = stage(data, config, PreviewFacts(config))
    for m in (0.0, 3.0):
        found = preview.counts(dict.fromkeys(AXES, m), "mixture")
        assert found.selected == {a: int(chosen.selected[a].sum()) for a in AXES}
        assert found.beyond == {a: int(picks[a].sum()) for a in AXES}
    assert 350 < found.selected["complexity"] < 450
    assert 350 < found.selected["quality"] < 450
    assert found.selected["diversity"] == 0
    assert preview.margin("diversity", 1.0, 3, "mixture") == ([], [])
    just, kept = preview.margin("complexity", 1.0, 3, "mixture")
    assert len(just) == len(kept) == 3
    assert {near.signal for near in just + kept} == {"loss_before"}


def test_the_mixtures_cut_as_an_m_gives_the_same_cut() -> None:
    preview = previewed(groups(2_000, 0.2), configs.Config())
    found = preview.for_mixture("quality")
    assert found.cut is not None
    assert found.m is not None
    assert preview.cut("quality", found.m)[0].cut == pytest.approx(found.cut)
    assert found.verdict.startswith("two groups")
    none = preview.for_mixture("diversity")
    assert (none.cut, none.m) == (None, None)
    assert none.verdict.startswith("one group")


def test_a_histogram_holds_every_known_value_once() -> None:
    data = groups(3_000, 0.1)
    preview = previewed(data, configs.Config())
    for name in SIGNALS:
        found = preview.histogram(name, 40)
        assert sum(found.counts) == int(np.isfinite(data.values[name]).sum())
        assert len(found.edges) == len(found.counts) + 1 == 41
        assert list(found.edges) == sorted(found.edges)
        assert preview.histogram(name, 40) is found, "it is not counted again"
        inside = [
            (data.values[name] >= a) & (data.values[name] < b)
            for a, b in zip(found.edges[1:-2], found.edges[2:-1], strict=True)
        ]
        assert list(found.counts[1:-1]) == [int(mask.sum()) for mask in inside]


def test_a_preview_at_rest_holds_no_planes_and_answers_the_same() -> None:
    preview = previewed(groups(2_000, 0.2), configs.Config())
    before = preview.counts(preview.configured), preview.margin("complexity", 1.0, 3)
    preview.rest()
    held = [name for name, value in vars(preview).items() if isinstance(value, BitMap | dict | list) and value]
    assert "_columns" not in held
    assert not {"_everybody", "_tokens", "_picked", "_ranks"} & set(held)
    assert (preview.counts(preview.configured), preview.margin("complexity", 1.0, 3)) == before


@pytest.mark.parametrize("values", [[], [float("nan")] * 4, [2.0] * 4])
def test_a_round_with_nothing_to_tell(values: list[float]) -> None:
    preview = previewed(made(dict.fromkeys(SIGNALS, values)), configs.Config())
    found = preview.counts(preview.configured)
    assert found.selected == dict.fromkeys(AXES, 0)
    assert (found.teacher.calls, found.teacher.cost) == (0, 0.0)
    assert sum(preview.histogram("quality", 5).counts) == int(np.isfinite(values).sum())
    assert preview.for_mixture("complexity").m is None
    assert preview.missing == (SIGNALS if not np.isfinite(values).any() else ())


PRICED = "[teacher]\nbudget_tokens = 1000\nmodel = 'm'\nprices.m = {input = 1.0, output = 4.0}"


def test_calls_are_projected_from_lengths_before_the_first_rewrite() -> None:
    data = made(dict.fromkeys(SIGNALS, [1.0] * 9 + [9.0]))  # one on complexity, none below
    found = previewed(data, configs.parse(PRICED, "x")).counts(dict.fromkeys(AXES, 1.0)).teacher
    assert found.calls == 2
    assert found.tokens_in == 50 + 2 * 10 + 20
    assert found.tokens_out == 10 + 20
    assert found.cost == pytest.approx((90 + 4 * 30) / 1e6)
    assert "estimated" in found.basis
    assert not found.over


def test_calls_are_projected_from_the_rewrites_so_far() -> None:
    values = dict.fromkeys(SIGNALS, [1.0] * 9 + [9.0])
    usage = Usage({"complexity": BegunRewrites(4, 12, 2_000, 4_000), "quality": BegunRewrites(1, 2, 10, 10)})
    facts = PreviewFacts(configs.parse(PRICED, "x"), usage=usage)
    found = previewed(made(values), facts).counts(dict.fromkeys(AXES, 1.0)).teacher
    assert (found.calls, found.tokens_in, found.tokens_out) == (3, 500, 1_000)
    assert found.basis == "from 5 rewrites so far"
    assert found.over


def only_mixtures(folder: Path, *what: str, passing: tuple[int, ...] = ()) -> Sections:
    assert what[0] == "mixture", "the signals were read anew"
    return in_this_process(folder, *what, passing=passing)


@pytest.mark.parametrize("extra", ["", 'select.threshold = "mixture"', 'select.parity = "reference"'])
def test_a_stored_round_is_previewed_as_its_stage_selects(
    tmp_path: Path, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of 400 samples with memory, floors and gaps: the preview of the second is what the stage then does,
    read before from the signals and afterwards from what the stage has kept of them.
    """
    made = stored.project(tmp_path, 400, extra)
    sections = ["[select]", extra.removeprefix("select.")]
    if "threshold" not in extra:
        sections.append('threshold = "sigma"')  # as the project's stages have it
    sections += [f'[model]\nname = "{made.config.model.name}"']
    (tmp_path / "config.toml").write_text("\n".join(sections), encoding="utf-8")
    rng = np.random.default_rng(1)
    for round in (0, 1):
        bad = rng.random(400) < 0.25
        columns = (
            np.exp(rng.normal(size=400) * 0.3 + 1.8 * bad),
            np.exp(rng.normal(size=400) * 0.3 + 1.2 * bad),
            rng.beta(8, 2, 400),
            rng.normal(6.5, 0.5, 400) - 3 * bad,
        )
        values: list[stored.Signals] = [
            (float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)
        ]
        values[7], values[8] = (None, None, 0.5, 6.0), (2.0, 2.0, None, None)
        if round:
            stored.open_round(made, 1)
            pending = made.ctx("select", 0).rows(Rewrite)
            made.ctx("rewrite", 0).save(
                [
                    Rewrite(
                        0, r.sample_id, r.axis, "rejected", attempts=1, answer_attempts=1, tokens_in=30, tokens_out=20
                    )
                    for r in pending[::3]
                ]
            )
        stored.signal(made, values, round)
        preview = Preview.load(tmp_path, round)
        rule = preview.config.select.threshold
        assert rule != "evidence"
        found = preview.counts(preview.configured, rule)
        select.run(made.ctx("select", round))
        rows = made.ctx("select", round).rows(Selection)
        assert found.selected == {axis: sum(row.axis == axis for row in rows) for axis in AXES}
        states = made.ctx("select", round).rows(Rewrite)
        assert found.rewrites == {axis: sum(row.axis == axis for row in states) for axis in AXES}
        marks = {t.signal: t for t in made.ctx("select", round).rows(Threshold)}
        assert preview.thresholds(preview.configured, rule) == marks
        monkeypatch.setattr(build_process, "prepared", only_mixtures)
        kept = Preview.load(tmp_path, round)  # from what the stage has kept
        assert kept.thresholds(kept.configured, rule) == marks
        assert kept.counts(kept.configured, rule) == preview.counts(preview.configured, rule)
        assert kept.chosen(kept.configured, rule).pending == preview.chosen(preview.configured, rule).pending
        monkeypatch.undo()
        assert found.size == 400
    assert found.again > 0 or "reference" in extra
    assert "rewrites so far" in found.teacher.basis


def test_only_samples_of_the_round_count(tmp_path: Path) -> None:
    made = stored.project(tmp_path, 30)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    stored.signal(made, stored.usual(30, s3=(9.0, 9.0, 0.8, 6.0)))
    made.db.execute("INSERT INTO departure SELECT id, 1 FROM sample WHERE seq=3")
    assert Preview.load(tmp_path, 0).counts(dict.fromkeys(AXES, 2.0)).selected["complexity"] == 1
    after = Preview.load(tmp_path, 1)
    assert after.size == 29
    assert after.missing == SIGNALS, "round 1 was not scored yet"
