"""What a person sends back or edits: another reply, another verdict, and nothing else changes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import Paused
from engine.signals import losses
from engine.stage import Ctx
from engine.stages import verify
from engine.store import commands, connect
from engine.store.rows import Message, Rewrite, Verdict
from engine.teacher.job import RETRY_TEMPERATURE
from tests.engine.stages.test_verify import diagnosed, propose
from tests.support import rounds, tiny
from tests.support.rewriting import SMALL, rows, run, seven, well
from tests.support.rounds import Scripted

__all__ = ["diagnosed"]  # a fixture


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Twelve samples, seven pending rewrites."""
    return seven(tmp_path)


def send_back(made: tiny.Project, *places: int) -> None:
    """A person has these rewrites written again, as one step."""
    again = [(r.sample_id, r.axis) for i, r in enumerate(rows(made)) if i in places]
    assert commands.send_back(made.folder, 0, again) == len(places)


def test_what_is_sent_back_draws_another_reply_and_the_rest_stays(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(made, monkeypatch, Scripted(well))
    before = rows(made)
    send_back(made, 1, 4)
    teacher = run(made, monkeypatch, Scripted(well))
    after = rows(made)
    assert [len(texts) for texts, _, _ in teacher.calls] == [2, 2], "one batch of prompts, one of answers"
    assert [i for i in range(7) if after[i] != before[i]] == [1, 4]
    for i in (1, 4):
        assert after[i].state == "proposed"
        assert after[i].prompt != before[i].prompt
        assert after[i].tokens_in == before[i].tokens_in + 20, "what the first reply took stays counted"
    send_back(made, 1)
    run(made, monkeypatch, Scripted(well))
    third = rows(made)
    assert third[1].prompt not in (before[1].prompt, after[1].prompt)
    assert [i for i in range(7) if third[i] != after[i]] == [1]


def test_a_greedy_teacher_is_made_to_say_something_else(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds.settings(made, SMALL + "teacher.temperature = 0.0")
    assert {t for _, _, t in run(made, monkeypatch, Scripted(well)).calls} == {0.0}
    send_back(made, 0)
    assert {t for _, _, t in run(made, monkeypatch, Scripted(well)).calls} == {RETRY_TEMPERATURE}


def test_a_wave_that_was_cut_off_goes_on_as_if_it_had_not_been(
    made: tiny.Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(folder: Path, stopped: bool) -> list[Rewrite]:
        other = seven(folder)
        run(other, monkeypatch, Scripted(well))
        send_back(other, 0, 2, 5, 6)
        if stopped:
            other.want("pause")
            with pytest.raises(Paused):
                run(other, monkeypatch, Scripted(well))
            other.want("run")
        run(other, monkeypatch, Scripted(well))
        return rows(other)

    assert whole(tmp_path_factory.mktemp("a"), False) == whole(tmp_path_factory.mktemp("b"), True)


# --------------------------------------------------------------------------------------------------- edited


@pytest.fixture
def checked(diagnosed: Path, tmp_path: Path, tiny_model: Path) -> tiny.Project:
    """Three rewrites of a diagnosed round that have their verdicts."""
    folder = tmp_path / "p"
    shutil.copytree(diagnosed, folder)
    out = object.__new__(tiny.Project)
    out.folder, out.config, out.db = folder, tiny.make_config(tiny_model), connect.writer(folder)
    for i in range(3):
        propose(out, i, "quality", f"name {i} {tiny.WORDS[i]} twice", f"{tiny.WORDS[i]} {i}")
    verify.run(out.ctx("verify"))
    return out


def verdicts(made: tiny.Project) -> list[Verdict]:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    return sorted(made.ctx("x").rows(Verdict), key=lambda v: place[v.sample_id])


def test_an_edited_text_is_measured_again_and_alone(checked: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = verdicts(checked)
    assert len(before) == 3
    key = (before[1].sample_id, "quality")
    commands.edit(checked.folder, 0, key, "name one pear", "pear")
    assert [v.sample_id for v in verdicts(checked)] == [before[0].sample_id, before[2].sample_id]
    commands.decide(checked.folder, 0, [key], "accepted")
    asked: list[Sequence[Sequence[Message]]] = []
    measure = losses.measure

    def noted(ctx: Ctx, chats: Sequence[Sequence[Message]]) -> list[losses.Measured]:
        asked.append(chats)
        return measure(ctx, chats)

    monkeypatch.setattr(losses, "measure", noted)
    verify.run(checked.ctx("verify"))
    assert asked == [[tiny.chat("name one pear", "pear")]]
    after = verdicts(checked)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1].new_loss_after != before[1].new_loss_after
    states = [r.state for r in checked.ctx("x").rows(Rewrite) if r.sample_id == key[0]]
    assert states == ["accepted"], "what a person decided stands"


def test_an_accepted_edit_that_fails_a_text_check_is_said(checked: tiny.Project) -> None:
    key = (verdicts(checked)[1].sample_id, "quality")
    commands.edit(checked.folder, 0, key, "name a secret colour", "red")
    commands.decide(checked.folder, 0, [key], "accepted")
    verify.run(checked.ctx("verify"))
    said = [text for text in checked.events() if "the text checks after editing" in text]
    assert len(said) == 1
    assert "#1 evaluation" in said[0]


def test_undo_brings_the_verdict_back_without_measuring(checked: tiny.Project) -> None:
    before = verdicts(checked)
    commands.edit(checked.folder, 0, (before[0].sample_id, "quality"), "name one pear", "pear")
    verify.run(checked.ctx("verify"))
    assert verdicts(checked) != before
    commands.undo(checked.folder)
    assert verdicts(checked) == before
