"""How long a run will take: what is left of which round, by whose seconds, and in which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine.demo
from engine.config import schema as configs
from engine.doctor import (
    cost_model,
    data_facts,
    duration,
    model_check_process,
    model_process,
    report,
    timing,
)
from engine.doctor.cost_model import RoundWork
from engine.doctor.duration import Duration, LoopState, Recorded, Span
from engine.doctor.model_check_process import ModelCheckResult
from engine.loop import NAMES, spec
from engine.project import folder as project
from engine.runtime.run_stage import input_key
from engine.store import read, write
from engine.store.connect import writer
from engine.store.rows import Losses
from middo_tui.text import status
from tests.support import rounds, tiny

BASE = Path(engine.demo.__file__).parent / "base"
NOTED = Duration(
    100, {"train": Span(10, 20), "score": Span(4, 8)}, {"train": Span(10, 20), "score": Span(2, 4)}, "tried"
)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Span(0, 4), "a few seconds"),
        (Span(21, 33), "20 to 30 s"),
        (Span(48, 118), "50 s to 2 min"),
        (Span(260, 580), "4 to 10 min"),
        (Span(3_500, 7_000), "60 min to 2 h"),
        (Span(50_000, 51_000), "about 14 h"),
    ],
)
def test_a_span_is_told_no_more_exactly_than_it_is_known(span: Span, words: str) -> None:
    assert duration.words(span) == words


def test_what_is_left_counts_every_round_and_the_last_training() -> None:
    left = duration.remaining(LoopState(rounds=3, final=True, rows=200), NOTED, {})
    assert left is not None
    assert left.number == 0
    assert left.stages == {"train": Span(20, 40), "score": Span(8, 16)}  # twice the samples
    assert left.run == Span(4 * 20 + 8 + 2 * 4, 4 * 40 + 16 + 2 * 8)
    assert "judge" in left.unknown
    assert "review" not in left.unknown, "a person takes as long as it takes"
    assert "not known" in duration.sentence(left)
    assert duration.sentence(left).endswith("Tried")


def test_only_what_grows_with_the_samples_is_scaled_with_them(tmp_path: Path) -> None:
    """What was tried for 100 samples and scaled to 1,000 is what is worked out for 1,000 at once."""
    config = configs.parse('[model]\nname = "x"\n[select]\nmax_share = 0.1\n', "x")
    units = [cost_model.READ, cost_model.PREDICTED, cost_model.LEARNED, cost_model.RATED]
    speeds = dict.fromkeys([*units, cost_model.ASKED, cost_model.REPLIED], 1e-5)
    speeds |= {cost_model.OPENED: 3.0, cost_model.FETCHED: 5.0}
    few, many = (
        duration.expected(RoundWork(rows, 20, 30, heldout=50, fresh=rows), config, speeds, 0, "tried")
        for rows in (100, 1000)
    )
    left = duration.remaining(LoopState(1, final=False, rows=1000), few, {})
    assert left is not None
    for stage in ("train", "judge", "evaluate", "select", "score"):
        assert left.stages[stage].low == pytest.approx(many.first[stage].low, rel=0.01), stage
        assert left.stages[stage].high == pytest.approx(many.first[stage].high, rel=0.01), stage
    assert cost_model.scaled("evaluate", 7.0, 100, 1000) == 7.0, "the held-out samples are the same"


def test_a_round_of_which_nothing_is_known_is_no_few_seconds() -> None:
    state = LoopState(2, final=False, rows=100, newest=0, done={"train": 1.0})
    left = duration.remaining(state, None, {"train": Recorded(100.0, 100, 0)})
    assert left is not None
    assert duration.sentence(left).startswith("round 0: not known yet; the whole run: at least ")


def test_stages_that_have_run_are_believed_and_scaled() -> None:
    own = {name: Recorded(100.0, 100, 0) for name in NAMES}
    state = LoopState(2, final=False, rows=300, newest=1, done={"train": 1.0, "score": 0.5})
    left = duration.remaining(state, NOTED, own)
    assert left is not None
    assert left.number == 1
    assert "train" not in left.stages
    start = cost_model.START["judge"]
    took = start + (100 - start) * 3
    assert left.stages["judge"] == Span(took * duration.RECORDED[0], took * duration.RECORDED[1])
    assert 140 < left.stages["score"].high / duration.RECORDED[1] < 150, "half of it is done"
    assert left.basis == "from this project's own stages"


def test_nothing_is_left_of_a_closing_round_that_is_done() -> None:
    done = LoopState(1, True, 10, newest=1, closing=True, done={"train": 1.0, "evaluate": 1.0})
    assert duration.remaining(done, NOTED, {}) is None
    assert duration.remaining(LoopState(1, False, 10), None, {}) is None


def test_how_many_are_asked_about_is_a_range_of_the_settings() -> None:
    config = configs.parse("", "config.toml")
    assert duration.asked(config, 1_000, 0) == (duration.FEWEST, 500)
    assert duration.asked(config, 1_000, 100) == (50, 200)
    assert duration.asked(config, 20, 0) == (10, 10)
    found = duration.expected(RoundWork(1_000, 30, 10), config, {"asked": 0.1, "replied": 1.0}, 0, "tried")
    asked = [cost_model.amounts(RoundWork(1_000, 30, 10, asked=n), config)["rewrite"] for n in (40, 500)]
    low, high = (cost_model.seconds("rewrite", work, {"asked": 0.1, "replied": 1.0}) for work in asked)
    assert found.first["rewrite"] == Span((low or 0) * duration.TRIED[0], (high or 0) * duration.TRIED[1])
    assert "judge" not in found.first


def test_an_endpoint_is_timed_by_its_one_reply_and_recomputing_by_a_forward_more() -> None:
    config = configs.parse('[teacher]\nbackend = "openai"\nconcurrency = 4\n', "config.toml")
    tried = timing.TriedModels({"model": ModelCheckResult(speeds={"read": 1.0, "learned": 2.0})}, recomputes=True)
    assert tried.speeds(config, {}) == {"read": 1.0, "learned": 3.0}
    found = tried.speeds(config, {"seconds": 8.0, "tokens": 16})
    assert (found["asked"], found["replied"]) == (0.0, 8.0 / 16 / 4)
    servers = 'url = "http://a.example/v1"\nmore_urls = ["http://b.example/v1", "http://c.example/v1"]\n'
    three = configs.parse(f'[teacher]\nbackend = "openai"\nconcurrency = 4\n{servers}', "config.toml")
    assert tried.speeds(three, {"seconds": 8.0, "tokens": 16})["replied"] == 8.0 / 16 / 12
    batched = configs.parse('[teacher]\nbackend = "openai"\nbatch = true\n', "config.toml")
    assert "replied" not in tried.speeds(batched, {"seconds": 8.0, "tokens": 16}), "a provider takes hours"


def test_rewriting_is_no_faster_than_the_providers_rate_limits() -> None:
    facts, speeds = RoundWork(1_000, 100.0, 50.0, fresh=1_000), {"asked": 0.0, "replied": 1e-9}
    url = '[teacher]\nbackend = "openai"\nurl = "http://a.example/v1"\n'
    free = duration.expected(facts, configs.parse(url, "c"), speeds, 100, "tried").later["rewrite"]
    limited = configs.parse(f"{url}requests_per_minute = 5\n", "c")
    found = duration.expected(facts, limited, speeds, 100, "tried").later["rewrite"]
    assert (found.low, found.high) == (50 / 5 * 60, 200 / 5 * 60)
    assert found.low > free.high
    by_tokens = configs.parse(f"{url}requests_per_minute = 5\ntokens_per_minute = 150\n", "c")
    assert duration.expected(facts, by_tokens, speeds, 100, "tried").later["rewrite"].low == 50 * 150 / 150 * 60
    two = configs.parse(f'{url}more_urls = ["http://b.example/v1"]\nrequests_per_minute = 5\n', "c")
    assert duration.expected(facts, two, speeds, 100, "tried").later["rewrite"].low == 50 / 10 * 60, "each has its own"
    generous = configs.parse(f"{url}requests_per_minute = 1000000\n", "c")
    assert duration.expected(facts, generous, speeds, 100, "tried").later["rewrite"] == free


def test_why_a_model_was_not_tried_is_said() -> None:
    tried = timing.TriedModels({"model": ModelCheckResult(untimed="weights in 4 bits are not tried")})
    (found,) = timing.planned(configs.parse("", "config.toml"), tried)
    assert found.text == "not known before the first round has run (weights in 4 bits are not tried)"


@pytest.fixture
def tiny_project(tmp_path: Path) -> Path:
    rows = [
        {"instruction": f"Count to {i}.", "input": "", "output": " ".join(map(str, range(i)))} for i in range(3, 60)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    settings: dict[str, dict[str, object]] = {"model": {"name": str(BASE), "threads": 1}, "loop": {"rounds": 2}}
    project.create(tmp_path / "P", [tmp_path / "rows.json"], settings)
    return tmp_path / "P"


def test_what_was_measured_before_a_project_was_created_is_kept_in_it(tiny_project: Path) -> None:
    config = configs.load(tiny_project)
    speeds = dict.fromkeys(("learned", "read", "predicted", "written", "asked", "replied", "rated"), 1e-4)
    tried = timing.TriedModels({"model": ModelCheckResult(speeds=speeds)})
    other = configs.parse(f'[model]\nname = "{BASE}"\nthreads = 2\n', "c")
    timing.keep(tiny_project, other, tried)
    assert status.gather(tiny_project)["estimate"] is None, "measured with other settings"
    timing.keep(tiny_project, config, tried)
    kept = status.gather(tiny_project)["estimate"]
    assert kept is not None
    assert set(kept["stages"]) == set(NAMES) - {"review"}


def test_the_doctor_tells_the_time_and_by_what_and_status_repeats_it(tiny_project: Path) -> None:
    assert status.gather(tiny_project)["estimate"] is None
    (found,) = [f for f in report.findings(tiny_project, timed=True) if f.name == "time"]
    assert found.text.startswith("round 0: ")
    assert "; the whole run: " in found.text
    assert found.text.endswith("Estimated from a short trial of the model on this machine, without other work on it")
    assert found.facts["unknown"] == []
    assert set(found.facts["stages"]) == set(NAMES) - {"review"}
    assert 0 < found.facts["round"]["low_s"] < found.facts["round"]["high_s"] < found.facts["run"]["high_s"]
    assert status.gather(tiny_project)["estimate"] == found.facts
    assert status.time_left(tiny_project) == found.text
    _ran(tiny_project, seconds=50.0)
    told = status.gather(tiny_project)["estimate"]
    assert told["round_number"] == 1
    assert told["stages"]["train"] == {"low_s": 42.5, "high_s": 60.0}
    assert told["basis"] == "from this project's own stages"


def _ran(folder: Path, seconds: float) -> None:
    """A round whose stages took so long each, and whose next one is begun."""
    config = configs.placed(configs.load(folder), folder)
    db = writer(folder)
    try:
        write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
        for name in NAMES:
            write.start_job(db, 0, name, input_key(db, config, 0, spec(name)), "{}")
            write.add_cost(db, 0, name, seconds, seconds, 1)
            write.end_job(db, 0, name, "done")
        write.open_round(db, 1, "{}", NAMES, closing=False, stopped=None)
    finally:
        db.close()


def test_samples_that_could_not_be_tokenised_are_left_out_of_the_lengths(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 3)
    none, *others = (sample.id for sample in rounds.dataset(made))
    lost = Losses(0, none, None, None, 0, 0, "no answer is left")
    made.ctx("score").save([lost, *(Losses(0, id, 1.0, 1.0, 5, 7) for id in others)])
    found = data_facts.of_project(made.folder, made.config)
    assert (found.lengths, found.mean, found.longest) == ((12, 12), 12.0, 12)


def test_a_trial_that_is_killed_costs_the_speeds_and_not_the_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(model_process, "time_roles", killed)
    config = tiny.make_config(BASE)
    with pytest.raises(SystemExit):
        model_process.main([configs.snapshot(config), str(tmp_path), '{"tokens": 8, "prompt": 4}'])
    found = model_check_process.results(capsys.readouterr().out, "", -9)["model"]
    assert [one for one in found.findings if one.bad] == []
    assert (found.speeds, "the trial was killed by signal 9" in found.untimed) == ({}, True)
    (broken,) = model_check_process.results("", "", -9)["model"].findings
    assert "memory" in broken.text


def test_only_the_rounds_that_are_told_of_are_counted(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 3)
    ran = "UPDATE job SET state='done', seconds=1.0, input_key=? WHERE round=? AND stage=?"
    for number in range(6):
        if number:
            rounds.open_round(made, number)
        for name in ("train", "score"):
            made.db.execute(ran, (input_key(made.db, made.config, number, spec(name)), number, name))
    asked: list[str] = []
    made.db.set_trace_callback(asked.append)
    found = duration.recorded(made.db, made.config, read.jobs(made.db))
    assert {stage: one.round for stage, one in found.items()} == {"train": 5, "score": 5}
    assert sum("FROM departure" in sql for sql in asked) == 1
