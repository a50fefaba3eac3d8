"""Where the time of a run went, in lines and on the Rounds screen."""

from __future__ import annotations

from pathlib import Path

from engine.store import write
from middo_tui.cli.plain import describe, spent, time_line
from middo_tui.feed.rounds import RoundsReader
from middo_tui.text.status import gather
from middo_tui.widgets.round_panels import Panel, panel_lines
from tests.support import stores


def test_a_run_says_where_its_time_went_and_what_each_stage_cost(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    before = spent(gather(tmp_path / "p"))
    write.add_cost(store.db, 1, "train", 80.0, 75.0, 900_000_000)
    write.add_cost(store.db, 2, "train", 40.0, 39.0, 800_000_000)
    write.add_cost(store.db, 2, "evaluate", 7.0, 6.6, 1_400_000_000)
    after = gather(tmp_path / "p")
    assert time_line(after, before, 130.0) == (
        "time: 2 min: train 2 min, evaluate 7 s, starting stages and waiting 3 s; most memory: 1.4 GB (evaluate)"
    )
    assert "no stage has run" in time_line(after, spent(after), 0.2)
    longer = {**spent(after), (2, "train"): 60.0}  # before it began anew, by --redo
    assert time_line(after, longer, 45.0).startswith("time: 45 s: train 40 s, starting stages and waiting 5 s;")
    train = next(stage for stage in after["rounds"][1]["stages"] if stage["name"] == "train")
    assert (train["seconds"], train["cpu_seconds"], train["peak_bytes"]) == (80.0, 75.0, 900_000_000)
    assert "train     done         400 / 400  40 s (39 CPU s, 800 MB)" in describe(after)
    detail = RoundsReader(tmp_path / "p").read()
    for width, bar in ((80, 4), (140, 24)):
        text = ["".join(run.text for run in line) for line in panel_lines(Panel(detail, 1, "time"), width)]
        assert "━" * bar + " " in text[0]
        assert text[0].endswith("400 / 400  75 CPU s, 900 MB")
        assert len(text[0]) <= width
