"""The answers of the wizard as settings, and what is said of them."""

from __future__ import annotations

import pytest

from engine.config import defaults
from engine.config import schema as configs
from engine.errors import UsageError
from engine.models import written
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import Draft


def test_what_leaves_the_machine_is_said_for_every_kind_of_teacher() -> None:
    assert drafts.leaves("") == "No text leaves this machine."
    assert drafts.leaves("Qwen/Qwen2.5-7B") == "No text leaves this machine."
    assert "runs locally" in drafts.leaves("http://localhost:8000/v1 m")
    assert "will be sent to api.example.com" in drafts.leaves("https://api.example.com/v1 m KEY")


def test_a_teacher_in_vllm() -> None:
    assert written.teacher("Qwen/Qwen2.5-7B vllm") == {"backend": "vllm", "model": "Qwen/Qwen2.5-7B"}
    assert drafts.leaves("Qwen/Qwen2.5-7B vllm") == "No text leaves this machine."
    configs.parse(defaults.render(Draft(model="a/b", teacher="a/b vllm").settings()), "x")
    with pytest.raises(UsageError, match="no such folder"):
        written.teacher("vllm")


def test_the_embedded_models_have_names_here_too() -> None:
    assert Draft(model=written.model_name("demo:base")).settings()["model"]["name"] == "demo:base"
    assert written.teacher("demo:teacher")["model"] == "demo:teacher"


def test_a_server_as_teacher() -> None:
    found = written.teacher("https://api.example.com/v1 big MY_KEY")
    assert found == {"backend": "openai", "url": "https://api.example.com/v1", "model": "big", "key_env": "MY_KEY"}
    configs.parse(defaults.render(Draft(model="a/b", teacher="https://x.example/v1 big MY_KEY").settings()), "x")
    with pytest.raises(UsageError, match="URL MODEL"):
        written.teacher("https://api.example.com/v1")


def test_presets_have_one_line_each_and_fit_their_models() -> None:
    assert all(offer.item.text for offer in drafts.presets())
    assert drafts.fitting_preset("Qwen/Qwen2.5-0.5B-Instruct") == "qwen2.5-0.5b"
    assert drafts.fitting_preset("/models/mine") == ""
