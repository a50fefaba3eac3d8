"""The next dataset: what is replaced, added, retired and left; running the merge again changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.stages import merge
from engine.stages.merge import DuplicateOf, Member, Redundancy, members
from engine.store.rows import (
    Losses,
    Message,
    Override,
    Retirement,
    Rewrite,
    Sample,
    Selection,
    content_id,
    dump_messages,
)
from engine.teacher.budget import EXHAUSTED
from engine.verification import retirement
from middo_tui.feed.sample import read_detail
from middo_tui.widgets.sample_pane import pane_lines
from tests.support import rounds, tiny


def accept(made: tiny.Project, place: int, axis: str, prompt: str, state: str = "accepted", round: int = 0) -> None:
    """A rewrite of the sample at ``place`` with its selection."""
    id = rounds.dataset(made, round)[place].id
    text = dump_messages(tiny.chat(prompt, f"reply to {prompt}"))
    ctx = made.ctx("review", round)
    ctx.save([Rewrite(round, id, axis, state, 1, prompt, messages=text), Selection(round, id, axis, 0.0, 0.0)])


def prompts(made: tiny.Project, round: int) -> list[str]:
    return [s.prompt for s in rounds.dataset(made, round)]


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Ten samples; the similarity grows with the place, so the last are the most redundant."""
    out = rounds.project(tmp_path, 10)
    rounds.signal(out, [(1.0, 0.5, 0.1 * i, 6.0) for i in range(10)])
    return out


def test_replacing_axes_replace_and_diversity_adds(made: tiny.Project) -> None:
    accept(made, 1, "quality", "better 1")
    accept(made, 0, "quality", "better 0")
    accept(made, 2, "complexity", "simpler 2")
    accept(made, 3, "diversity", "other 3")
    merge.run(made.ctx("merge"))
    kept = [f"ask {i} please" for i in (3, 4, 5, 6, 8, 9)]  # 9 and 8 lie beside what is replaced
    assert prompts(made, 1) == [*kept, "simpler 2", "other 3", "better 0", "better 1"]
    assert len(rounds.dataset(made, 0)) == 10
    old = rounds.dataset(made)
    born = rounds.dataset(made, 1)[-1]
    assert (born.parent_id, born.axis, born.born_round, born.source) == (
        old[1].id,
        "quality",
        1,
        f"rewrite of #{old[1].seq}",
    )
    assert [s.seq for s in rounds.dataset(made, 1)[-4:]] == [10, 11, 12, 13]
    assert born.id == content_id(born.messages)
    assert {r.state for r in made.ctx("x").rows(Rewrite)} == {"accepted"}
    assert made.events() == [
        "3 samples replaced, 1 added, 1 redundant one retired (0 exact copies, 1 near-duplicate of kept samples):"
        " 10 → 10 samples"
    ]


def test_a_rewrite_keeps_the_other_columns_of_the_row_whose_place_it_takes(made: tiny.Project) -> None:
    made.db.execute("""UPDATE sample SET extra='{"id":"row-1"}'""")
    accept(made, 1, "quality", "better 1")
    accept(made, 3, "diversity", "other 3")
    merge.run(made.ctx("merge"))
    born = {s.prompt: s.extra for s in rounds.dataset(made, 1) if s.born_round == 1}
    assert born == {"better 1": '{"id":"row-1"}', "other 3": ""}


def test_grow_retires_nothing(made: tiny.Project) -> None:
    made.config = rounds.settings(made, 'merge.size = "grow"')
    accept(made, 3, "diversity", "other 3")
    merge.run(made.ctx("merge"))
    assert len(prompts(made, 1)) == 11


def test_a_held_out_prompt_is_never_merged_whoever_accepted_it(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 4, heldout=[tiny.chat("Name a secret colour.", "red")])
    rounds.signal(made, rounds.usual(4))
    accept(made, 0, "quality", "name a SECRET colour")
    accept(made, 1, "quality", "name another colour")
    merge.run(made.ctx("merge"))
    assert "name a SECRET colour" not in prompts(made, 1)
    assert prompts(made, 1)[0] == "ask 0 please", "its original stays"
    states = {r.prompt: (r.state, r.reason) for r in made.ctx("x").rows(Rewrite)}
    assert states["name another colour"] == ("accepted", None)
    assert states["name a SECRET colour"] == (
        "rejected",
        "evaluation: the prompt is item 1 of the held-out set",
    )
    assert "1 accepted rewrite is not merged because its prompt is held out" in made.events()


@pytest.mark.parametrize("state", ["failed", "rejected", "proposed", "owed"])
def test_what_is_not_accepted_leaves_its_original(made: tiny.Project, state: str) -> None:
    accept(made, 1, "quality", "better 1", state)
    merge.run(made.ctx("merge"))
    assert rounds.dataset(made, 1) == rounds.dataset(made, 0)
    assert made.ctx("x").rows(Rewrite)[0].state == state


