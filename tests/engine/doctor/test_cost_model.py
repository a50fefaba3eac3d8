"""The model of cost on known numbers: amounts counted by hand, and what is not known is None."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import cost_model
from engine.doctor.cost_model import OPENING, SPOILT, SUSTAINED, RoundWork

WORK = RoundWork(1_000, prompt=100, response=50, heldout=20, fresh=1_000, asked=40, width=64, padding=1.5)


def config(text: str = "") -> Config:
    return configs.parse(text, "config.toml")


def test_amounts_are_those_of_the_stages_passes() -> None:
    found = cost_model.amounts(WORK, config("[train]\nepochs = 2.0\n"))
    assert found["train"] == {"rows": 1_000, "opened": 1, "learned": 2 * 1_000 * 150 * 1.5}
    # the sample under this round's model, its prompt alone, the sample and its answer alone under the base
    alone = 100 - OPENING, 50 + OPENING
    assert found["score"]["read"] == 1_000 * (150 + alone[0]) + 1_000 * (150 + alone[1])
    assert found["score"]["predicted"] == 1_000 * 50 * 3
    assert found["judge"] == {"rows": 1_000, "rated": 1_000 + 2 * SPOILT}
    assert found["evaluate"] == {"read": 20 * 150, "predicted": 20 * 50}
    assert found["rewrite"] == {"rows": 40, "fetched": 1, "asked": 40 * 100, "replied": 40 * 50}


def test_only_rewrites_that_pass_the_text_checks_are_measured() -> None:
    none, some, every = (
        cost_model.amounts(replace(WORK, passed=passed), config())["verify"] for passed in (0, 10, None)
    )
    assert none["rated"] == none["read"] == 0
    assert some["rated"] == 10
    assert some["read"] == every["read"] / 4 == 10 * (2 * 150 + 100 + 50 + OPENING)


def test_random_answers_are_read_where_rewrites_have_prompts_of_their_own() -> None:
    sigma = '[select]\nthreshold = "sigma"\n'
    of = [
        cost_model.amounts(WORK, config(text))["verify"]["read"]
        for text in (sigma, f"{sigma}[verify]\non_topic = 0.0\n", "")
    ]
    assert of[0] - of[1] == cost_model.PAIRS * (150 + 50 + OPENING)
    assert of[1] == of[2], "by evidence, a rewrite has its sample's prompt"


def test_verify_looks_at_every_sample() -> None:
    """The words of all, to find copies: a project of 100,000 with 20 rewrites takes seconds more than one of 1,000."""
    speeds = dict.fromkeys(("read", "predicted", "rated"), 1e-6)
    few, many = (
        cost_model.seconds("verify", cost_model.amounts(replace(WORK, rows=rows), config())["verify"], speeds)
        for rows in (1_000, 100_000)
    )
    assert few is not None
    assert many is not None
    assert many - few > 3


def test_a_later_round_knows_the_losses_under_the_base() -> None:
    later = cost_model.amounts(RoundWork(1_000, 100, 50, fresh=0), config())["score"]
    assert later["read"] == 1_000 * (150 + 100 - OPENING)
    assert later["predicted"] == 1_000 * 50
    assert cost_model.amounts(RoundWork(1_000, 100, 50), config('[score]\nembed = "in_template"\n'))["score"][
        "read"
    ] == 1_000 * 150  # fmt: skip


def test_a_rule_of_thresholds_asks_for_a_prompt_and_an_answer() -> None:
    found = cost_model.amounts(WORK, config('[select]\nthreshold = "sigma"\n'))["rewrite"]
    assert found["replied"] == 40 * 150
    assert found["asked"] == 40 * (2 * 100 + 50 + cost_model.REQUEST)


def test_seconds_are_a_sum_of_amounts_times_speeds() -> None:
    took = cost_model.seconds("train", {"rows": 1_000, "learned": 10_000}, {"learned": 0.002})
    assert took == pytest.approx(
        cost_model.START["train"] + 1_000 * cost_model.ROW["train"] + 10_000 * 0.002 * SUSTAINED
    )


def test_what_is_not_known_is_not_invented() -> None:
    assert cost_model.seconds("judge", {"rows": 10, "rated": 10}, {"read": 1.0}) is None
    assert cost_model.seconds("rewrite", {"rows": 0, "asked": 0.0, "replied": 0.0}, {}) == cost_model.START["rewrite"]
    for text in ('[evaluate]\ntasks = ["gsm8k"]\n', '[judge]\nmode = "sampled"\n'):
        stage = text[1 : text.index("]")]
        assert cost_model.seconds(stage, cost_model.amounts(WORK, config(text))[stage], {"read": 1.0}) is None


def test_neighbours_are_all_pairs_below_the_index() -> None:
    small = cost_model.compared(10_000, 64, exact=False)
    assert small == pytest.approx(10_000**2 * (cost_model.PAIR + 64 * cost_model.PAIR_WIDTH))
    assert cost_model.compared(100_000, 64, exact=False) == 100_000 * cost_model.INDEXED
    assert cost_model.compared(100_000, 64, exact=True) == pytest.approx(100 * small)


def test_padding_is_to_the_longest_of_a_micro_batch() -> None:
    how = "[train]\nbatch_size = 2\ngradient_accumulation = 2\n"
    lengths = [10, 40, 20, 30]
    assert cost_model.padding(lengths, config(how)) == pytest.approx((2 * 20 + 2 * 40) / 100)
    assert cost_model.padding(lengths, config(f"{how}balance = false\n")) == pytest.approx((2 * 40 + 2 * 30) / 100)
    assert cost_model.padding(lengths, config(f"{how}packing = true\n")) == 1.0
    assert cost_model.padding([], config(how)) == 1.0
