"""What a merge would do, for a last look: what was accepted, the riskiest of it, what it has cost. Read-only."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from engine.config import schema as configs
from engine.store import read
from engine.store import teacher as calls
from engine.store.connect import reader
from engine.store.rows import AXES
from middo_tui.feed.review import HEAD, Key
from middo_tui.feed.review_order import DOUBT, WORST
from middo_tui.terminal import guard

RISKIEST = 3


class Risk(Struct, frozen=True):
    """An accepted rewrite that the signals doubt most. ``why``: its verdict, clean, on one line."""

    key: Key
    seq: int
    why: str
    doubt: str = ""


class MergeCard(Struct, frozen=True):
    """``by_axis``: accepted and decided, in the order of the axes. ``size``: of the dataset now. ``fixed``: as many
    samples are retired as are added. ``drops``: flawed samples whose rewrite was rejected may be dropped.
    """

    round: int
    by_axis: tuple[tuple[int, int], ...] = ((0, 0), (0, 0), (0, 0))
    not_improved: int = 0
    risks: tuple[Risk, ...] = ()
    size: int = 0
    fixed: bool = True
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    @property
    def accepted(self) -> int:
        """Rewrites that go in."""
        return sum(accepted for accepted, _ in self.by_axis)

    @property
    def replaces(self) -> int:
        """Samples that are replaced."""
        return self.by_axis[AXES.index("complexity")][0] + self.by_axis[AXES.index("quality")][0]

    @property
    def adds(self) -> int:
        """Samples that are added."""
        return self.by_axis[AXES.index("diversity")][0]


def read_card(project: Path, round: int) -> MergeCard:
    """The card of ``round``; five short queries.

    Raises:
        StoreError, ConfigError: the project cannot be read.
    """
    fixed = configs.load(project).merge.size == "fixed"
    db = reader(project)
    try:
        states = read.rewrites(db, round)
        asked = calls.asked(db, round)
        doubted = db.execute(
            f"SELECT r.sample_id, r.axis, s.seq, coalesce(r.verdict, r.reason, '') AS why, {DOUBT} AS doubt,"  # noqa: S608
            " r.improved FROM rewrite r JOIN sample s ON s.id=r.sample_id"
            " WHERE r.round=? AND r.state='accepted' AND r.improved IS NOT 1"
            f" ORDER BY {WORST}, s.seq",
            (round,),
        ).fetchall()
        return MergeCard(
            round=round,
            by_axis=tuple(
                (states[axis].get("accepted", 0), sum(states[axis].get(s, 0) for s in ("accepted", "rejected")))
                for axis in AXES
            ),
            not_improved=sum(row["improved"] == 0 for row in doubted),
            risks=tuple(
                Risk((row["sample_id"], row["axis"]), row["seq"], _why(row["why"]), row["doubt"])
                for row in doubted[:RISKIEST]
            ),
            size=read.size(db, round),
            fixed=fixed,
            calls=asked["calls"],
            tokens=asked["tokens_in"] + asked["tokens_out"],
            cost=asked["cost"],
        )
    finally:
        db.close()


def _why(verdict: str) -> str:
    """A verdict without the numbers behind it."""
    return guard.one_line(verdict.partition(" (")[0].removeprefix("not improved: "), HEAD) or "edited, not rechecked"
