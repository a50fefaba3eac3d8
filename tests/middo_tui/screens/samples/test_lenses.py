"""The lenses and the flaw score of samples: listed, sorted, filtered; what looks wrong is marked in the text."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from engine.project.folder import export
from engine.signals import flaw_score, text_signs
from engine.store import connect, read
from engine.store.rows import Flaw, Lenses, Losses, Rewrite, Verdict, dump_messages
from middo_tui.cli.commands import main
from middo_tui.feed import doubtful
from middo_tui.feed.filters import FilterError, parse
from middo_tui.feed.review_order import SORTS
from middo_tui.feed.rewrite import load
from middo_tui.feed.sample import read_detail
from middo_tui.screens.samples.sort_menu import BY_NAME, SHOWN, toggled
from middo_tui.text import flaw_wording
from middo_tui.text.flaw_wording import READINGS, SIGNS, verdict
from middo_tui.text.status import gather
from middo_tui.widgets.sample_pane import blind_lines, pane_lines
from middo_tui.widgets.word_diff import laid_out
from tests.support import tiny

HOSTILE = "good text \x1b[2J and \u202e then shuffled words of the worst kind, and more."
BEGIN, END = HOSTILE.index("\u202e"), HOSTILE.index(" kind")


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Three samples: one with a bad stretch, one that is cut off, one that looks right."""
    chats = [tiny.chat("hi", "no", "a", HOSTILE), tiny.chat("b", "cut off in the mid"), tiny.chat("c", "right")]
    out = tiny.Project(tmp_path, tiny.make_config(tmp_path), chats)
    one, two, three = (s.id for s in read.dataset(out.db, 0))
    out.ctx("score").save(
        [
            *(Losses(0, id, 2.0, 1.0, 3, 4) for id in (one, two, three)),
            Lenses(0, one, 0.5, 2.0, 0.5, 9.0, BEGIN, END),
            Lenses(0, two, 7.0, 2.0, 0.4, 3.0, 0, 5),
            Lenses(0, three, 0.1, 3.0, 0.3, 2.0, 0, 5),
            Flaw(0, one, 0.97, "worst_window"),
            Flaw(0, two, 0.99, "end_of_turn"),
            Flaw(0, three, 0.5, "ifd"),
        ]
    )
    out.db.execute("UPDATE job SET state='done' WHERE stage='score'")
    return out


def shown(made: tiny.Project, at: int) -> str:
    detail = read_detail(made.folder, read.dataset(made.db, 0)[at].id, 0)
    assert detail is not None
    return "\n".join("".join(run.text for run in line) for line in pane_lines(detail, 78))


def joined(text: str) -> str:
    return " ".join(text.split())


def test_the_worst_window_is_marked_in_the_text_made_visible(made: tiny.Project) -> None:
    text = shown(made, 0)
    assert "looks wrong: a stretch of it is unlikely text (worst window; looks worse than 97.0% of samples)" in joined(
        text
    )
    assert "\x1b" not in text
    assert "\u202e" not in text
    marked = joined(text.partition("{?")[2].partition("?}")[0])
    assert marked.endswith("then shuffled words of the worst")
    assert text.count("{?") == 1
    assert "hidden characters" in text


def test_an_answer_that_stops_early_is_marked_at_its_end(made: tiny.Project) -> None:
    text = shown(made, 1)
    assert "looks wrong: it stops before it is complete (end of turn; looks worse than 99.0% of samples)" in joined(
        text
    )
    assert "cut off in the mid {?ends here?}" in text


def test_what_does_not_stand_out_is_not_marked(made: tiny.Project) -> None:
    text = shown(made, 2)
    assert "looks wrong" not in text
    assert "{?" not in text
    signals = {line[:14].strip(): line.split()[-1] for line in text.splitlines()}
    assert signals["flaw"] == "0.50"
    assert [signals[name] for name in ("end of turn", "IFD", "worst window")] == ["0.100", "0.300", "2.000"]


def test_review_says_what_looks_wrong_with_the_sample_that_is_replaced(made: tiny.Project) -> None:
    one, two, three = (s.id for s in read.dataset(made.db, 0))
    for id in (one, two, three):
        turns = dump_messages(tiny.chat("a", "better"))
        made.ctx("rewrite").save([Rewrite(0, id, "quality", "proposed", 1, "a", "better", turns)])
        verdict = Verdict(0, id, "quality", 1.0, 1.0, 0.5, 8.0, None, True, "improved", new_flaw=0.4)
        made.ctx("verify").save([verdict])
    details = load(made.folder, 0, [(id, "quality") for id in (one, two, three)])
    pages = ["\n".join("".join(r.text for r in line) for line in laid_out(d.blocks, False, True, 78)) for d in details]
    assert "what looks wrong" in pages[0]
    assert "{?" in pages[0]
    assert "\x1b" not in pages[0]
    assert "cut off in the mid {?ends here?}" in joined(pages[1])
    assert "what looks wrong" not in pages[2]
    assert [(d.name, d.old, d.new) for d in details[0].deltas if d.name == "flaw"] == [("flaw", 0.97, 0.4)]


def test_only_a_part_of_a_long_answer_is_quoted() -> None:
    text = "a" * 500 + "BAD" + "z" * 500
    shown, window = doubtful.around(text, (500, 503), "worst_window", 20)
    assert window is not None
    assert (shown[window[0] : window[1]], len(shown)) == ("BAD", 47)
    assert doubtful.around(text, None, "end_of_turn", 20)[0] == "… " + "z" * 40
    assert doubtful.parts(text[:100], "worst_window", (500, 503)) == doubtful.parts(text, "ifd", (500, 503)) == ()


