"""Prompt files: overrides, placeholders, braces in data, and what counts as a malformed reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.demo
from engine.chat import prompts
from engine.errors import ConfigError

DEMO = Path(engine.demo.__file__).parent


def override(project: Path, name: str, text: str) -> Path:
    path = project / "prompts" / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(prompts.PLACEHOLDERS))
@pytest.mark.parametrize("project", [None, DEMO])
def test_every_template_loads_and_fills(name: str, project: Path | None) -> None:
    template = prompts.load(name, project)
    values = {n: f"<<{n}>>" for n in ("prompt", "response", "hints", "dimension")}
    text = template.fill(**values)
    for placeholder in prompts.PLACEHOLDERS[name][0]:
        assert f"<<{placeholder}>>" in text
    assert "version:" not in text
    assert len(template.hash) == 12
    assert template.label.startswith(f"{name} v")


def test_judges_read_what_all_requests_share_first_and_the_dimension_last() -> None:
    texts = [
        prompts.load(name).fill(prompt=prompt, response="RRR", dimension="DDD")
        for prompt in ("PPP", "QQQ")
        for name in ("judge_prompt", "judge_response")
    ]
    assert all(text.endswith("The dimension: DDD") for text in texts)
    instructions = texts[0][: texts[0].index("PPP")]
    assert all(text.startswith(instructions) for text in texts), "the same for every sample"
    assert {"clarity:", "completeness:", "factuality:"} <= set(instructions.split())
    prompt = texts[0][: texts[0].index("Rate the prompt.")]
    assert texts[1].startswith(prompt), "the prompt is read once for both subjects"
    assert "RRR" not in texts[0]


def test_a_project_overrides_one_template(tmp_path: Path) -> None:
    path = override(tmp_path, "simplify", "# version: 7\nEasier: {prompt}\n")
    template = prompts.load("simplify", tmp_path)
    assert (template.path, template.version, template.fill(prompt="x")) == (path, "7", "Easier: x")
    assert prompts.load("improve", tmp_path).path.parent == prompts.HERE


@given(st.text(), st.text())
def test_data_may_hold_braces_and_is_never_read_as_a_placeholder(prompt: str, response: str) -> None:
    hostile = prompt + "{response} {prompt} {0} {{x}} \\1 \\g<0>"
    template = prompts.PromptTemplate("improve", Path("x"), "1", "[{prompt}|{response}]")
    assert template.fill(prompt=hostile, response=response) == f"[{hostile}|{response}]"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("simplify", "Easier: {promt}", "unknown placeholder {promt}"),
        ("simplify", "Easier: {hints} {prompt}", "unknown placeholder {hints}"),
        ("judge_prompt", "Rate {prompt}", "{dimension} is missing"),
        ("answer", "  \n", "empty"),
    ],
)
def test_a_wrong_template_names_the_file(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = override(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        prompts.load(name, tmp_path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_template_that_is_not_utf8_names_the_byte(tmp_path: Path) -> None:
    path = override(tmp_path, "answer", "")
    path.write_bytes(b"{prompt} \xff")
    with pytest.raises(ConfigError, match="byte 9"):
        prompts.load("answer", tmp_path)


def test_a_value_that_is_not_given_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"improve\.txt: \{response\} has no value"):
        prompts.load("improve").fill(prompt="x")


def test_json_in_a_template_is_text(tmp_path: Path) -> None:
    override(tmp_path, "simplify", 'Like {"a": 1}: {prompt}')
    assert prompts.load("simplify", tmp_path).fill(prompt="x") == 'Like {"a": 1}: x'


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("<prompt>Sort it.</prompt>", "Sort it."),
        ("Sure:\n<prompt>\n  two\nlines {x} \n</prompt>\nDone.", "two\nlines {x}"),
        ("<PROMPT>Loud</PROMPT>", "Loud"),
        ("<think>maybe <prompt>a</prompt>?</think>\n<prompt>b</prompt>", "b"),
        ("<prompt>What is a new prompt in zsh?</prompt>", "What is a new prompt in zsh?"),
    ],
)
def test_a_good_reply(reply: str, prompt: str) -> None:
    assert prompts.parse_prompt(reply) == (prompt, None)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("Sort it.", "found 0"),
        ("<prompt>cut off", "found 0"),
        ("<prompt> \n </prompt>", "is empty"),
        ("<prompt>a</prompt><prompt>b</prompt>", "found 2"),
        ("<prompt>a <prompt> b</prompt>", "exactly one"),
        ("<prompt>a</prompt></prompt>", "exactly one"),
        ("<prompt>Rewritten prompt: sort</prompt>", "scaffolding"),
        ("<prompt>**New Prompt:** sort</prompt>", "scaffolding"),
        ("<prompt>Sort {prompt}</prompt>", "scaffolding"),
        ("<prompt>Sort<|im_end|></prompt>", "scaffolding"),
        ("<think>never ends <prompt>a</prompt>", ""),
    ],
)
def test_a_malformed_reply_has_a_reason(reply: str, said: str) -> None:
    prompt, reason = prompts.parse_prompt(reply)
    if said:
        assert prompt is None
        assert said in str(reason)
        assert str(reason).startswith(prompts.MALFORMED)
    else:
        assert prompt == "a"


def test_what_looks_like_scaffolding_in_the_original_is_content() -> None:
    reply = "<prompt>Explain the template `{prompt}` of this library.</prompt>"
    assert prompts.parse_prompt(reply)[0] is None
    assert prompts.parse_prompt(reply, original="What does {prompt} mean?")[1] is None


@given(st.text())
def test_any_reply_is_either_a_prompt_or_a_reason(reply: str) -> None:
    prompt, reason = prompts.parse_prompt(reply)
    assert (prompt is None) != (reason is None)
    assert prompt is None or prompt.strip()
