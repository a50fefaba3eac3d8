"""Verification: text checks reject with a reason, the rest is measured by the round's own models and judged."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from engine.backends import Generation, hf
from engine.config import schema
from engine.errors import Paused, StageError
from engine.runtime.context import StoreCtx
from engine.signals import losses
from engine.stages import judge, score, select, train, verify
from engine.store import connect, write
from engine.store.judging import JudgeCheck
from engine.store.rows import (
    Decision,
    Losses,
    Message,
    Neighbourhood,
    Ratings,
    Rewrite,
    Sample,
    Selection,
    Verdict,
    content_id,
    dump_messages,
)
from engine.verification.candidates import Candidate, candidates
from engine.verification.verdicts import Values
from tests.support import rounds, tiny

HELDOUT = [tiny.chat("name a secret colour", "red")]


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A project whose round 0 has been trained, scored, judged and selected."""
    folder = tmp_path_factory.mktemp("verify") / "p"
    made = tiny.Project(folder, tiny.make_config(tiny_model), tiny.chats(16), HELDOUT)
    rounds.open_round(made, 0)
    train.run(made.ctx("train"))
    score.run(made.ctx("score"))
    judge.run(made.ctx("judge"))
    select.run(made.ctx("select"))
    with connect.transaction(made.db):
        made.db.execute("DELETE FROM rewrite")
    made.db.close()
    return folder


@pytest.fixture
def made(diagnosed: Path, tmp_path: Path, tiny_model: Path) -> tiny.Project:
    """A copy of the diagnosed project."""
    folder = tmp_path / "p"
    shutil.copytree(diagnosed, folder)
    out = object.__new__(tiny.Project)
    out.folder, out.config, out.db = folder, tiny.make_config(tiny_model), connect.writer(folder)
    return out


def propose(made: tiny.Project, place: int, axis: str, prompt: str, response: str, state: str = "proposed") -> None:
    """A rewrite of the sample at ``place`` as the rewrite stage leaves it."""
    sample = rounds.dataset(made)[place]
    row = Rewrite(0, sample.id, axis, state, 1, prompt, response, answer_attempts=1)
    messages = dump_messages((Message("user", prompt), Message("assistant", response)))
    made.ctx("rewrite").save([replace(row, messages=messages)])


def fates(made: tiny.Project) -> dict[tuple[int, str], tuple[str, str | None]]:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    found = {(place[r.sample_id], r.axis): (r.state, r.reason) for r in made.ctx("x").rows(Rewrite)}
    return dict(sorted(found.items()))


def test_bad_text_is_rejected_and_not_measured(made: tiny.Project) -> None:
    data = rounds.dataset(made)
    propose(made, 0, "quality", "name a word", "I'm sorry, but I can't help with that.")
    propose(made, 1, "quality", data[1].prompt, data[1].response)
    propose(made, 2, "quality", data[3].prompt.upper(), "red")
    propose(made, 4, "complexity", "name a secret colour", "blue")
    propose(made, 5, "complexity", "Rewritten prompt: name a word", "blue")
    propose(made, 6, "diversity", data[6].prompt, "another answer")
    verify.run(made.ctx("verify"))
    codes = {key: (state, str(reason).partition(":")[0]) for key, (state, reason) in fates(made).items()}
    assert codes == {
        (0, "quality"): ("rejected", "refusal"),
        (1, "quality"): ("rejected", "unchanged"),
        (2, "quality"): ("rejected", "duplicate"),
        (4, "complexity"): ("rejected", "evaluation"),
        (5, "complexity"): ("rejected", "scaffolding"),
        (6, "diversity"): ("rejected", "duplicate"),
    }
    assert f"#{data[3].seq}" in str(fates(made)[2, "quality"][1])
    assert made.ctx("verify").rows(Verdict) == []
    assert "6 rewrites checked: 0 improved, 6 rejected (duplicate 2, " in made.events()[-1]