def test_running_again_changes_nothing(made: tiny.Project) -> None:
    accept(made, 1, "quality", "better 1")
    accept(made, 3, "diversity", "other 3")

    def stored() -> list[list[tuple[object, ...]]]:
        tables = (
            "* FROM sample",
            "* FROM departure",
            "* FROM rewrite",
            "* FROM retirement",
            "round, stage, state, done, total FROM job",
        )
        return [[*map(tuple, made.db.execute(f"SELECT {one}"))] for one in tables]

    merge.run(made.ctx("merge"))
    before = stored()
    merge.run(made.ctx("merge"))
    assert stored() == before


def test_the_most_redundant_leave_but_never_selected_or_new_ones(made: tiny.Project) -> None:
    accept(made, 9, "quality", "x", "rejected")  # the most redundant, but selected
    accept(made, 0, "diversity", "other 0")
    merge.run(made.ctx("merge"))
    assert prompts(made, 1) == [f"ask {i} please" for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)] + ["other 0"]
    rounds.open_round(made, 1)
    rounds.signal(made, [(1.0, 0.5, 0.1 * i, 6.0) for i in range(10)], round=1)
    accept(made, 1, "diversity", "other 1", round=1)
    merge.run(made.ctx("merge", 1))
    assert "other 0" in prompts(made, 2), "what the last merge brought stays"
    assert "ask 9 please" not in prompts(made, 2)
    assert len(prompts(made, 2)) == 10


def test_new_samples_never_get_the_place_of_one_that_left(made: tiny.Project) -> None:
    made.config = rounds.settings(made, 'merge.size = "grow"')
    made.ctx("review").save([Override(rounds.dataset(made)[9].id, "drop", None, 0.0)])  # the last one
    merge.run(made.ctx("merge"))
    rounds.open_round(made, 1)
    accept(made, 3, "diversity", "other 3", round=1)
    for _ in range(2):  # the merge is repeated, too
        merge.run(made.ctx("merge", 1))
        assert [s.seq for s in rounds.dataset(made, 2)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]


def test_too_few_to_retire_is_said(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 3)
    rounds.signal(made, [(1.0, 0.5, 0.5, 6.0)] * 3)
    for i in range(3):
        accept(made, i, "diversity", f"other {i}")
    merge.run(made.ctx("merge"))
    assert len(prompts(made, 1)) == 6
    assert made.events()[-1] == "only 0 samples could be retired to balance 3 added ones"


def test_the_same_text_gets_copy_numbers_also_against_retired_samples(made: tiny.Project) -> None:
    accept(made, 1, "quality", "better")
    accept(made, 2, "quality", "better")
    merge.run(made.ctx("merge"))
    messages = tiny.chat("better", "reply to better")
    assert [s.id for s in rounds.dataset(made, 1)[-2:]] == [content_id(messages), content_id(messages, 1)]
    rounds.open_round(made, 1)
    rounds.signal(made, [(1.0, 0.5, 0.5, 6.0)] * 10, round=1)
    # Round 1 rewrites the first back to a text that round 0 retired.
    id = rounds.dataset(made, 1)[0].id
    text = dump_messages(tiny.chat("ask 1 please", "reply 1 here"))
    made.ctx("review", 1).save([Rewrite(1, id, "quality", "accepted", 1, "x", messages=text)])
    merge.run(made.ctx("merge", 1))
    assert rounds.dataset(made, 2)[-1].id == content_id(tiny.chat("ask 1 please", "reply 1 here"), 1)
    assert made.db.execute("SELECT count(*) FROM sample").fetchone()[0] == 13


# ----------------------------------------------------------------------------------------- redundancy


def sample(id: int, text: str = "") -> Member:
    (one,) = members([Sample(id, (Message("user", text or f"ask {id}"), Message("assistant", "x")), seq=id)])
    return one


def ids(found: dict[int, DuplicateOf]) -> list[int]:
    return list(found)


def apart(similarity: float, loss: float, near: int) -> Redundancy:
    """A sample whose nearest neighbour nobody would retire."""
    return Redundancy(similarity, loss, (near,))


def test_highest_similarity_then_lowest_loss_then_place() -> None:
    known = {
        i: apart(s, loss, 100 + i) for i, (s, loss) in enumerate(((0.5, 0.1), (0.9, 0.7), (0.9, 0.3), (0.9, 0.3)), 1)
    }
    samples = [sample(i) for i in known]
    random.Random(0).shuffle(samples)
    assert ids(merge.most_redundant(samples, known, 9)) == [3, 4, 2, 1]
    assert ids(merge.most_redundant(samples, known, 2)) == [3, 4]


