"""One data frame in flight, and a terminal that never answers breaks nothing."""

from __future__ import annotations

from middo_tui.terminal.pacing import GIVE_UP, PATIENCE_S, Link


def test_a_frame_waits_for_the_answer_to_the_one_before() -> None:
    link = Link()
    assert link.ready(0.0)
    assert link.painted(0.0)
    assert not link.ready(0.2)
    link.answered(0.25)
    assert link.ready(0.25)
    assert link.latency_ms == 250.0


def test_after_a_second_without_an_answer_the_next_frame_goes_anyway() -> None:
    link = Link()
    link.painted(10.0)
    assert not link.ready(10.0 + PATIENCE_S / 2)
    assert link.wait_s(10.0 + PATIENCE_S / 2) == PATIENCE_S / 2
    assert link.ready(10.0 + PATIENCE_S)


def test_a_mute_terminal_is_asked_only_a_few_times_and_then_left_alone() -> None:
    link = Link()
    asked = [link.painted(float(second)) for second in range(10)]
    assert asked == [True] * GIVE_UP + [False] * (10 - GIVE_UP)
    assert link.ready(100.0)
    assert link.latency_ms is None


def test_a_late_answer_is_counted_from_its_own_frame_and_asking_begins_again() -> None:
    link = Link()
    for second in range(8):
        link.painted(float(second))
    link.answered(9.0)
    assert link.latency_ms == 9000.0
    assert link.painted(9.5)


def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    link = Link()
    link.answered(1.0)
    assert link.latency_ms is None
    assert link.ready(1.0)


def test_without_a_terminal_nothing_is_ever_asked_or_held() -> None:
    link = Link(answers=False)
    assert not link.painted(0.0)
    assert link.ready(0.0)


def test_frames_per_second_looks_at_the_last_seconds_only() -> None:
    link = Link(answers=False)
    for tenth in range(20):
        link.painted(tenth / 2)
    assert link.frames_per_s(9.5) == 2.2
    assert link.frames_per_s(60.0) == 0.0
