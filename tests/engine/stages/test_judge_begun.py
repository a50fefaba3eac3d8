"""A judge whose reply is begun: who is asked so, that its ratings are those behind the beginning, and who remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.backends import Rating, roles
from engine.chat.render import render_prompt
from engine.config import schema as configs
from engine.errors import ConfigError
from engine.loop import spec
from engine.signals import judge_asking, ratings
from engine.stages import judge
from engine.store.judging import JudgeCheck
from engine.store.rows import Ratings
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("own_models")

BASE = '[judge]\nmodel = "base"\n'
CHATS = tiny.chats(10)


def project(folder: Path, model: Path, extra: str) -> tiny.Project:
    out = tiny.Project(folder, tiny.make_config(model, extra), CHATS)
    (folder / "prompts").mkdir()
    for subject in ("prompt", "response"):
        (folder / "prompts" / f"judge_{subject}.txt").write_text(
            f"rate {subject}: {{prompt}} {{response}} {{dimension}}"
        )
    return out


def check(of: tiny.Project, round: int = 0) -> JudgeCheck:
    (found,) = of.ctx("judge", round).rows(JudgeCheck)
    return found


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    done = project(tmp_path_factory.mktemp("begun") / "p", tiny_model, BASE + 'prime = "on"\n')
    judge.run(done.ctx("judge"))
    return done


def test_ratings_are_the_distribution_behind_the_beginning(begun: tiny.Project, tiny_model: Path) -> None:
    tokenizer, model = tiny.make_tokenizer(), AutoModelForCausalLM.from_pretrained(tiny_model)
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    ctx = begun.ctx("judge")
    rows, masses = {row.sample_id: row for row in ctx.rows(Ratings)}, []
    for sample in ctx.dataset():
        six = []
        for asked in ratings.judge_chats(ratings.judge_templates(ctx.project), sample.messages):
            ids = render_prompt(tokenizer, asked, 500) + tokenizer.encode("Rating: ", add_special_tokens=False)
            with torch.no_grad():
                chances = model(torch.tensor([ids])).logits[0, -1].softmax(-1)[digits].double()
            six.append(float((chances * torch.arange(10)).sum() / chances.sum()))
            masses.append(float(chances.sum()))
        assert rows[sample.id].quality == pytest.approx(sum(six) / 6, abs=1e-3)
    assert check(begun).begun == "Rating: "
    assert min(masses) <= (check(begun).begun_mass or 0) <= max(masses)


def test_candidates_are_asked_as_samples_were(begun: tiny.Project) -> None:
    ctx = begun.ctx("verify", config=tiny.make_config(Path(begun.config.model.name), BASE + 'prime = "off"\n'))
    rows = {row.sample_id: row.quality for row in ctx.rows(Ratings)}
    found = judge.rate(ctx, ctx.config.judge, [((i,), chat) for i, chat in enumerate(CHATS)])
    for sample, one in zip(ctx.dataset(), found, strict=True):
        assert one.quality == pytest.approx(rows[sample.id], abs=1e-4)


def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, tiny_model: Path, begun: tiny.Project) -> None:
    killed = project(tmp_path / "p", tiny_model, BASE + 'prime = "on"\n')
    ctx = killed.ctx("judge")
    ctx.save([JudgeCheck(0, "base", "Rating: ", check(begun).plain_mass, check(begun).begun_mass)])
    ctx.save(begun.ctx("judge").rows(Ratings)[3:5])
    judge.run(ctx)
    assert ctx.rows(Ratings) == begun.ctx("judge").rows(Ratings)
    assert check(killed) == check(begun)


def test_a_stage_that_an_older_version_began_is_ended_as_it_was_begun(
    tmp_path: Path, tiny_model: Path, begun: tiny.Project
) -> None:
    old = project(tmp_path / "p", tiny_model, BASE + 'prime = "on"\n')
    ctx = old.ctx("judge")
    ctx.save(begun.ctx("judge").rows(Ratings)[:2])
    judge.run(ctx)
    assert check(old).begun == ""


class Judge:
    """Answers in a form of its own: digits have ``plain`` of the probability, or ``begun`` behind a beginning."""

    tokenizer: Any = tiny.make_tokenizer()
    positions = 500

    def __init__(self, plain: float, begun: float, beginning: str = "Rating: ") -> None:
        self.plain, self.begun, self.beginning = plain, begun, beginning

    def rate(self, prompts: Any, token_budget: int = 0) -> list[Rating]:
        """Told by the last token: behind a beginning it is a blank."""
        blank = self.tokenizer.convert_tokens_to_ids("Ġ")
        return [Rating(5.0, self.begun if ids[-1] == blank else self.plain) for ids in prompts]


@pytest.mark.parametrize(
    ("plain", "behind", "settings", "beginning"),
    [
        (0.06, 0.98, "", "Rating: "),
        (0.99, 1.0, "", ""),
        (0.4, 0.3, "", ""),
        (0.99, 1.0, 'prime = "on"\n', "Rating: "),
        (0.06, 0.98, 'prime = "off"\n', ""),
        (0.06, 0.98, '[select]\nparity = "reference"\n', ""),
    ],
)
def test_the_digits_probability_decides_unless_a_setting_does(
    tmp_path: Path, tiny_model: Path, plain: float, behind: float, settings: str, beginning: str
) -> None:
    one = project(tmp_path / "p", tiny_model, BASE + settings)
    found = judge_asking.asked_how(one.ctx("judge"), Judge(plain, behind), one.ctx("judge").dataset())
    assert found.begun == beginning
    assert check(one) == found
    said = [f'the judge\'s replies are begun with "Rating:": {behind:.1%} of the probability then lies on digits']
    assert [text.split(",")[0] for text in one.events()] == (said if beginning else [])


def test_a_tokenizer_without_a_beginning_is_asked_as_it_is(tmp_path: Path, tiny_model: Path) -> None:
    one = project(tmp_path / "p", tiny_model, BASE + 'prime = "on"\n')
    found = judge_asking.asked_how(one.ctx("judge"), Judge(0.1, 0.9, beginning=""), one.ctx("judge").dataset())
    assert (found.begun, found.begun_mass) == ("", None)


def test_later_rounds_ask_as_the_first_one_did(tmp_path: Path, tiny_model: Path) -> None:
    one = project(tmp_path / "p", tiny_model, BASE)
    judge_asking.asked_how(one.ctx("judge"), Judge(0.06, 0.98), one.ctx("judge").dataset())
    later = one.ctx("judge", 1)
    assert judge_asking.asked_how(later, Judge(0.95, 0.99), later.dataset()).begun == "Rating: "
    other = one.ctx("judge", 2, config=tiny.make_config(tiny_model, '[judge]\nmodel = "tuned"\n'))
    assert judge_asking.asked_how(other, Judge(0.95, 0.99), other.dataset()).begun == ""


@pytest.mark.parametrize("stage", ["judge", "verify"])
@pytest.mark.parametrize("other", ['[judge]\nprime = "on"\n', '[select]\nparity = "reference"\n'])
def test_another_way_to_ask_makes_the_stage_stale(tiny_model: Path, stage: str, other: str) -> None:
    now, then = (configs.slice_hash(tiny.make_config(tiny_model, extra), spec(stage).config) for extra in ("", other))
    assert now != then


def test_the_teacher_can_rate(tmp_path: Path, tiny_model: Path, begun: tiny.Project) -> None:
    """Its own weights, number format and template; the round has no checkpoint."""
    other = tiny.make_model(tmp_path / "teacher", seed=7)
    own = '[judge]\nmodel = "teacher"\nprime = "on"\n[model]\nchat_template = "alpaca"\n'
    ours = project(tmp_path / "p", tiny_model, own + f'[teacher]\nmodel = "{other}"\n')
    judge.run(ours.ctx("judge"))
    alone = project(tmp_path / "q", other, BASE + 'prime = "on"\n')
    judge.run(alone.ctx("judge"))
    assert ours.ctx("judge").rows(Ratings) == alone.ctx("judge").rows(Ratings)
    assert ours.ctx("judge").rows(Ratings) != begun.ctx("judge").rows(Ratings)


def test_another_teacher_makes_its_ratings_stale(tiny_model: Path) -> None:
    def key(judge_model: str, teacher: str) -> str:
        extra = f'[judge]\nmodel = "{judge_model}"\n[teacher]\nmodel = "{teacher}"\n'
        return configs.slice_hash(tiny.make_config(tiny_model, extra), spec("judge").config)

    assert key("teacher", "a") != key("teacher", "b")
    assert key("tuned", "a") == key("tuned", "b")


def test_an_endpoint_cannot_be_the_judge(tiny_model: Path) -> None:
    extra = '[judge]\nmodel = "teacher"\n[teacher]\nbackend = "openai"\nmodel = "x"\nurl = "http://127.0.0.1:1/v1"\n'
    with pytest.raises(ConfigError, match="rates with a local model"):
        roles.check(tiny.make_config(tiny_model, extra))