def test_two_near_duplicates_never_leave_together() -> None:
    known = {1: apart(0.99, 0.1, 2), 2: apart(0.99, 0.2, 1), 3: apart(0.5, 0.1, 1), 4: apart(0.4, 0.1, 5)}
    samples = [sample(i) for i in known]
    assert ids(merge.most_redundant(samples, known, 2)) == [1, 4]
    assert ids(merge.most_redundant(samples, known, 9)) == [1, 4], "rather too few: 2 is what is left of 1, 1 of 3"


def test_each_has_a_keeper_that_stays(made: tiny.Project) -> None:
    """On many random neighbourhoods: whoever is retired has its nearest neighbour left."""
    draw = random.Random(0)
    for _ in range(200):
        people = range(1, 31)
        known = {
            i: Redundancy(draw.random(), 0.1, tuple(draw.sample([j for j in people if j != i], 2))) for i in people
        }
        leaving = draw.sample(people, 5)
        texts = [sample(i, "twin" if draw.random() < 0.2 else "") for i in people if i not in leaving]
        found = merge.most_redundant(texts, known, 12, leaving)
        gone = {*leaving, *found}
        assert not gone & {kept.id for kept in found.values()}
        assert all(kept.reason == "copy" or kept.id == known[id].near[0] for id, kept in found.items())


def test_what_is_nearest_to_a_replaced_sample_stays() -> None:
    known = {1: apart(0.99, 0.1, 2), 3: apart(0.5, 0.1, 4)}
    assert ids(merge.most_redundant([sample(1), sample(3)], known, 2, leaving=[2])) == [3]


def test_beside_what_leaves_only_where_there_is_nothing_else() -> None:
    known = {1: Redundancy(0.99, 0.1, (5, 2)), 2: Redundancy(0.98, 0.1, (6, 1)), 3: apart(0.5, 0.1, 7)}
    samples = [sample(i) for i in known]
    assert ids(merge.most_redundant(samples, known, 2)) == [1, 3]
    assert merge.most_redundant(samples, known, 3)[2] == DuplicateOf("near", 6), "its nearest neighbour stays"


def test_exact_copies_leave_first_and_the_first_of_them_stays() -> None:
    known = {i: apart(0.9 - i / 10, 0.1, 100 + i) for i in range(1, 4)}
    samples = [sample(1), sample(2, "twin"), sample(3, "twin"), sample(4, "twin")]
    assert ids(merge.most_redundant(samples, known, 3)) == [3, 4, 1]
    found = merge.most_redundant(samples, known, 9)
    assert found == {3: DuplicateOf("copy", 2), 4: DuplicateOf("copy", 2), 1: DuplicateOf("near", 101)}


def test_why_a_sample_was_retired_is_kept_and_said(made: tiny.Project) -> None:
    accept(made, 0, "diversity", "other 0")
    merge.run(made.ctx("merge"))
    old = rounds.dataset(made)
    assert made.ctx("x").rows(Retirement, 1) == [Retirement(old[9].id, 1, "near", old[0].id)]
    assert (
        "0 samples replaced, 1 added, 1 redundant one retired (0 exact copies, 1 near-duplicate of kept samples)"
        in (made.events()[-1])
    )
    detail = read_detail(made.folder, old[9].id, 1)
    assert detail is not None
    assert detail.why_retired == "redundant: nearest to #0"
    assert "(redundant: nearest to #0)" in "".join(run.text for line in pane_lines(detail, 120) for run in line)
    merge.run(made.ctx("merge"))
    assert len(made.ctx("x").rows(Retirement, 1)) == 1


def test_samples_without_a_neighbourhood_stay() -> None:
    assert merge.most_redundant([sample(1), sample(2)], {}, 2) == {}


def test_losses_tell_every_id_there_ever_was(made: tiny.Project) -> None:
    assert {r.sample_id for r in made.ctx("x").rows(Losses)} == {s.id for s in rounds.dataset(made)}


@pytest.mark.parametrize(
    ("reason", "useless"),
    [
        ("expected exactly one <prompt>…</prompt>, found 0", True),
        ("duplicate: the prompt is the same as that of #4", True),
        (EXHAUSTED, False),
        ("the endpoint answered 500", False),
        ("the reply was cut off at 512 tokens (teacher.max_new_tokens)", False),
        ("the answer is empty", False),
        (None, False),
    ],
)
def test_a_prompt_whose_repair_was_only_stopped_stays(reason: str | None, useless: bool) -> None:
    row = Rewrite(0, 1, "quality", "failed", attempts=2, reason=reason, probe=True)
    assert retirement.useless(row.state, row.attempts, row.reason) is useless
