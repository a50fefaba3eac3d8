"""Each widget's pure part: what it says, that it fits, and that colour is never the only sign."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.loop import NAMES
from engine.runtime.stalls import MACHINES
from engine.store.rows import EvalScore
from middo_tui.feed.view import MARKS, DeviceReading, LogLine, LoopView, RoundView, StageView, Training
from middo_tui.look.theme import ROLES
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.text.score_changes import changes
from middo_tui.widgets.gpu_bar import gpu_bar
from middo_tui.widgets.header import header
from middo_tui.widgets.key_bar import key_bar
from middo_tui.widgets.line_chart import Chart, line_chart
from middo_tui.widgets.lines import Line, plain, width_of
from middo_tui.widgets.link_gauge import LinkState, link_gauge, rounded_ms
from middo_tui.widgets.log_tail import log_tail
from middo_tui.widgets.paragraph import Paragraph, wrap
from middo_tui.widgets.progress_line import progress_line
from middo_tui.widgets.rounds_table import rounds_table
from middo_tui.widgets.samples_bar import SamplesBarState, samples_bar
from middo_tui.widgets.score_facts import RoundScores, score_facts
from middo_tui.widgets.stage_strip import stage_strip
from middo_tui.widgets.training_facts import training_facts

GPU = DeviceReading("GPU 0 H200", 97.0, 98_000_000_000, 141_000_000_000, 612.0, 64.0)
ROUNDS = (
    RoundView(
        0,
        52_002,
        False,
        (4_011, 890, 3_204),
        8_000,
        (3_000, 700, 2_800),
        1.312,
        "accuracy",
        0.356,
        0.013,
        4_900_000,
        6.12,
    ),
    RoundView(1, 52_002),
)


def text(line: Line) -> str:
    return plain([line])


def stages(**states: str) -> tuple[StageView, ...]:
    return tuple(StageView(name, states.get(name, "pending"), 61, 100) for name in NAMES)


def test_the_strip_fits_eighty_columns_with_all_nine_names() -> None:
    line = stage_strip(stages(train="done", score="done", judge="running"), 80)
    assert width_of(line) <= 80
    assert text(line) == (" train✔ score✔ judge▶61% evaluate· select· rewrite· verify· review· merge·")


def test_the_strip_breathes_where_there_is_room() -> None:
    assert text(stage_strip(stages(train="done", score="failed"), 140)).startswith(" train ✔  score ✘  judge ·")


@pytest.mark.parametrize("state", ["pending", "running", "done", "failed", "paused", "waiting", "cancelled", "stale"])
def test_every_state_has_its_own_sign_apart_from_colour(state: str) -> None:
    others = {
        s for s in ("pending", "running", "done", "failed", "paused", "waiting", "cancelled", "stale") if s != state
    }
    mine = text(stage_strip((StageView("train", state),), 80))
    assert all(text(stage_strip((StageView("train", other),), 80)) != mine for other in others)


def test_progress_says_how_far_how_fast_and_how_long() -> None:
    line = progress_line(StageView("judge", "running", 190_412, 312_012, 4_180.0), 100)
    assert text(line).endswith("190,412 / 312,012   61%  4,180/s  29 s left")
    assert "━" in text(line)
    assert width_of(line) <= 100


def test_progress_drops_what_does_not_fit_from_the_end() -> None:
    line = progress_line(StageView("judge", "running", 190_412, 312_012, 4_180.0), 48)
    assert "190,412 / 312,012" in text(line)
    assert "left" not in text(line)
    assert width_of(line) <= 48


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize("state", ["pending", "running", "failed"])
def test_progress_never_runs_over(width: int, state: str) -> None:
    assert width_of(progress_line(StageView("evaluate", state, 99_999_999, 99_999_999, 0.01), width)) <= width


def test_progress_before_the_first_count() -> None:
    assert text(progress_line(StageView("train", "running"), 80)) == " train    starting"
    assert text(progress_line(StageView("train", "starting"), 80)) == " train    starting: loading libraries"
    assert progress_line(None, 80) == ()


def test_progress_without_a_rate_says_since_when() -> None:
    line = text(progress_line(StageView("train", "running", 0, 2, started_at=1_800_000_000.0), 80))
    assert f"since {number_format.clock(1_800_000_000.0, seconds=True)}" in line
    assert text(progress_line(StageView("train", "starting", 1, 2), 80)).endswith("1 / 2   50%  starting")
    assert "since" not in text(progress_line(StageView("train", "running", 1, 2, 0.5, 1_800_000_000.0), 80))


def test_a_stage_whose_process_starts_is_starting_unless_something_holds_it_up() -> None:
    running = LoopView(round=0, worker="running", stages=(StageView("train"),))
    for view, state in (
        (running, "starting"),
        (replace(running, worker="idle"), "pending"),
        (replace(running, want="pause"), "pending"),
        (replace(running, trouble=MACHINES), "pending"),
        (replace(running, holds_until=1.0), "pending"),
        (replace(running, stages=(StageView("train", "interrupted", 3, 9),)), "starting"),
        (replace(running, stages=(StageView("train", "running"),)), "running"),
        (replace(running, worker="idle", stages=(StageView("train", "running"),)), "interrupted"),
    ):
        assert view.progress is not None
        assert view.progress.state == state


def test_a_gpu_is_told_in_two_rows() -> None:
    first, second = gpu_bar((GPU,), 29)
    assert text(first) == "GPU 0 H200    97%  612 W  64°"
    assert text(second) == "mem ▇▇▇▇▇▇░░░     98 / 141 GB"


def test_without_a_gpu_it_is_the_cpu() -> None:
    first, second = gpu_bar((DeviceReading("CPU", 88.0, 3_200_000_000, 16_000_000_000),), 29)
    assert text(first) == "CPU                       88%"
    assert text(second).startswith("RAM ▇▇░░░░░░░")
    assert text(second).endswith("3.2 / 16.0 GB")


def test_a_hot_gpu_is_marked() -> None:
    (row, _) = gpu_bar((DeviceReading("GPU 0", 1.0, 1, 2, 1.0, 91.0),), 40)
    assert any(run.role == "bad" for run in row)


def test_the_table_aligns_its_numbers_right() -> None:
    lines = rounds_table(ROUNDS, 80)
    assert plain(lines).split("\n") == [
        " round     size  C sel  D sel  Q sel  accepted  heldout   accuracy      teacher",
        "     0   52,002  4,011    890  3,204     6,500    1.312  35.6 ±1.3   4.9M $6.12",
        "     1   52,002      —      —      —         —        —          —            —",
    ]
    assert {width_of(line) for line in lines} == {79}


def test_the_axes_keep_their_colours_and_letters() -> None:
    header_row = rounds_table(ROUNDS, 120)[0]
    roles = {run.text.strip(): run.role for run in header_row}
    assert (roles["C sel"], roles["D sel"], roles["Q sel"]) == ("complexity", "diversity", "quality")
    assert (roles["C acc"], roles["D acc"], roles["Q acc"]) == ("complexity", "diversity", "quality")


def test_a_table_with_little_room_keeps_the_newest_rounds() -> None:
    rows = tuple(RoundView(number, 10) for number in range(9))
    shown = plain(rounds_table(rows, 80, 4)).split("\n")
    assert [row.split()[0] for row in shown] == ["round", "6", "7", "8"]


def test_a_closing_round_says_nothing_of_selection() -> None:
    row = rounds_table((RoundView(3, 52_002, closing=True, heldout_loss=1.1, task="accuracy", score=0.4),), 80)[1]
    assert text(row).split() == ["3", "52,002", "1.100", "40.0"]


def test_the_log_is_one_row_each_and_marks_levels_by_sign() -> None:
    log = (
        LogLine(0.0, "error", "judge", "x" * 500),
        LogLine(0.0, "warning", "train", "slow"),
        LogLine(0.0, "info", "", "a"),
    )
    rows = log_tail(log, 80, 2)
    assert len(rows) == 2
    assert all(width_of(row) <= 80 for row in rows)
    assert "✘ xxx" in text(rows[0])
    assert "! slow" in text(rows[1])


def test_training_facts_show_only_what_is_known() -> None:
    rows = training_facts(Training(10, 0.5, 3.0, loss=1.25, learning_rate=1.8e-5), 24)
    assert plain(rows).split("\n") == [
        "loss              1.2500",
        "lr              1.80e-05",
        "epoch           0.50 / 3",
    ]
    assert training_facts(None, 24) == []


@pytest.mark.parametrize(("latency", "shown"), [(0.4, 20), (19.0, 20), (38.0, 40), (183.0, 180), (812.0, 800)])
def test_the_link_gauge_does_not_tremble(latency: float, shown: int) -> None:
    assert rounded_ms(latency) == shown


@pytest.mark.parametrize(
    ("where", "found", "kept"),
    [
        ("", 0, ("dataset of round 2", "by quality ▼", "1 / 500,000")),
        ("quality<4", 665, ("dataset of round 2", "665 found", "quality<4", "1 / 500,000")),
        (
            "-quality<4 tokens>9 axis:C,Q",
            665,
            ("round 2", "665 found", "-quality<4 tokens>9 axis:C,Q", "1 / 500,000"),
        ),
        ("x" * 90, 12_665, ("round 2", "12,665 found", "xxxxxxxx…", "1 / 500,000")),
    ],
)
def test_the_samples_bar_keeps_the_place_and_cuts_the_filter_last(
    where: str, found: int, kept: tuple[str, ...]
) -> None:
    bar = samples_bar(
        SamplesBarState(2, 500_000, where=where, sort="quality ▼", search="word" * bool(found), found=found), 80
    )
    assert width_of(bar) <= 80
    assert [part for part in kept if part not in plain([bar])] == []


def test_the_link_gauge_is_silent_until_the_terminal_answers() -> None:
    assert link_gauge(LinkState()) == ()
    assert "link 40 ms" in text(link_gauge(LinkState(40, 2)))
    assert "800 ms · 1 fps" in text(link_gauge(LinkState(800, 1)))


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_header_fits_whatever_the_names(width: int) -> None:
    view = LoopView("a-very-long-project-name" * 4, "meta-llama-" * 9, 12, 20, worker="running")
    line = header(view, LinkState(800, 1), width)
    assert width_of(line) <= width
    assert "round 12 (13/20)" in text(line)
    assert "● running" in text(line)


def test_the_footer_keeps_help_and_leave_when_it_is_narrow() -> None:
    keys = (*((letter, "a rather long label") for letter in "abcdef"), ("?", "help"), ("q", "quit"))
    line = text(key_bar(keys, 60))
    assert len(line) <= 60
    assert line.endswith("? help  q quit")


def test_a_key_that_is_too_wide_does_not_cost_the_shorter_ones_behind_it() -> None:
    keys = (("a", "accept"), ("A", "accept all of the better ones"), ("t", "split"), ("?", "help"), ("q", "quit"))
    assert plain([key_bar(keys, 40)]) == " a accept  t split  ? help  q quit"


def test_wrapping_keeps_words_and_says_when_it_cut() -> None:
    assert wrap("one two three", 8, 4) == ["one two", "three"]
    assert wrap("a\nb", 8, 4) == ["a", "b"]
    assert wrap("one two.  three", 8, 4) == ["one two.", "three"]
    cut = wrap(" ".join(["word"] * 50), 20, 2)
    assert len(cut) == 2
    assert cut[1].endswith("…")
    assert wrap("x" * 50, 20, 2) == ["x" * 19 + "…"]


def test_every_role_that_is_used_exists() -> None:
    view = LoopView("p", "m", 0, 3, stages=stages(train="done", score="failed", judge="waiting", merge="stale"))
    log = (LogLine(0, "error", "a", "b"), LogLine(0, "warning", "a", "b"))
    chart = line_chart(Chart("loss", ()), 40, 8)
    lines = [
        header(view, LinkState(900, 1), 80), stage_strip(view.stages, 80), *gpu_bar((GPU,), 40), *log_tail(log, 80, 9),
        *rounds_table(ROUNDS, 80), *chart, key_bar((("q", "quit"),), 80), progress_line(view.current, 80),
    ]  # fmt: skip
    assert {run.role for line in lines for run in line} <= set(ROLES)
    assert Notice("x").role in ROLES


def test_figures() -> None:
    assert number_format.count(1234567) == "1,234,567"
    assert [number_format.short(v) for v in (0, 950, 1_625, 12_345, 4_900_000, 999_999, 2e9)] == [
        "0", "950", "1.62k", "12.3k", "4.9M", "1M", "2G",
    ]  # fmt: skip
    assert [number_format.duration(s) for s in (0.2, 29, 89, 1260, 10_200)] == [
        "0 s",
        "29 s",
        "89 s",
        "21 min",
        "2 h 50 min",
    ]
    assert [number_format.rate(r) for r in (4180.4, 9.96, 1.0, 0.35)] == ["4,180/s", "10.0/s", "1.0/s", "21.0/min"]
    assert number_format.change(-0.5, 1) == "−0.5"
    assert number_format.change(None, 1) == number_format.NONE


def test_scores_stand_against_the_round_before_and_the_teacher_is_summed_up() -> None:
    def scores(**known: tuple[float, float | None]) -> dict[str, EvalScore]:
        return {task: EvalScore(0, task, *one, 9, higher=task != "heldout_loss") for task, one in known.items()}

    was = {"accuracy": (0.356, 0.013), "heldout_loss": (1.120, 0.01), "gpqa_diamond_cot_zeroshot": (0.3, 0.01)}
    now = changes(
        scores(
            accuracy=(0.397, 0.013),
            heldout_loss=(1.164, 0.01),
            gsm8k=(0.4, None),
            gpqa_diamond_cot_zeroshot=(0.2, 0.01),
        ),
        scores(**was),
        {"accuracy": 0.005},
    )
    first, second = RoundView(0, 9, tokens=900_000, cost=1.5), RoundView(1, 9, tokens=100_000, cost=0.5, scores=now)
    rows = (first, second, RoundView(2, 9))
    facts = plain(score_facts(RoundScores.of(LoopView(table=rows)), 32)).split("\n")
    assert facts == [
        "scores of round 1",
        "accuracy %        39.7    +4.1 ▲",
        "heldout          1.164  +0.044 ▼",
        "gpqa_diamond_cot… 20.0   −10.0 ▼",
        "gsm8k %           40.0",
        "teacher         1M tokens  $2.00",
    ]
    roomy = RoundScores(1, tuple(one for one in now if not one.task.startswith("gpqa")))
    assert plain(score_facts(roomy, 32)).split("\n")[1:] == [
        "accuracy %  39.7     +4.1 ±0.5 ▲",
        "heldout    1.164 +0.044 ±0.014 ▼",
        "gsm8k %     40.0",
    ]


def test_without_scores_or_a_teacher_there_is_nothing_to_say() -> None:
    assert score_facts(RoundScores.of(LoopView(table=(RoundView(0, 9),))), 32) == []


def test_a_gpu_that_tells_little_is_still_a_gpu() -> None:
    rows = plain(gpu_bar((DeviceReading("GPU 0 A100 MIG", 50.0, 5_000_000_000, 10_000_000_000),), 32)).split("\n")
    assert rows[1].startswith("mem ")


def test_a_stage_without_counts_says_where_it_stands() -> None:
    said = {state: text(progress_line(StageView("train", state, started_at=1.0), 80)).split()[1] for state in MARKS}
    assert said == {**{state: state for state in MARKS}, "running": "started", "pending": "next"}


def test_a_fast_link_is_not_worth_a_word() -> None:
    assert link_gauge(LinkState(rounded_ms(0.4), 2)) == ()


def test_a_paragraph_with_less_room_than_its_text_ends_in_an_ellipsis() -> None:
    said = Notice("five rows unusable for reasons")
    paragraph = Paragraph(said)
    assert plain(paragraph.draw(said, 12, 0)) == " five rows\n unusable\n for\n reasons"
    assert plain(paragraph.draw(said, 12, 3)) == " five rows\n unusable\n for …"
