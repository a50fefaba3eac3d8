"""The loop as lines: each thing said once, tables aligned, codes that scripts rely on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from shlex import quote

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from engine.config import edit
from engine.errors import UsageError
from engine.project import folder
from engine.store import overrides, read, write
from engine.store.connect import reader
from engine.store.judging import JudgeCheck
from engine.store.rows import Artifact, EvalScore, TaskItem
from middo_tui.cli.commands import main
from middo_tui.cli.plain import Narrator, describe, follow, rounds_table, task_lines, what_now
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.reader import Reader
from middo_tui.feed.rounds import RoundsReader
from middo_tui.feed.view import LoopView, StageView
from middo_tui.text.status import exit_code, gather
from tests.support import stores
from tests.support.hostile import CORPUS
from tests.support.stores import NOON, Store


def stage(name: str, state: str, done: int = 0, rate: float | None = None) -> StageView:
    return StageView(name, state, done, 400, rate, NOON, NOON + 75)


def told(*views: LoopView, seconds: float = 6.0) -> list[str]:
    """What is said of one view after another, ``seconds`` apart, without the times of day."""
    lines: list[str] = []
    now = [NOON]
    narrator = Narrator(lines.append, lambda: now[0])
    for view in views:
        narrator.tell(view)
        now[0] += seconds
    return [line[10:] for line in lines]


def test_a_stage_is_told_from_start_to_end() -> None:
    lines = told(
        LoopView(round=0, stages=(stage("train", "running"),)),
        LoopView(round=0, stages=(stage("train", "running", 100, 4.0),)),
        LoopView(round=0, stages=(stage("train", "running", 100, 4.0),)),
        LoopView(round=0, stages=(stage("train", "done", 400), stage("score", "running"))),
    )
    assert lines == [
        "round 0  train     ▶ started",
        "round 0  train     100 / 400   25%  4.0/s  75 s left",
        "round 0  train     ✔ done in 75 s",
        "round 0  score     ▶ started",
    ]


def test_a_stage_that_was_opened_again_took_only_the_time_at_work(tmp_path: Path) -> None:
    """Verify runs again after a person's edit, which may come a night later."""
    store = Store(tmp_path / "p").plan().round(0, 5)
    write.start_job(store.db, 0, "verify", "key", "{}")
    write.add_cost(store.db, 0, "verify", 12.0, 0.0, 1 << 20)
    store.db.execute("UPDATE job SET started_at=started_at-30000 WHERE stage='verify'")
    write.end_job(store.db, 0, "verify", "done")
    reader = Reader(tmp_path / "p")
    view = reader.view()
    reader.close()
    verify = next(one for one in view.stages if one.name == "verify")
    before = replace(view, stages=(replace(verify, state="running"),))
    assert told(before, replace(view, stages=(verify,)))[-1].endswith("verify    ✔ done in 12 s")


def test_a_long_step_is_told_batch_by_batch() -> None:
    steps = [StageView("train", "running", 0, 2, 0.01, NOON, None, "", part) for part in (0.0, 0.25, 0.25, 0.5)]
    lines = told(*(LoopView(round=0, stages=(step,)) for step in steps))
    assert lines == [
        "round 0  train     ▶ started",
        "round 0  train     0 / 2   12%  0.6/min  3 min left",
        "round 0  train     0 / 2   25%  0.6/min  2 min left",
    ]


def test_progress_is_told_at_most_every_few_seconds() -> None:
    views = [LoopView(round=0, stages=(stage("train", "running", done),)) for done in range(1, 50)]
    assert len(told(*views, seconds=0.5)) == 1 + 5


def test_the_end_of_a_round_is_told_when_the_next_has_begun() -> None:
    lines = told(
        LoopView(round=0, stages=(stage("verify", "running"), stage("merge", "pending"))),
        LoopView(
            round=1,
            stages=(stage("train", "running"),),
            earlier=(stage("verify", "done"), stage("merge", "done")),
        ),
    )
    assert [line.split("  ")[-1].strip() for line in lines] == [
        "▶ started",
        "✔ done in 75 s",
        "✔ done in 75 s",
        "▶ started",
    ]


