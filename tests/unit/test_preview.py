"""The preview says exactly what the select stage then does, for any data, memory, floors, cap and order."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import config as configs
from engine import selection
from engine.columns import Round
from engine.preview import Preview
from engine.projection import Lengths, Request
from engine.selection import Earlier, Picks
from engine.signals import Bools
from engine.store.rows import AXES, Axis

FEW = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 5.0, float("nan")])  # few values: ties, also on the cut
SIGNALS = ("loss_before", "loss_after", "similarity", "quality")
SENT: dict[Axis, Request] = dict.fromkeys(AXES, Request(50.0, 2.0, 1.0))


def made(values: dict[str, list[float]], **extra: object) -> Round:
    """A round of these signals; every sample has a prompt of 10 and a response of 20 tokens."""
    size = len(values["quality"])
    arrays = {name: np.array(values[name], dtype=np.float64) for name in SIGNALS}
    lengths = Lengths(np.array([[10.0] * size, [20.0] * size], dtype=np.float32), SENT)
    return Round(1, np.arange(100, 100 + size), arrays, lengths, **extra)  # type: ignore[arg-type]


def stage(data: Round, config: configs.Config) -> tuple[selection.Chosen, Picks, Picks]:
    """What the select stage does with a round: its choice, what was beyond, and what of it may be tried."""
    thresholds = selection.cuts(data.values, config.select, data.earlier, data.round)
    picks = selection.beyond_all(data.values, thresholds)
    fresh: Picks = {a: picks[a] & ~data.tried[a] if a in data.tried else picks[a] for a in AXES}
    most = selection.most(config.select, len(data.ids))
    return (
        selection.choose(fresh, selection.badness(data.values, thresholds), config.merge.order, most),
        picks,
        fresh,
    )


@st.composite
def rounds(draw: st.DrawFn) -> Round:
    size = draw(st.integers(0, 30))
    values = {name: draw(st.lists(FEW, min_size=size, max_size=size)) for name in SIGNALS}
    floors = {name: draw(st.sampled_from([0.0, 0.75, 1.0, 2.0])) for name in draw(st.sets(st.sampled_from(SIGNALS)))}
    tried: Picks = {}
    if draw(st.booleans()):
        masks = st.lists(st.booleans(), min_size=size, max_size=size)
        replacing: Bools = np.array(draw(masks), dtype=np.bool_)
        tried = {"complexity": replacing, "quality": replacing, "diversity": np.array(draw(masks), dtype=np.bool_)}
    return made(values, tried=tried, earlier=Earlier(floors))


M = st.sampled_from([-1.0, -0.25, 0.0, 0.3, 0.5, 1.0, 2.0])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rounds(),
    st.lists(st.tuples(M, M, M), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.permutations(["quality", "complexity"]),
)
def test_counts_are_the_stages(
    data: Round, asked: list[tuple[float, float, float]], share: float, order: list[str]
) -> None:
    text = f"[select]\nmax_share = {share}\n[merge]\norder = ['{order[0]}', '{order[1]}']"
    preview = Preview(data, configs.parse(text, "x"))
    for c, d, q in asked:  # one object, asked again and again: nothing that it keeps may be stale
        set_to = f"m_complexity = {c}\nm_diversity = {d}\nm_quality = {q}"
        chosen, picks, fresh = stage(data, configs.parse(text.replace("[merge]", f"{set_to}\n[merge]"), "x"))
        found = preview.counts({"complexity": c, "diversity": d, "quality": q})
        sizes = {a: int(chosen.selected[a].sum()) for a in AXES}
        assert found.size == len(data.ids)
        assert found.beyond == {a: int(picks[a].sum()) for a in AXES}
        assert found.selected == sizes
        for (a, b), both in found.both.items():
            assert both == int((chosen.selected[a] & chosen.selected[b]).sum())
        three = chosen.selected["complexity"] & chosen.selected["diversity"] & chosen.selected["quality"]
        assert found.all_three == int(three.sum())
        assert found.rewrites == {a: int(chosen.owed[a].sum()) for a in AXES}
        assert found.capped == chosen.capped
        assert found.again == sum(int((picks[a] & ~fresh[a]).sum()) for a in AXES)
        mine = preview.chosen({"complexity": c, "diversity": d, "quality": q})
        assert all(
            (mine.selected[a] == chosen.selected[a]).all() and (mine.owed[a] == chosen.owed[a]).all() for a in AXES
        )