def test_a_held_out_prompt_does_not_come_back_in_other_words_around_it(made: tiny.Project) -> None:
    propose(made, 0, "complexity", "«Name a secret\u200b colour»", "blue")
    row = made.ctx("rewrite").rows(Rewrite)[0]
    turns = (*tiny.chat("name a secret colour", "blue", "and another", "green"),)
    made.ctx("rewrite").save([replace(row, sample_id=rounds.dataset(made)[1].id, messages=dump_messages(turns))])
    verify.run(made.ctx("verify"))
    reason = "evaluation: the prompt is item 1 of the held-out set"
    assert fates(made) == {(i, "complexity"): ("rejected", reason) for i in (0, 1)}


def test_a_rewrite_may_keep_its_own_prompt_but_not_anothers(made: tiny.Project) -> None:
    data = rounds.dataset(made)
    propose(made, 1, "quality", data[1].prompt, "something else")
    propose(made, 2, "quality", "list the pears", "pear")
    propose(made, 3, "quality", "List the pears!", "pear pear")
    verify.run(made.ctx("verify"))
    assert [state for state, _ in fates(made).values()] == ["proposed", "proposed", "rejected"]
    assert "another rewrite of this round" in str(fates(made)[3, "quality"][1])


def test_a_trusted_judge_counts_in_the_flaw_score_of_a_rewrite(made: tiny.Project) -> None:
    ids = [s.id for s in rounds.dataset(made)]
    made.ctx("judge").save([replace(r, quality=9.5, judge_error=None) for r in made.ctx("judge").rows(Ratings)])
    propose(made, 0, "quality", "name every pear", "pear pear")
    flaws = []
    for pairs in (0, 32):
        made.ctx("judge").save([JudgeCheck(0, "tuned", "", done=True, pairs=pairs, auc=1.0, rated=len(ids))])
        made.db.execute("UPDATE rewrite SET verdict=NULL, state='proposed', reason=NULL")
        verify.run(made.ctx("verify"))
        flaws += [v.new_flaw_lens for v in made.ctx("verify").rows(Verdict)]
    assert flaws[0] != "quality"
    assert flaws[1] == "quality", "this judge, who rates all others 9.5, rates it lowest"


def test_good_text_is_measured_by_the_rounds_models(made: tiny.Project) -> None:
    propose(made, 0, "quality", "name every pear", "pear pear")
    propose(made, 1, "diversity", "list bread and apple in red", "bread apple")
    verify.run(made.ctx("verify"))
    ctx = made.ctx("verify")
    got = {v.axis: v for v in ctx.rows(Verdict)}
    chats = [tiny.chat("name every pear", "pear pear"), tiny.chat("list bread and apple in red", "bread apple")]
    order = ["quality", "diversity"]
    measured = dict(zip(order, losses.measure(ctx, chats), strict=True))
    rated = dict(
        zip(order, judge.rate(ctx, ctx.config.judge, list(zip([(0,), (1,)], chats, strict=True))), strict=True)
    )
    for axis in order:
        assert got[axis].new_loss_before == pytest.approx(measured[axis].loss_before, abs=1e-5)
        assert got[axis].new_loss_after == pytest.approx(measured[axis].loss_after, abs=1e-5)
        assert got[axis].new_quality == pytest.approx(rated[axis].quality, abs=1e-5)
        assert json.loads(str(got[axis].new_ratings)) == pytest.approx(rated[axis].ratings, abs=1e-5)
        assert got[axis].new_ifd == pytest.approx(measured[axis].lenses.ifd, abs=1e-5)
        assert 0 < float(str(got[axis].new_flaw)) < 1
        assert got[axis].improved is not None
        assert str(got[axis].verdict).startswith(("improved: ", "not improved: "))
    assert [state for state, _ in fates(made).values()] == ["proposed", "proposed"]