def test_what_was_over_before_is_no_news() -> None:
    assert told(LoopView(round=0, stages=(stage("train", "done"), stage("score", "pending")))) == []


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        ("finished", 0, "middo-tui export"),
        ("waiting", 4, "middo-tui review"),
        ("failed", 1, "the model ended every reply at once"),
    ],
)
def test_following_ends_with_the_table_and_what_to_do(tmp_path: Path, make: str, code: int, says: str) -> None:
    getattr(stores, make)(tmp_path / "p")
    lines: list[str] = []
    assert follow(tmp_path / "p", lines.append) == code
    assert "selected C/D/Q" in "\n".join(lines)
    assert says in lines[-1]


def test_following_what_is_not_there_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    assert follow(tmp_path, lines.append) == 1
    assert "middo-tui init" in lines[-1]


def test_a_run_is_followed_on_while_its_config_is_away(tmp_path: Path) -> None:
    """An editor replaces the file; the run has read it."""
    store = stores.running(tmp_path / "p")
    config = tmp_path / "p" / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.unlink()
    lines: list[str] = []

    def echo(line: str) -> None:
        lines.append(line)
        if "config.toml: missing" in line:
            config.write_text(text, encoding="utf-8")
        elif "train" in line:
            store.job(1, "train", "paused", 180, 400)
            store.db.execute("DELETE FROM worker")

    assert follow(tmp_path / "p", echo, every_s=0) == 0
    assert "config.toml: missing" in lines[0]
    assert "Paused" in lines[-1]


