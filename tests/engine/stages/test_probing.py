"""Selection by evidence, through the stages: who is asked about, what is kept, where it ends, what is added."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.backends import Generation
from engine.errors import Paused, StageError
from engine.loop import Limits, stop_reason
from engine.runtime.context import StoreCtx
from engine.selection.probing import DROPPED, FINE
from engine.selection.survey import AGREES, AGREES_AGAIN
from engine.stages import merge, rewrite, select
from engine.store import read, write
from engine.store.rows import AGAIN, Decision, Flaw, Rewrite, Row, Selection, Threshold
from middo_tui.cli.plain import describe
from middo_tui.text import status
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, run
from tests.support.rounds import Scripted, said

COUNT = 120
EVIDENCE = 'select.threshold = "evidence"\nteacher.batch_size = 8\n'


def project(folder: Path, extra: str = "") -> tiny.Project:
    """Samples that look the more flawed the lower their place."""
    made = rounds.project(folder, COUNT, EVIDENCE + extra)
    signals(made)
    return made


def signals(made: tiny.Project, round: int = 0) -> None:
    data = rounds.dataset(made, round)
    rounds.signal(made, rounds.usual(len(data)), round)
    scores: list[Row] = [Flaw(round, s.id, 1 - (i + 0.5) / len(data), "ifd") for i, s in enumerate(data)]
    made.ctx("score", round).save(scores)


def teacher(flawed: Callable[[int], bool]) -> Callable[[Chat, int], Generation]:
    """It knows the right answers; the sample at a place has another one where it is ``flawed``."""

    def answer(chat: Chat, seed: int) -> Generation:
        text = chat[-1].content
        if asks_for_prompt(chat):
            return said(f"<prompt>a new one {seed}</prompt>")
        words = text.split()
        if words[0] != "ask":
            return said(f"answer to {text}")
        place = int(words[1])
        return said(f"Right is {place + 1000}" if flawed(place) else f"reply {place} here.")

    return answer


def below(limit: int) -> Callable[[int], bool]:
    return lambda place: place < limit


def made_by(made: tiny.Project, monkeypatch: pytest.MonkeyPatch, flawed: Callable[[int], bool]) -> list[Rewrite]:
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(teacher(flawed)))
    return made.ctx("x").rows(Rewrite)


def detail(made: tiny.Project, round: int = 0) -> dict[str, object]:
    found = [t for t in made.ctx("x", round).rows(Threshold) if t.signal == "flaw"]
    return dict(json.loads(found[0].detail or "{}"))


def test_clean_data_costs_thirty_eight_calls_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path)
    rows = made_by(made, monkeypatch, below(0))
    assert len(rows) == 38
    assert {(r.state, r.reason, r.messages) for r in rows} == {("kept", AGREES, None)}
    assert sum(r.answer_attempts + r.attempts for r in rows) == 38
    assert made.ctx("x").rows(Selection) == []
    said = "about 0% (0% to 12%) of 120 samples look flawed; stopped after 38 calls: the last 22 gave 0 repairs"
    assert said in made.events()
    assert said in describe(status.gather(made.folder))
    merge.run(made.ctx("merge"))
    assert [s.id for s in rounds.dataset(made, 1)] == [s.id for s in rounds.dataset(made)]


def test_flawed_samples_are_found_and_their_rewrite_is_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, "select.new_samples = 0.0")
    rows = made_by(made, monkeypatch, below(40))
    place = {s.id: s.seq for s in rounds.dataset(made)}
    assert sorted(place[r.sample_id] for r in rows if r.state == "proposed") == list(range(40))
    assert sorted(place[s.sample_id] for s in made.ctx("x").rows(Selection)) == list(range(40))
    one = next(r for r in rows if place[r.sample_id] == 7)
    assert (one.prompt, one.response, one.attempts, one.answer_attempts) == ("ask 7 please", "Right is 1007", 0, 1)
    assert one.axis == "complexity", "a lens of the losses was worst"
    assert detail(made)["flawed"] == 40
    assert detail(made)["batches"] == 3
    assert len(rows) <= 3 * 24 + 16 + 2 * 2


def test_a_random_sample_that_looks_fine_is_kept_whatever_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path)
    rows = made_by(made, monkeypatch, lambda place: place > 90)
    assert {r.reason for r in rows if r.state == "kept" and r.control} == {AGREES, FINE}
    assert made.ctx("x").rows(Selection) == []


@pytest.mark.parametrize("extra", ["", "select.max_share = 0.1\n"])
def test_a_teacher_that_always_disagrees_is_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    made = project(tmp_path, extra)
    rows = made_by(made, monkeypatch, below(COUNT))
    assert max(r.batch for r in rows) == 0
    assert detail(made)["grows"] == 0
    assert {r.state for r in rows} == {"kept"}
    assert made.ctx("x").rows(Selection) == []
    assert "the teacher's answers differ as often at random, so they are no evidence here" in made.events()
    said = str(detail(made)["verdict"])
    assert said.startswith("too few answers to estimate how many of 120 samples look flawed (0% to 100%)")
    assert said.endswith(": the teacher's answers differ as often at random"), "not that much was selected"


def test_what_may_be_chance_is_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    rows = [r for r in made_by(made, monkeypatch, below(1)) if r.state == "proposed"]
    assert len(rows) == 1
    made.ctx("review").save([Decision(0, *rows[0].key, "rejected", "not improved: its loss is not lower")])
    merge.run(made.ctx("merge"))
    assert len(rounds.dataset(made, 1)) == COUNT


def test_new_samples_are_asked_for_where_the_model_is_weak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, "select.new_samples = 0.1")
    values = rounds.usual(COUNT)
    for weak in (100, 110):
        values[weak] = (1.0, 2.0, 0.2, 6.0)  # sparse and hard
    rounds.signal(made, values)
    rows = made_by(made, monkeypatch, below(40))
    new = [r for r in rows if r.axis == "diversity"]
    assert len(new) == 12
    assert {r.state for r in new} == {"proposed"}
    place = {s.id: s.seq for s in rounds.dataset(made)}
    assert {100, 110} <= {place[r.sample_id] for r in new}


def test_copies_are_made_up_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, "select.new_samples = 0.1\nteacher.attempts = 1")
    right = teacher(below(40))

    def copies(chat: Chat, seed: int) -> Generation:
        return said("<prompt>ask 3 please</prompt>") if asks_for_prompt(chat) and seed % 2 else right(chat, seed)

    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(copies))
    new = [r for r in made.ctx("x").rows(Rewrite) if r.axis == "diversity"]
    assert len({r.batch for r in new}) > 1
    assert sum(r.state == "proposed" for r in new) >= 10


def test_a_known_flaw_whose_rewrite_was_refused_is_dropped_unless_a_person_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, "select.new_samples = 0.0")
    rows = sorted((r for r in made_by(made, monkeypatch, below(40)) if r.state == "proposed"), key=lambda r: r.key)
    reasons = ["duplicate: of another", "not improved: its loss is not lower", None, "I like the old one"]
    reasons += [f"{code}: says nothing of the original" for code in ("evaluation", "unmeasured", "command")]
    made.ctx("review").save(
        [Decision(0, *row.key, "rejected", reason) for row, reason in zip(rows[:7], reasons, strict=True)]
        + [Decision(0, *row.key, "accepted") for row in rows[7:]]
    )
    merge.run(made.ctx("merge"))
    ids = {s.id for s in rounds.dataset(made, 1)}
    assert [row.sample_id in ids for row in rows[:7]] == [False, False, True, True, True, True, True]
    assert len(ids) == COUNT - 2
    assert "2 flawed ones dropped: 120 → 118 samples" in made.events()[-1]


def test_the_next_round_asks_about_nobody_again_and_fills_up_what_was_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, "select.new_samples = 0.0")
    rows = [r for r in made_by(made, monkeypatch, below(40)) if r.state == "proposed"]
    made.ctx("review").save([Decision(0, *row.key, "rejected", "duplicate: of another") for row in rows[:5]])
    merge.run(made.ctx("merge"))
    rounds.open_round(made, 1)
    signals(made, 1)
    select.run(made.ctx("select", 1))
    monkeypatch.setattr(rewrite, "open_teacher", lambda _: Scripted(teacher(below(40))))
    rewrite.run(made.ctx("rewrite", 1))
    again = made.ctx("x", 1).rows(Rewrite)
    assert {r.axis for r in again} == {"diversity"}
    assert len(again) == 5
    made.ctx("review", 1).save([Decision(1, *row.key, "accepted") for row in again])
    merge.run(made.ctx("merge", 1))
    assert len(rounds.dataset(made, 2)) == COUNT


def test_killed_after_any_call_it_goes_on_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = project(tmp_path / "whole")
    made_by(whole, monkeypatch, below(40))
    made = project(tmp_path / "broken")
    select.run(made.ctx("select"))
    for after in range(1, 60):
        try:
            run(made, monkeypatch, Scripted(teacher(below(40))), _Stops(made, after % 4 + 1))
            break
        except Paused:
            continue
    assert made.ctx("x").rows(Rewrite) == whole.ctx("x").rows(Rewrite)
    assert made.ctx("x").rows(Selection) == whole.ctx("x").rows(Selection)
    assert made.ctx("x").rows(Threshold) == whole.ctx("x").rows(Threshold)


class Errs:
    """A teacher that knows the right answers, and is wrong the first time at some places where nothing is flawed."""

    def __init__(self, flawed: int, wrong: frozenset[int], again: str = "") -> None:
        self.right, self.wrong, self.again = teacher(below(flawed)), wrong, again
        self.asked: Counter[str] = Counter()

    def __call__(self, chat: Chat, seed: int) -> Generation:
        text = chat[-1].content
        self.asked[text] += 1
        words = text.split()
        if words[0] == "ask" and self.asked[text] > 1 and self.again:
            return said(self.again, cut_off=True)
        if words[0] == "ask" and int(words[1]) in self.wrong and self.asked[text] == 1:
            return said("The cod is a fish.")
        return self.right(chat, seed)


WRONG = frozenset((7, 13, 15, 18))


def test_what_differs_by_chance_is_asked_about_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, "select.new_samples = 0.0")
    select.run(made.ctx("select"))
    asks = Errs(5, WRONG)
    run(made, monkeypatch, Scripted(asks))
    place = {s.id: s.seq for s in rounds.dataset(made)}
    rows = {place[r.sample_id]: r for r in made.ctx("x").rows(Rewrite)}
    assert sorted(place[s.sample_id] for s in made.ctx("x").rows(Selection)) == list(range(5))
    assert {rows[at].reason for at in WRONG} == {AGREES_AGAIN}
    assert {rows[at].draw for at in (*range(5), *WRONG)} == {AGAIN}
    assert (rows[2].state, rows[2].response, rows[2].answer_attempts) == ("proposed", "Right is 1002", 2)
    assert rows[2].messages is not None
    assert "9 answers that may differ by chance are asked for a second time" in made.events()
    assert detail(made)["calls"] == sum(asks.asked.values()) == len(rows) + 9
    share = detail(made)["share"]
    assert isinstance(share, list)
    assert share[0] == pytest.approx(5 / COUNT)


def test_a_second_reply_that_is_unusable_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, "select.new_samples = 0.0\nteacher.attempts = 1")
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(Errs(5, WRONG, again="cut")))
    place = {s.id: s.seq for s in rounds.dataset(made)}
    assert sorted(place[s.sample_id] for s in made.ctx("x").rows(Selection)) == sorted([*range(5), *WRONG])
    rows = [r for r in made.ctx("x").rows(Rewrite) if r.draw == AGAIN]
    assert {(r.state, r.response == r.first_answer, r.reason) for r in rows} == {("proposed", True, None)}


def test_killed_while_it_asks_a_second_time_it_goes_on_to_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = project(tmp_path / "whole")
    select.run(whole.ctx("select"))
    run(whole, monkeypatch, Scripted(Errs(5, WRONG)))
    made = project(tmp_path / "broken")
    select.run(made.ctx("select"))
    asks = Scripted(Errs(5, WRONG))
    for after in range(1, 60):
        try:
            run(made, monkeypatch, asks, _Stops(made, after % 3 + 1))
            break
        except Paused:
            continue
    for kind in (Rewrite, Selection, Threshold):
        assert made.ctx("x").rows(kind) == whole.ctx("x").rows(kind)


def test_a_form_that_looks_flawed_is_no_false_alarm_where_only_the_words_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rounds.project(tmp_path, COUNT, EVIDENCE, answer="REPLY {} HERE, BY ALL MEANS RIGHT NOW.")
    ids = [s.id for s in rounds.dataset(made)]
    rounds.signal(made, rounds.usual(COUNT))
    shouts = [Flaw(0, id, 1 - i / COUNT, "odd_form" if i < 4 else "ifd") for i, id in enumerate(ids)]
    made.ctx("score").save(shouts)
    select.run(made.ctx("select"))
    run(
        made,
        monkeypatch,
        Scripted(lambda chat, _: said(f"Reply {chat[-1].content.split()[1]} here, by all means right now.")),
    )
    assert {s.sample_id for s in made.ctx("x").rows(Selection)} == set(ids[:4])


class _Stops(StoreCtx):
    """Pauses after a number of saves."""

    def __init__(self, made: tiny.Project, saves: int) -> None:
        super().__init__(made.db, made.folder, made.config, 0, "rewrite")
        self.left = saves

    def save(self, rows: object, done: int | None = None) -> None:
        super().save(rows, done)  # type: ignore[arg-type]
        self.left -= 1
        if not self.left:
            raise Paused


def test_rewriting_anew_begins_with_the_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    before = made_by(made, monkeypatch, below(40))
    write.reset(made.db, 0, ["rewrite"])
    assert made.ctx("x").rows(Rewrite) == []
    assert made.ctx("x").rows(Selection) == []
    run(made, monkeypatch, Scripted(teacher(below(40))))
    assert [(r.key, r.state) for r in made.ctx("x").rows(Rewrite)] == [(r.key, r.state) for r in before]


def test_verifying_anew_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    before = made_by(made, monkeypatch, below(40))
    write.reset(made.db, 0, ["verify"])
    after = made.ctx("x").rows(Rewrite)
    assert [(r.key, r.state, r.reason) for r in after] == [(r.key, r.state, r.reason) for r in before]


def test_a_small_dataset_has_a_control_group_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 12, EVIDENCE + "select.new_samples = 0.0")
    signals(made)
    rows = made_by(made, monkeypatch, below(4))
    place = {s.id: s.seq for s in rounds.dataset(made)}
    assert sorted(place[s.sample_id] for s in made.ctx("x").rows(Selection)) == [0, 1, 2, 3]
    assert sum(r.control for r in rows) == 6


def test_samples_that_all_look_alike_are_compared_with_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path)
    ids = [s.id for s in rounds.dataset(made)]
    made.ctx("score").save([Flaw(0, id, 1.0, "odd_form") for id in ids])
    made_by(made, monkeypatch, below(0))
    assert "the last 22 gave 0 repairs" in str(detail(made)["stopped"])
    assert "differ as often at random" not in "".join(made.events())


def test_a_teacher_without_usable_answers_is_not_asked_about_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path, "teacher.attempts = 2")
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(lambda chat, seed: said("")))
    rows = made.ctx("x").rows(Rewrite)
    assert {row.state for row in rows} == {"failed"}
    assert len(rows) == 38
    assert detail(made)["stopped"] == "the teacher gave no usable answer to 22 of the last 22"
    assert made.ctx("x").rows(Selection) == []


def test_a_cap_ends_the_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, 'teacher.budget_tokens = 3000\nreview.policy = "auto"')
    made_by(made, monkeypatch, below(100))
    assert detail(made)["stopped"] == "the teacher's budget is exhausted"
    assert detail(made)["settled"] is False


def test_without_flaw_scores_it_says_what_to_do(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 5, EVIDENCE)
    rounds.signal(made, rounds.usual(5))
    with pytest.raises(StageError, match="redo score"):
        select.run(made.ctx("select"))


def test_dropping_asks_for_answers_only_and_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, 'select.new_samples = 0.0\nmerge.flawed = "drop"')
    rows = made_by(made, monkeypatch, below(40))
    assert {(r.state, r.reason, r.messages) for r in rows if r.state != "kept"} == {("rejected", DROPPED, None)}
    assert sum(r.state == "rejected" for r in rows) == 40
    merge.run(made.ctx("merge"))
    assert [s.seq for s in rounds.dataset(made, 1)] == list(range(40, COUNT))
    write.end_job(made.db, 0, "merge", "done")
    facts = read.round_facts(made.db, 0)
    assert facts is not None
    assert stop_reason(facts, Limits(True, 0.05, -1.0)) is None