def test_samples_sorts_filters_and_prints_them(made: tiny.Project) -> None:
    asked = ["samples", str(made.folder), "--where", "flaw>0.9 end<8", "--sort", "flaw", "--json"]
    done = CliRunner().invoke(main, asked)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["flaw"], row["looks_wrong"]) for row in found] == [(0.99, "end_of_turn"), (0.97, "worst_window")]
    assert {"end_of_turn", "ifd", "worst_window", "without_prompt"} <= found[0].keys()
    head, first, *_ = CliRunner().invoke(main, ["samples", str(made.folder), "--sort", "flaw"]).stdout.splitlines()
    assert head.split().index("flaw") == 6
    assert "0.99" in first


def test_a_filter_names_what_looks_wrong(made: tiny.Project) -> None:
    def seqs(where: str) -> list[int]:
        done = CliRunner().invoke(main, ["samples", str(made.folder), "--where", where, "--json"])
        return [json.loads(line)["seq"] for line in done.stdout.splitlines()]

    assert seqs("wrong:any") == [0, 1]
    assert seqs("wrong:end_of_turn,refusal") == [1]
    assert seqs("-wrong:any") == [2]
    assert seqs("wrong:ifd") == []
    with pytest.raises(FilterError, match="wrong:ending: unknown"):
        parse("wrong:ending")


def test_every_sign_of_the_text_has_its_words() -> None:
    assert set(SIGNS) == set(text_signs.SIGNS)
    assert set(READINGS) == {*flaw_score.LENSES, flaw_score.JUDGE}


@pytest.mark.parametrize("format", ["messages", "parquet"])
def test_an_export_with_provenance_says_them(made: tiny.Project, tmp_path: Path, format: str) -> None:
    out = tmp_path / f"out.{format}"
    export(made.folder, out, None, format, provenance=True)
    rows = json.loads(out.read_text(encoding="utf-8")) if format == "messages" else pq.read_table(out).to_pylist()
    assert [(row["flaw"], row["looks_wrong"], row["ifd"]) for row in rows] == [
        (0.97, "worst_window", 0.5),
        (0.99, "end_of_turn", 0.4),
        (0.5, "ifd", 0.3),
    ]
    export(made.folder, tmp_path / "plain.json", None, "messages")
    assert "flaw" not in json.loads((tmp_path / "plain.json").read_text(encoding="utf-8"))[0]


def test_status_counts_what_stands_out(made: tiny.Project) -> None:
    (found,) = gather(made.folder)["rounds"]
    looks = {"end_of_turn": 1, "worst_window": 1}
    assert found["flaws"] == {"scored": 3, "from": 0.95, "looks_wrong": looks}


@pytest.mark.parametrize("name", ["flaw", "end_of_turn", "ifd", "worst_window"])
def test_each_is_sorted_by_its_index(made: tiny.Project, name: str) -> None:
    sql = f"SELECT sample_id FROM signal g WHERE round=0 AND {name} IS NOT NULL ORDER BY {name}, sample_id LIMIT 9"
    plan = " ".join(row[3] for row in made.db.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert f"signal_by_{name}" in plan
    assert "TEMP B-TREE" not in plan


def test_a_rank_is_never_said_to_be_all_samples() -> None:
    assert "99.9%" in verdict(0.9999999, "ifd")
    assert verdict(None, "ifd") == verdict(0.99, "") == verdict(0.94, "ifd") == ""


def test_what_the_text_alone_shows_has_words() -> None:
    assert tuple(flaw_wording.SIGNS) == text_signs.SIGNS
    assert verdict(1.0, "refusal") == "it refuses"


def test_a_column_is_shown_and_hidden_in_the_menus_order() -> None:
    assert toggled(SHOWN, "ifd") == (*SHOWN, "ifd")
    assert toggled(("quality", "ifd"), "flaw") == ("quality", "flaw", "ifd")
    assert toggled(SHOWN, "loss_after") == ("loss_before", "similarity", "quality", "flaw")


def test_a_sample_of_no_cluster_is_called_as_everywhere() -> None:
    column = BY_NAME["cluster"]
    assert [column.written(value) for value in (7.0, -1.0, None)] == ["7", "unclustered", "—"]
    assert column.width >= len("unclustered")
    assert BY_NAME["delta"].written(-1.0) == "-1.00"


def test_who_labels_sees_no_marks(made: tiny.Project) -> None:
    detail = read_detail(made.folder, read.dataset(made.db, 0)[0].id, 0)
    assert detail is not None
    text = "\n".join("".join(run.text for run in line) for line in blind_lines(detail, 78))
    assert "shuffled words" in text
    assert "{?" not in text


def test_lineage_and_the_review_queue_know_the_flaw_score(made: tiny.Project) -> None:
    one, two, _ = (s.id for s in read.dataset(made.db, 0))
    for id in (one, two):
        made.ctx("rewrite").save(
            [Rewrite(0, id, "quality", "proposed", 1, "a", "b", dump_messages(tiny.chat("a", "b")))]
        )
    done = CliRunner().invoke(main, ["lineage", str(made.folder), "1"])
    assert "flaw 0.990" in done.stdout
    (flawed_first,) = (order for order in SORTS if order.name == "flaw")
    db = connect.reader(made.folder)
    sql = "FROM rewrite r JOIN sample s ON s.id=r.sample_id JOIN signal g ON g.sample_id=s.id AND g.round=r.round"
    assert [row[0] for row in db.execute(f"SELECT s.seq {sql} ORDER BY {flawed_first.sql}")] == [1, 0]