def test_a_verdict_keeps_what_the_rewrite_was_held_against(tmp_path: Path, tiny_model: Path) -> None:
    topics = ("apple", "pear", "bread", "small", "large", "green", "blue", "red")
    chats = [tiny.chat(f"sort the {topics[i % 8]} list number{i}", f"{topics[i % 8]} {i}") for i in range(32)]
    made = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), chats)
    rounds.open_round(made, 0)
    for stage in (train, score, judge, select):
        stage.run(made.ctx(stage.__name__.rpartition(".")[2]))
    made.db.execute("DELETE FROM rewrite")
    propose(made, 8, "quality", "sort an apple list, number8", "apple 8, apple")
    propose(made, 9, "quality", "name every word", "red")
    propose(made, 16, "diversity", "which apple is large", "an apple")
    verify.run(made.ctx("verify"))
    got = {(v.sample_id, v.axis): v for v in made.ctx("x").rows(Verdict)}
    place = [s.id for s in rounds.dataset(made)]
    assert got[place[8], "quality"].on_topic == 1.0
    assert got[place[9], "quality"].on_topic == 0.0
    assert "100% of random samples share as much" in str(got[place[9], "quality"].verdict)
    selected = {row.sample_id for row in made.ctx("x").rows(Selection)}
    kept = [n.similarity for n in made.ctx("x").rows(Neighbourhood) if n.sample_id not in selected]
    assert got[place[16], "diversity"].usual_similarity == pytest.approx(np.quantile(kept, 0.75))
    assert got[place[8], "quality"].usual_similarity is None


