"""How lm-eval is given a round's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.evaluation import harness
from engine.evaluation.harness import EvaluationJob
from tests.support import tiny
from tests.support.small_models import model_of

pytestmark = pytest.mark.usefixtures("own_models")


def test_what_a_task_raises_is_told_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a stage's own failure is: a library's exception may quote a header."""
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghij")
    told: list[harness.Report] = []

    def work() -> None:
        raise ValueError("401 for Bearer hf_abcdefghij")

    assert not harness._guarded("mmlu", told.append, work)
    assert told == [harness.Failed("mmlu", "ValueError: 401 for Bearer <HF_TOKEN>")]
    assert "Bearer <HF_TOKEN>" in (said := capsys.readouterr().err)
    assert "hf_abc" not in said


@pytest.mark.parametrize(("family", "batch_size"), [("llama", 8), ("rwkv", 1), ("recurrent_gemma", 1)])
def test_a_family_that_takes_padding_for_text_is_asked_one_request_at_a_time(
    family: str, batch_size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """lm-eval pads prompts at the left and hands over a mask, which recurrent families do not look at."""
    tokenizer = tiny.make_tokenizer()
    model_of(family, words=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = tiny.make_config(tmp_path, "[evaluate]\ntask_batch_size = 8\n")
    job = EvaluationJob(str(tmp_path), None, False, config.model, 0, (), "", False, config.evaluate, {})
    assert harness._model(job).batch_size == batch_size
    assert ("one request at a time" in capsys.readouterr().err) == (batch_size == 1)
