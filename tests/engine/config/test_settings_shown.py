"""Numbers as config.toml and the Settings screen show them."""

from __future__ import annotations

import pytest

from engine.config import defaults
from middo_tui.feed.round_config import settings


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1 - 0.6, "0.4"), (0.1 + 0.2, "0.3"), (5e-4, "0.0005"), (2.0, "2.0"), (1e-05, "1e-05"), (3, "3")],
)
def test_a_computed_number_is_shown_as_it_was_meant(value: float, shown: str) -> None:
    assert defaults.shown(value) == shown
    assert dict(settings(f'{{"select": {{"m_quality": {value!r}}}}}'))["select.m_quality"] == shown


def test_numbers_inside_tables_and_lists_too() -> None:
    assert defaults.shown({"": {"input": 1 - 0.6}}) == '{"" = {"input" = 0.4}}'
    assert defaults.shown([1 - 0.6, 1]) == "[0.4, 1]"
    assert dict(settings(f'{{"a": [{1 - 0.6!r}]}}'))["a"] == "[0.4]"