@pytest.mark.parametrize("changed", [False, True])
def test_rewrites_are_rated_in_the_mode_that_the_samples_were(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """Expected and drawn ratings lie on different scales. ``changed``: config.toml names the other mode since."""
    expected = made.ctx("x").rows(Ratings)
    drawn: list[int] = []

    def replies(self: hf.HF, chats: Sequence[Sequence[Message]], *, seed: int, **how: Any) -> list[Generation]:
        drawn.append(seed)
        return [Generation("hm" if len(chats) > 6 and i == 7 else "8", "stop", 1, 1) for i in range(len(chats))]

    monkeypatch.setattr(hf.HF, "generate", replies)
    propose(made, 0, "quality", "name every pear", "pear pear")
    propose(made, 1, "quality", "name bread and apple in red", "bread apple")
    made.ctx("judge").save([replace(row, digit_mass=None) for row in expected])
    made.config = replace_judge(made.config, mode="expected" if changed else "sampled")
    verify.run(made.ctx("verify"))
    assert [json.loads(str(v.new_ratings)) for v in made.ctx("x").rows(Verdict)] == [[8.0] * 6] * 2
    assert len(set(drawn)) == 2, "what could not be read was drawn again, from another seed"

    made.db.execute("UPDATE rewrite SET verdict=NULL")
    made.ctx("judge").save(expected)
    made.config = replace_judge(made.config, mode="sampled" if changed else "expected")
    verify.run(made.ctx("verify"))
    assert all(v.new_quality != 8.0 for v in made.ctx("x").rows(Verdict))
    assert len(drawn) == 2, "nothing is drawn where samples have expected ratings"


def replace_judge(settings: schema.Config, **values: Any) -> schema.Config:
    import msgspec

    return msgspec.structs.replace(settings, judge=msgspec.structs.replace(settings.judge, **values))


def test_similarity_is_measured_as_the_dataset_was(made: tiny.Project) -> None:
    """A candidate with its parent's prompt has its parent's similarity: the parent itself does not count."""
    parent = rounds.dataset(made)[4]
    propose(made, 4, "quality", parent.prompt, "something else")
    verify.run(made.ctx("verify"))
    was = {n.sample_id: n.similarity for n in made.ctx("x").rows(Neighbourhood)}[parent.id]
    assert made.ctx("x").rows(Verdict)[0].new_similarity == pytest.approx(was, abs=2e-3)


def test_a_diversity_prompt_on_top_of_another_is_rejected(made: tiny.Project) -> None:
    made.config = replace_verify(made.config, max_similarity=1e-9)
    propose(made, 1, "diversity", "list bread and apple in red", "bread apple")
    propose(made, 2, "quality", "list pear and apple", "pear")
    verify.run(made.ctx("verify"))
    state, reason = fates(made)[1, "diversity"]
    assert state == "rejected"
    assert str(reason).startswith("duplicate: its embedding has similarity 0.")
    assert fates(made)[2, "quality"][0] == "proposed"


def test_a_users_program_rejects_before_anything_is_measured(made: tiny.Project, tmp_path: Path) -> None:
    """A resumed run asks it for nothing that it has let through; a program that fails lets nothing through."""
    script = (
        "import json, sys\ngiven = json.load(sys.stdin)\nopen('asked', 'a').write(given['axis'][0])\n"
        "if given['axis'] == 'quality': sys.exit('no quality\\nat all')\n"
        "sys.exit(2 if {fails} and given['axis'] == 'diversity' else 0)\n"
    )
    check = made.folder / "check.py"
    made.config = replace_verify(made.config, command=(sys.executable, "-S", "check.py"))
    propose(made, 0, "complexity", "name every pear", "pear pear")
    propose(made, 1, "diversity", "list bread and apple in red", "bread apple")
    propose(made, 2, "quality", "list pear and apple", "pear")
    check.write_text(script.replace("{fails}", "True"), encoding="utf-8")
    with pytest.raises(StageError, match="exit code 2"):
        verify.run(made.ctx("verify"))
    assert made.ctx("x").rows(Verdict) == []
    check.write_text(script.replace("{fails}", "False"), encoding="utf-8")
    verify.run(made.ctx("verify"))
    assert [state for state, _ in fates(made).values()] == ["proposed", "proposed", "rejected"]
    assert fates(made)[2, "quality"][1] == "command: no quality"
    assert {v.axis for v in made.ctx("x").rows(Verdict)} == {"complexity", "diversity"}
    assert (made.folder / "asked").read_text() == "cd" + "cdq", "all again, by the mended program"
    left = [made.ctx("verify").workdir(name) for name in (verify.PASSED, verify.RATINGS)]  # of a killed run
    verify.run(made.ctx("verify"))
    assert [folder.exists() for folder in left] == [False, False]
    assert len((made.folder / "asked").read_text()) == 5, "what has a verdict or was rejected is settled"


def replace_verify(settings: schema.Config, **values: Any) -> schema.Config:
    import msgspec

    return msgspec.structs.replace(settings, verify=msgspec.structs.replace(settings.verify, **values))


def test_what_cannot_be_measured_is_rejected(made: tiny.Project) -> None:
    propose(made, 1, "quality", "red " * 300 + "pear", "too long for the model")
    made.config = replace_verify(made.config)
    verify.run(made.ctx("verify"))
    state, reason = fates(made)[1, "quality"]
    assert state == "rejected"
    assert str(reason).startswith(("unmeasured: ", "loop: "))


def test_a_persons_decision_stands(made: tiny.Project) -> None:
    data = rounds.dataset(made)
    propose(made, 0, "quality", "name a word", "I'm sorry, but I can't help with that.", state="accepted")
    propose(made, 1, "quality", "red blue " + "apple " * 3 + "x" * 400, "a", state="rejected")
    propose(made, 2, "quality", data[2].prompt, "another", state="accepted")
    verify.run(made.ctx("verify"))
    assert [state for state, _ in fates(made).values()] == ["accepted", "rejected", "accepted"]


def test_failed_rewrites_are_left_alone(made: tiny.Project) -> None:
    made.ctx("rewrite").save([Rewrite(0, rounds.dataset(made)[0].id, "quality", "failed", 3, reason="no tags")])
    verify.run(made.ctx("verify"))
    assert fates(made) == {(0, "quality"): ("failed", "no tags")}


class PausesAt(StoreCtx):
    """Pauses after the n-th save."""

    left = 0

    def save(self, rows: Any, done: int | None = None) -> None:
        super().save(rows, done)
        self.left -= 1
        if self.left < 0:
            raise Paused


@pytest.mark.parametrize("after", range(4))
def test_a_resumed_run_ends_in_the_same_rows(made: tiny.Project, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(verify, "CHUNK", 2)
    for i in range(5):
        propose(made, i, "complexity", f"name {i} {tiny.WORDS[i]} twice", f"{tiny.WORDS[i]} {i}")
    propose(made, 7, "quality", "name a word", "")
    whole = made.folder.with_name("whole")
    shutil.copytree(made.folder, whole)
    resumed = PausesAt(made.db, made.folder, made.config, 0, "verify")
    resumed.left = after
    with pytest.raises(Paused):
        verify.run(resumed)
    verify.run(made.ctx("verify"))
    other = StoreCtx(connect.writer(whole), whole, made.config, 0, "verify")
    verify.run(other)
    for kind in (Rewrite, Verdict):
        assert made.ctx("x").rows(kind) == other.rows(kind)


def test_embeddings_that_do_not_fit_are_refused(made: tiny.Project) -> None:
    propose(made, 0, "quality", "name every pear", "pear pear")
    path = made.ctx("x").artifact("embeddings")
    assert path is not None
    np.save(path, np.zeros((3, 32), np.float16))
    with pytest.raises(StageError, match="3 embeddings for 16 samples"):
        verify.run(made.ctx("verify"))
    made.db.execute("DELETE FROM artifact WHERE name='embeddings'")
    with pytest.raises(StageError, match="Run its score stage first"):
        verify.run(made.ctx("verify"))


def test_wording_shared_by_the_dataset_is_no_overlap(tmp_path: Path) -> None:
    boiler = " ".join(f"word{i}" for i in range(14))
    made = rounds.project(tmp_path, 2, heldout=[tiny.chat(f"{boiler} one", "red")])
    propose(made, 0, "quality", f"{boiler} two", "blue")
    ctx = made.ctx("verify")
    found = verify.inspect(ctx, ctx.dataset(), candidates(ctx.rows(Rewrite), ctx.dataset()))
    assert [f.code for f in found.values()] == ["evaluation"]
    made = rounds.project(tmp_path / "b", 2, heldout=[tiny.chat(f"{boiler} one", "red")])
    propose(made, 0, "quality", f"{boiler} two", "blue")
    with connect.transaction(made.db):
        chat = tiny.chat(f"{boiler} three", "x")
        write.add_samples(made.db, [Sample(content_id(chat), chat, seq=9)])
    ctx = made.ctx("verify")
    assert verify.inspect(ctx, ctx.dataset(), candidates(ctx.rows(Rewrite), ctx.dataset())) == {}


# -------------------------------------------------------------------------------------------- the verdict


def test_the_originals_signals_are_read(made: tiny.Project) -> None:
    ctx = made.ctx("verify")
    row = ctx.rows(Losses)[0]
    got = verify.originals(ctx, {row.sample_id})
    quality = {r.sample_id: r.quality for r in ctx.rows(Ratings)}[row.sample_id]
    assert got[row.sample_id] == Values(row.loss_before, row.loss_after, quality)
    assert Decision.TABLE == Verdict.TABLE == "rewrite"


def test_the_log_line_adds_up_and_is_the_same_after_a_second_check() -> None:
    samples = [Sample(i, tuple(tiny.chat("a", "b")), i) for i in range(4)]
    reasons = [None, None, "duplicate: #3", "scaffolding: x"]

    def line(decided: str, doubt: str | None) -> str:
        rows = [
            Rewrite(0, i, "quality", "rejected" if reason else decided, 1, "p", "r", reason=reason or doubt)
            for i, reason in enumerate(reasons)
        ]
        made = [Candidate(row, samples[i], samples[i]) for i, row in enumerate(rows)]
        verdicts = [Verdict(0, i, "quality", 2.0, 1.0, 0.4, 7.0, None, not i, "") for i in range(2)]
        return verify.summary(made, rows, verdicts)

    said = "4 rewrites checked: 1 improved, 1 not improved, 2 rejected (duplicate 1, scaffolding 1)"
    assert line("proposed", None) == said
    assert line("rejected", "not improved: it is longer") == said, "of a person or the policy"
