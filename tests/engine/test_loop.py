"""The loop table and what comes next, as pure functions."""

from __future__ import annotations

import pytest

from engine import loop
from engine.config.schema import Config, slice_hash
from engine.loop import Limits, Open, Reselect, RunStages, StageSpec, Stop
from engine.store.rows import Job, Plan, RoundFacts

LIMITS = Limits(final_train=True, min_acceptance=0.05, min_gain=-1.0)
GOOD = RoundFacts(rewrites=100, accepted=80, gain=0.05)


def jobs(round: int, done: int, closing: bool = False, then: str = "pending") -> list[Job]:
    names = loop.stages_of(closing)
    states = ["done"] * done + [then] * (done < len(names)) + ["pending"] * (len(names) - done - 1)
    return [Job(round, name, state) for name, state in zip(names, states, strict=True)]


def test_every_input_is_produced_earlier() -> None:
    loop.check()


def test_a_stage_without_its_input_is_named() -> None:
    broken = (StageSpec("judge", ("checkpoint",), ("ratings",), "g", (), 1, "x:run"),)
    with pytest.raises(ValueError, match="stage judge: no earlier stage produces checkpoint"):
        loop.check(broken)


def test_an_empty_project_opens_round_0() -> None:
    assert loop.next_step([], {}, Plan(rounds=2), None, LIMITS) == Open(0, closing=False)


@pytest.mark.parametrize(
    ("done", "group"),
    [
        (0, ("train",)),
        (1, ("score", "judge", "evaluate", "select")),
        (3, ("evaluate", "select")),
        (5, ("rewrite",)),
        (6, ("verify", "review", "merge")),
        (8, ("merge",)),
    ],
)
def test_stages_that_need_the_same_model_share_a_child(done: int, group: tuple[str, ...]) -> None:
    assert loop.next_step(jobs(0, done), {}, Plan(rounds=2), None, LIMITS) == RunStages(0, group)


@pytest.mark.parametrize("state", ["failed", "paused", "cancelled", "interrupted", "waiting", "running"])
def test_a_stage_that_ended_early_is_run_again(state: str) -> None:
    assert loop.next_step(jobs(0, 5, then=state), {}, Plan(rounds=2), None, LIMITS) == RunStages(0, ("rewrite",))


def test_until_cuts_the_group_and_then_stops() -> None:
    plan = Plan(rounds=2, until_round=0, until_stage="judge")
    assert loop.next_step(jobs(0, 1), {}, plan, None, LIMITS) == RunStages(0, ("score", "judge"))
    assert isinstance(loop.next_step(jobs(0, 3), {}, plan, None, LIMITS), Stop)


def test_rounds_are_a_total_and_end_with_a_closing_one() -> None:
    plan = Plan(rounds=2)
    both = jobs(0, 9) + jobs(1, 9)
    assert loop.next_step(jobs(0, 9), {}, plan, GOOD, LIMITS) == Open(1, closing=False)
    assert loop.next_step(both, {}, plan, GOOD, LIMITS) == Open(2, closing=True)
    assert loop.next_step(both + jobs(2, 0, closing=True), {2: None}, plan, None, LIMITS) == RunStages(2, ("train",))
    ended = both + jobs(2, 2, closing=True)
    assert loop.next_step(ended, {2: None}, plan, None, LIMITS) == Stop("done", "2 rounds are done")


def test_one_round_is_not_rounds() -> None:
    ended = jobs(0, 9) + jobs(1, 2, closing=True)
    assert loop.next_step(ended, {1: None}, Plan(rounds=1), None, LIMITS) == Stop("done", "1 round is done")


def test_asking_for_more_rounds_turns_the_closing_round_into_an_ordinary_one() -> None:
    ended = jobs(0, 9) + jobs(1, 2, closing=True)
    assert loop.next_step(ended, {1: None}, Plan(rounds=3), None, LIMITS) == Open(1, closing=False)


def test_a_closing_round_that_the_stop_rule_opened_stays_the_end() -> None:
    ended = jobs(0, 9) + jobs(1, 2, closing=True)
    assert loop.next_step(ended, {1: "the acceptance rate fell"}, Plan(rounds=3), None, LIMITS) == Stop(
        "done", "the acceptance rate fell"
    )


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (RoundFacts(0, 0, None), "no sample was selected"),
        (RoundFacts(50, 0, None), "none of 50 rewrites was accepted"),
        (RoundFacts(100, 4, None), "the acceptance rate fell to 4%"),
        (RoundFacts(100, 50, -1.5), "the gain of the round was -1.500"),
    ],
)
def test_the_stop_rule_says_why(facts: RoundFacts, says: str) -> None:
    reason = loop.stop_reason(facts, LIMITS)
    assert reason is not None
    assert says in reason


def test_a_round_that_changed_nothing_is_not_measured_again() -> None:
    step = loop.next_step(jobs(0, 9), {}, Plan(rounds=3), RoundFacts(50, 0, None), LIMITS)
    assert isinstance(step, Stop)
    assert "did not change" in step.reason


def test_a_round_that_selected_nothing_selects_again_for_what_was_overridden_since() -> None:
    asked = RoundFacts(0, 0, None, overridden=2)
    until = Plan(rounds=1, until_round=0, until_stage="select")
    for plan in (Plan(rounds=1), Plan(rounds=3), until):
        assert loop.next_step(jobs(0, 9), {}, plan, asked, LIMITS) == Reselect(0, 2)
    dropped = RoundFacts(0, 0, None, dropped=1, overridden=2)
    assert isinstance(loop.next_step(jobs(0, 9), {}, Plan(rounds=1), dropped, LIMITS), Open), "the merge has happened"
    control = RoundFacts(0, 0, None, control=True, overridden=2)
    assert isinstance(loop.next_step(jobs(0, 9), {}, Plan(rounds=1), control, LIMITS), Open)


def test_rejected_rewrites_are_kept_and_overrides_are_for_the_next_round() -> None:
    asked = RoundFacts(50, 0, None, overridden=1)
    assert loop.next_step(jobs(0, 9), {}, Plan(rounds=3), asked, LIMITS) == Open(1, closing=False)
    assert isinstance(loop.next_step(jobs(0, 9), {}, Plan(rounds=1), asked, LIMITS), Stop)


def test_a_low_acceptance_rate_closes_the_loop_with_a_measurement() -> None:
    step = loop.next_step(jobs(0, 9), {}, Plan(rounds=3), RoundFacts(100, 2, None), LIMITS)
    assert isinstance(step, Open)
    assert step.closing
    assert step.stopped
    assert "acceptance rate" in step.stopped


def test_every_stage_names_settings_that_there_are() -> None:
    for stage in loop.STAGES:
        slice_hash(Config(), stage.config)
