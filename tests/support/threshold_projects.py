"""Projects with signals but no model: what a cut selects in them can be counted, and select runs for real."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from engine.config import schema as configs
from engine.config.edit import edit
from engine.runtime.run_stage import run_one
from engine.store.connect import transaction
from engine.store.rows import Message, Selection
from tests.support import rounds, tiny

DIAGNOSED = ("train", "score", "judge", "evaluate")
COUNT = 200
SEED = 7


class Cuts(tiny.Project):
    """A project with a config.toml (the sigma rule) and the signals of round 0. ``texts``: prompts, for those that must
    be told.
    """

    def __init__(
        self, folder: Path, values: Sequence[rounds.Signals], extra: str = "", texts: Sequence[str] = ()
    ) -> None:
        prompts = [texts[i] if i < len(texts) else f"ask {i} please" for i in range(len(values))]
        chats: list[tuple[Message, ...]] = [tiny.chat(text, f"reply {i} here") for i, text in enumerate(prompts)]
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(extra, encoding="utf-8")
        if "threshold" not in extra:
            edit(folder, {"select.threshold": "sigma"})
        super().__init__(folder, configs.load(folder), chats)
        rounds.open_round(self, 0)
        rounds.signal(self, values)
        self.stand(0, *DIAGNOSED)

    def stand(self, round: int, *stages: str, state: str = "done") -> None:
        """These stages of ``round`` are in ``state``."""
        with transaction(self.db):
            for stage in stages:
                self.db.execute(
                    "UPDATE job SET state=?, done=1, total=1, started_at=1, finished_at=2 WHERE round=? AND stage=?",
                    (state, round, stage),
                )

    def run(self, stage: str, round: int = 0) -> None:
        """Run a stage as a worker's child would, with config.toml as it is now."""
        assert run_one(self.db, self.folder, configs.load(self.folder), round, stage) == "done"

    def selected(self, round: int = 0) -> dict[str, int]:
        """Stored selections by axis."""
        counts = {"complexity": 0, "diversity": 0, "quality": 0}
        for row in self.ctx("select", round).rows(Selection):
            counts[row.axis] += 1
        return counts

    def begin_rewrites(self, count: int, cost: float = 0.5) -> int:
        """The teacher was asked for ``count`` rewrites; returns how many there were to begin with."""
        with transaction(self.db):
            self.db.execute(
                "UPDATE rewrite SET state='proposed', attempts=1, tokens_in=100, tokens_out=50, cost=?"
                " WHERE (sample_id, axis) IN (SELECT sample_id, axis FROM rewrite ORDER BY sample_id LIMIT ?)",
                (cost, count),
            )
        return int(self.db.execute("SELECT count(*) FROM rewrite").fetchone()[0])


def spread(count: int = COUNT, seed: int = SEED) -> list[rounds.Signals]:
    """Signals as they are: losses with a tail, similarities and ratings around their mean."""
    chance = random.Random(seed)
    out: list[rounds.Signals] = []
    for _ in range(count):
        before = chance.lognormvariate(0.2, 0.4)
        after = before * chance.uniform(0.4, 0.9)
        out.append((before, after, min(1.0, chance.gauss(0.7, 0.08)), min(9.0, chance.gauss(6.5, 1.0))))
    return out