def test_a_review_with_nothing_to_decide_says_so(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    said = CliRunner().invoke(main, ["review", str(tmp_path / "p"), "--accept", "improved"])
    assert (said.exit_code, said.output) == (0, f"{tmp_path / 'p'}: round 2 has no undecided rewrites.\n")


def test_the_table_is_aligned(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    assert rounds_table(gather(tmp_path / "p")).split("\n") == [
        "round | size | selected C/D/Q | rewritten | accepted C/D/Q | held-out loss |   accuracy | from round 0",
        "    0 |  120 |          7/5/3 |        15 |          5/4/2 |        1.3120 | 35.6% ±1.3 |",
        "    1 |  120 |          7/5/3 |        15 |          5/4/2 |        1.2420 | 37.7% ±1.3 |  +2.1 points",
        "    2 |  120 |                |           |                |        1.1720 | 39.8% ±1.3 |  +4.2 points",
    ]


def test_the_table_names_the_first_measured_round(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    with store.db:
        store.db.execute("DELETE FROM score WHERE round = 0")
    lines = rounds_table(gather(tmp_path / "p")).split("\n")
    assert lines[0].endswith("| from round 1")
    assert [line.split("|")[-1].strip() for line in lines[1:]] == ["", "", "+2.1 points"]


def test_the_table_says_nothing_of_what_is_not_known_yet(tmp_path: Path) -> None:
    def cells() -> list[str]:
        return [cell.strip() for cell in rounds_table(gather(tmp_path / "p")).split("\n")[1].split("|")]

    store = stores.failed(tmp_path / "p")
    assert cells()[2:5] == ["—", "0", "—"]
    store.job(0, "select", "done", 1, 1).job(0, "review", "done", 1, 1)
    assert cells()[2:5] == ["0/0/0", "0", "0/0/0"]


def test_nothing_is_selected_while_the_evidence_is_still_coming(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    mark = "INSERT INTO threshold (round, signal, axis, cut, m, mean, sigma, rule, detail)"
    with store.db:
        values = (1, "flaw", "quality", float("inf"), 0.3, 1.0, 0.9, "evidence", '{"calls": 9}')
        store.db.execute(f"{mark} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def seen() -> tuple[list[str], bool, bool]:
        loop, rounds = Reader(tmp_path / "p"), RoundsReader(tmp_path / "p")
        table = [line.split("|")[2].strip() for line in rounds_table(gather(tmp_path / "p")).split("\n")[1:3]]
        row, detail = loop.view().table[1], rounds.read().rounds[1]
        loop.close()
        return table, row.selected is None, detail.selected()

    assert seen() == (["7/5/3", "—"], True, False)
    with store.db:
        store.db.execute("UPDATE threshold SET cut=0.4, detail=json_set(detail, '$.stopped', 'no') WHERE signal='flaw'")
    assert seen() == (["7/5/3", "7/5/3"], False, True)


def test_a_rewrite_that_failed_is_not_counted_as_rewritten(tmp_path: Path) -> None:
    store = stores.waiting(tmp_path / "p")
    before = gather(tmp_path / "p")["rounds"][-1]
    with store.db:
        item = store.db.execute("SELECT round, sample_id, axis FROM rewrite WHERE state='proposed'").fetchone()
        where = "round=? AND sample_id=? AND axis=?"
        store.db.execute(f"UPDATE rewrite SET state='failed' WHERE {where}", tuple(item))
    after = gather(tmp_path / "p")["rounds"][-1]
    assert after["rewrites"]["failed"] == before["rewrites"]["failed"] + 1
    count = sum(axis["rewritten"] for axis in after["rewrites_by_axis"].values())
    assert count == sum(axis["rewritten"] for axis in before["rewrites_by_axis"].values()) - 1
    view = Reader(tmp_path / "p").view()
    assert view.table[-1].rewritten == count


def test_a_project_goes_by_its_name_or_else_by_its_folders(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    rows = "".join(f'{{"instruction": "a {i}", "output": "b"}}\n' for i in range(100))
    data.write_text(rows + "{broken\n", encoding="utf-8")
    folder.create(tmp_path / "one", [data], {})
    (tmp_path / "one").rename(tmp_path / "two")
    text = describe(gather(tmp_path / "two"))
    assert "project  two\n" in text
    assert "data     100 samples, 1 quarantined; no round has run yet" in text
    assert Reader(tmp_path / "two").view().project == "two"
    edit.edit(tmp_path / "two", {"project.name": "mine"})
    assert Reader(tmp_path / "two").view().project == "mine"


@pytest.mark.parametrize(
    ("state", "code"), [("running", 5), ("interrupted", 5), ("failed", 5), ("waiting", 4), ("paused", 0), ("done", 0)]
)
def test_the_exit_code_of_a_project_whose_worker_is_gone(state: str, code: int, tmp_path: Path) -> None:
    Store(tmp_path / "p").plan().round(0, 1).job(0, "score", state, 3, 9)
    assert exit_code(gather(tmp_path / "p")) == code


def test_a_round_that_changed_nothing_can_be_done_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").plan(rounds=3).round(0, 9)
    said: list[str] = []
    with pytest.raises(UsageError, match="round 0 is already merged"):
        folder.redo(tmp_path / "p", "rewrite", said.append)
    assert not Reader(tmp_path / "p").view().final
    with store.db:
        store.db.execute("UPDATE rewrite SET state='failed'")
    view = Reader(tmp_path / "p").view()
    assert (view.state, view.final, view.unchanged) == ("done", True, True)
    assert "none of 15 rewrites was accepted" in (text := what_now(tmp_path / "p"))
    assert "--redo select` (or rewrite)" in text
    with store.db:
        store.db.execute("INSERT INTO retirement (sample_id, round, reason, kept) VALUES (3, 1, 'dropped', 3)")
    with pytest.raises(UsageError, match="round 0 is already merged"):
        folder.redo(tmp_path / "p", "rewrite", said.append)
    with store.db:
        store.db.execute("DELETE FROM retirement")
    folder.redo(tmp_path / "p", "rewrite", said.append)
    view = Reader(tmp_path / "p").view()
    assert (view.state, view.next, view.final) == ("idle", (0, "rewrite"), False)


def test_tasks_are_told_with_their_change_and_its_error(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    assert task_lines(gather(tmp_path / "p")) == [], "the table has all there is"
    for round, right in ((1, (1, 0, 0, 0)), (2, (1, 1, 1, 0))):
        items = [TaskItem(round, "sums", at, score) for at, score in enumerate(right)]
        main = EvalScore(round, "sums", sum(right) / 4, 0.25, 4, "exact_match,none")
        other = EvalScore(round, "sums:ter,none", 9.0 - round, None, 4, "ter,none", higher=False)
        write.save(store.db, round, "evaluate", [main, other, *items], None)
    found = gather(tmp_path / "p")
    error = (4 * 0.25) ** 0.5 / 4  # of the differences 0, 1, 1, 0
    assert found["rounds"][2]["score_changes"]["sums"] == {
        "change": 0.5, "stderr": error, "beyond_chance": False, "better": True, "paired": True
    }  # fmt: skip
    assert task_lines(found)[3:] == [
        "  sums           0.7500 ±0.2500  +0.5000 ±0.2500 within chance",
        "  sums:ter,none  7.0000  −1.0000",
    ]
    assert "scores of round 2" in describe(found)
    assert read.main_task(store.db, 2) == read.scores(store.db, 2)["accuracy"]


def test_the_status_names_what_there_is(tmp_path: Path) -> None:
    stores.failed(tmp_path / "p")
    text = describe(gather(tmp_path / "p"))
    assert "worker   failed" in text
    assert "✘ judge     failed       74 / 720  BackendError" in text
    Store(tmp_path / "new")
    assert "120 samples; no round has run yet" in describe(gather(tmp_path / "new"))


def judged(tmp_path: Path, auc: float, errors: int = 0) -> Path:
    """A project whose first round's judge was tried."""
    store = stores.running(tmp_path / "p")
    check = JudgeCheck(0, "tuned", "Rating: ", 0.06, 0.98, True, 32, auc, 90, errors, 0.97)
    write.save(store.db, 0, "judge", [check], None)
    return tmp_path / "p"


def test_the_status_says_whether_the_judge_can_tell(tmp_path: Path) -> None:
    found = gather(judged(tmp_path, auc=0.5, errors=10))
    (first, *_) = found["rounds"]
    assert {name: first["judge"][name] for name in ("errors", "alarm", "auc", "pairs", "trusted", "quality_axis")} == {
        "errors": 10, "alarm": True, "auc": 0.5, "pairs": 32, "trusted": "no", "quality_axis": False,
    }  # fmt: skip
    said = "judge    cannot tell good from bad on your data (AUC 0.50 of 32 pairs): the quality axis is off"
    found["rounds"] = found["rounds"][:1]
    assert said in describe(found)
    assert "judge    could not rate 10 of 100 samples" in describe(found)


def test_the_status_says_how_many_neighbours_an_index_found(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    assert [entry["neighbour_recall"] for entry in gather(tmp_path / "p")["rounds"]] == [None] * 3
    write.save(store.db, 1, "score", [Artifact(1, "embeddings", "e.npy", '{"neighbour_recall": 0.9973}')], None)
    found = gather(tmp_path / "p")
    assert [entry["neighbour_recall"] for entry in found["rounds"]] == [None, 0.9973, None]
    assert "\nround 1: an index found 99.73% of the nearest neighbours\n" in f"{describe(found)}\n"


def test_the_loop_screen_is_told_of_a_doubtful_judge(tmp_path: Path) -> None:
    reader = Reader(judged(tmp_path, auc=0.5, errors=10))
    assert reader.view().judge == (
        "The judge could not rate 10 of 100 samples. The judge cannot tell good from bad on your data"
        " (AUC 0.50 of 32 pairs): the quality axis is off"
    )
    reader.close()


def test_nothing_is_said_of_a_good_judge(tmp_path: Path) -> None:
    reader = Reader(judged(tmp_path, auc=0.97, errors=2))
    assert reader.view().judge == ""
    reader.close()


def test_hostile_text_is_harmless_in_lines_too(tmp_path: Path) -> None:
    name = CORPUS["osc52 writes the clipboard"]
    store = Store(tmp_path / "p", name=name).plan().round(0, 2)
    store.job(0, "judge", "failed", 1, 2, CORPUS["csi clears the screen"] + CORPUS["bidi override"])
    lines: list[str] = []
    follow(tmp_path / "p", lines.append)
    text = "\n".join([*lines, describe(gather(tmp_path / "p"))])
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(("make", "parts"), [
    ("running", ["Watch it with `middo-tui"]),
    ("waiting", ["Round 0 is waiting for review: 15 undecided rewrites", "review", "--accept improved"]),
    ("failed", ["judge failed: BackendError", "Resume with `middo-tui run"]),
    ("finished", ["Done: 2 rounds are done", "Export the dataset with `middo-tui export"]),
])  # fmt: skip
def test_the_plain_status_ends_with_what_to_do(tmp_path: Path, make: str, parts: list[str]) -> None:
    getattr(stores, make)(tmp_path / "p").db.close()
    said = what_now(tmp_path / "p")
    assert [part for part in parts if part not in said] == []
    assert CliRunner().invoke(main, ["status", str(tmp_path / "p")]).output.rstrip().endswith(said)


def test_overrides_after_the_end_are_told_how_they_are_met(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    assert "For your" not in what_now(tmp_path / "p")
    with closing(reader(tmp_path / "p")) as db:
        id = read.dataset(db, read.newest_dataset(db))[-1].id
    overrides.set_overrides(tmp_path / "p", [id], "drop")
    view = Reader(tmp_path / "p").view()
    command = f"middo-tui run {quote(str(tmp_path / 'p'))} --rounds {view.rounds + 1}"
    assert f"For your 1 override: `{command}`." in what_now(tmp_path / "p")
    assert "to run one more round for your 1 override." in notice(view).text
