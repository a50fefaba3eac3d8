"""What datasets of this world do besides what formats say: roles, pairs, calls in a row, labels by other names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import formats
from engine.errors import DataError
from engine.formats.turns import CALL, OBSERVATION, TOOLS
from engine.store.rows import Message
from tests.support.data_files import GOOD, HI, put, read, reasons

TOOL = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
ONE, TWO = {"name": "look", "arguments": {"at": "x"}}, {"name": "look", "arguments": {"at": "y"}}


def said(*turns: tuple[str, Any], **columns: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": what} for who, what in turns], **columns}


def roundtrip(messages: tuple[Message, ...], folder: Path, format: str) -> tuple[Message, ...]:
    """What is read again of the conversation in this format."""
    samples = read(
        put(folder, [{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}])
    )
    out = folder / f"out.{'parquet' if format == 'parquet' else 'json'}"
    formats.write([samples.samples[0].__replace__(messages=messages)], out, format)
    return read(out).samples[0].messages


@pytest.mark.parametrize("names", [("function_call", "observation"), ("tool_call", "tool_response")])
def test_calls_in_a_row_are_one_turn_that_makes_them_all(tmp_path: Path, names: tuple[str, str]) -> None:
    """ms-swift writes parallel calls so."""
    call, result = names
    row = said(
        ("human", "Hi"),
        (call, json.dumps(ONE)),
        (call, json.dumps(TWO)),
        (result, "1"),
        (result, "2"),
        ("gpt", "Hello"),
    )
    messages = read(put(tmp_path, [row])).samples[0].messages
    assert messages == (
        HI[0],
        Message("assistant", json.dumps([ONE, TWO]), CALL),
        Message("tool", "1", OBSERVATION),
        Message("tool", "2", OBSERVATION),
        HI[1],
    )
    for format in ("messages", "sharegpt", "parquet"):
        assert roundtrip(messages, tmp_path, format) == messages


def test_an_answer_right_before_a_call_is_the_text_beside_it(tmp_path: Path) -> None:
    calls = [{"type": "function", "function": ONE}]
    shapes = {
        "a": said(
            ("human", "Hi"),
            ("gpt", "Let me look."),
            ("function_call", json.dumps(ONE)),
            ("observation", "1"),
            ("gpt", "Hello"),
        ),
        "b": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Let me look."},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "content": "1"},
                {"role": "assistant", "content": "Hello"},
            ]
        },
    }
    for row in shapes.values():
        messages = read(put(tmp_path, [row])).samples[0].messages
        assert messages[1] == Message("assistant", "Let me look.", CALL, tool_calls=json.dumps(calls))
        assert roundtrip(messages, tmp_path, "messages") == messages


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (
            (("function_call", "look(x)"), ("function_call", json.dumps(ONE))),
            "two function_call turns in a row (turn 3)",
        ),
        ((("gpt", "So."), ("gpt", "Well.")), "two assistant turns in a row (turn 3)"),
    ],
)
def test_what_cannot_be_joined_without_a_loss_is_refused(tmp_path: Path, turns: Any, reason: str) -> None:
    found = read(put(tmp_path, [said(("human", "Hi"), ("gpt", "Hello")), said(("human", "Hi"), *turns)]))
    assert reasons(found) == [(2, reason)]


def test_a_masked_answer_before_a_learned_call_is_not_joined_to_it(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Bad.", "train": False},
        {"from": "function_call", "value": json.dumps(ONE)},
    ]
    with pytest.raises(DataError, match="a function_call turn follows the assistant turn"):
        read(put(tmp_path, [{"conversations": turns}]))


@pytest.mark.parametrize(
    "columns", [{"prompt": "query", "completion": "answers"}, {"instruction": "query", "output": "answers"}]
)
@pytest.mark.parametrize("text", [True, False])
def test_an_answer_that_is_a_list_of_calls_is_calls(tmp_path: Path, columns: dict[str, str], text: bool) -> None:
    """xLAM and APIGen: query, tools, and answers as the calls to make."""
    calls = [ONE, TWO]
    row = {"query": "Hi", "tools": json.dumps(TOOL), "answers": json.dumps(calls) if text else calls}
    with pytest.raises(DataError, match=r"--column (prompt|instruction)=query --column (completion|output)=answers"):
        read(put(tmp_path, [row]))
    assert read(put(tmp_path, [row]), columns=columns).samples[0].messages == (
        Message("system", json.dumps(TOOL), TOOLS),
        HI[0],
        Message("assistant", json.dumps(calls), CALL),
    )
    plain = {"query": "Hi", "answers": json.dumps(calls)}
    if text and "output" in columns:
        read_plain = read(put(tmp_path, [plain]), columns=columns).samples[0].messages
        assert read_plain == (HI[0], Message("assistant", json.dumps(calls))), "without tools it is text"


def test_older_and_nested_definitions_of_tools_are_tools(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [
        {"messages": turns, "functions": [TOOL[0]["function"]]},
        {"messages": [{"role": "system", "content": "", "tools": TOOL}, *turns]},
        {"messages": turns, "tools": json.dumps(TOOL)},
    ]
    found = read(put(tmp_path, rows))
    assert {s.messages for s in found.samples} == {(Message("system", json.dumps(TOOL), TOOLS), *HI)}
    assert (found.facts.lost, found.facts.kept) == ((), ())


@pytest.mark.parametrize("tools", ["[]", "{}", "null", " [] ", "", None, []])
def test_an_empty_list_of_tools_is_no_tools(tmp_path: Path, tools: Any) -> None:
    """As text it would be rendered as a system prompt."""
    found = read(put(tmp_path, [said(("human", "Hi"), ("gpt", "Hello"), tools=tools)]))
    assert found.samples[0].messages == HI

    turns = [{"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Hello"))]
    row = {"messages": [{"role": "system", "content": "Be brief.", "tools": tools}, *turns]}
    assert read(put(tmp_path, [row])).samples[0].messages == (Message("system", "Be brief."), *HI)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"warm": True}, '{"warm": true}'),
        ([{"name": "look", "result": 5}], '[{"name": "look", "result": 5}]'),
        (5, "5"),
        ([{"type": "text", "text": "5"}], "5"),
        (None, ""),
    ],
)
def test_a_result_may_be_any_value(tmp_path: Path, content: Any, text: str) -> None:
    row = said(("human", "Hi"), ("function_call", json.dumps(ONE)), ("tool", content), ("gpt", "Hello"))
    assert read(put(tmp_path, [row])).samples[0].messages[2] == Message("tool", text, OBSERVATION)


def test_a_part_without_type_and_text_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    rows = [
        said(("human", "Hi"), ("gpt", "Hello")),
        said(("system", [{"says": "Be brief."}]), ("human", "Hi"), ("gpt", "Yo")),
    ]
    assert reasons(read(put(tmp_path, rows))) == [(2, "conversations[0] has parts that are not text: no type")]


@pytest.mark.parametrize(
    ("asks", "answers"), [("human", "assistant"), ("input", "output"), ("user", "assistant"), ("human", "gpt")]
)
def test_entries_may_be_pairs_of_question_and_answer(tmp_path: Path, asks: str, answers: str) -> None:
    """Firefly, MOSS, XTuner."""
    pairs = [{asks: "Hi", answers: "Hello"}, {asks: "Again", answers: "Bye"}]
    pairs[0]["system"] = "Be brief."
    found = read(put(tmp_path, [{"conversation": pairs}]), columns={"messages": "conversation"})
    last = (Message("user", "Again"), Message("assistant", "Bye"))
    assert found.samples[0].messages == (Message("system", "Be brief."), *HI, *last)
    assert found.facts.lost == ()
    with pytest.raises(DataError, match="Try --column messages=conversation"):
        read(put(tmp_path, [{"conversation": pairs}]))


def test_a_pair_that_is_not_to_be_learned(tmp_path: Path) -> None:
    pairs = [
        {"input": "Hi", "output": "Hello", "output_with_loss": False},
        {"input": "Hi", "output": "Hello", "output_with_loss": True},
    ]
    messages = read(put(tmp_path, [{"messages": pairs}])).samples[0].messages
    assert [m.train for m in messages] == [True, False, True, True]


@pytest.mark.parametrize("role", ["function-call", "Function Call", "TOOL_CALL", "tool_calls"])
def test_roles_are_known_however_they_are_joined(tmp_path: Path, role: str) -> None:
    row = said(("Human", "Hi"), (role, json.dumps(ONE)), ("function-response", "1"), ("AI", "Hello"))
    assert [m.kind for m in read(put(tmp_path, [row])).samples[0].messages] == ["", CALL, OBSERVATION, ""]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Label", True, False),
        ("is_good", 1, 0),
        ("label", "good", "bad"),
        ("label", "Desirable", "Undesirable"),
        ("kto_label", "chosen", "rejected"),
    ],
)
def test_a_bad_answer_is_not_learned_whatever_the_label_is_called(
    tmp_path: Path, name: str, good: Any, bad: Any
) -> None:
    rows = [{"prompt": "a", "completion": "b", name: good}, {"prompt": "a", "completion": "c", name: bad}]
    found = read(put(tmp_path, rows))
    assert [s.response for s in found.samples] == ["b"]
    assert reasons(found)[0][1].startswith(f"{name} is {bad if isinstance(bad, str) else 'false'}: a bad answer (KTO)")


def test_a_chosen_answer_that_is_true_or_false_is_no_label(tmp_path: Path) -> None:
    found = read(put(tmp_path, [{"prompt": "Is it?", "chosen": "False", "rejected": "True"}]))
    assert found.samples[0].response == "False"


def test_marks_that_are_not_known_are_named_as_such(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "masked": True, "votes": 3}]
    rows = [{"messages": turns, "train": False}, {"messages": turns, "train": True}]
    notes = read(put(tmp_path, rows)).facts.notes()
    assert "dropped: the turns' masked, votes" in notes
    assert any(note.startswith("answers are learned whatever masked says") for note in notes)
    assert "rows with a column weight 0 or train false are learned like others: 1" in notes


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking", "thought"])
def test_reasoning_in_a_field_and_between_tags_is_learned_once(tmp_path: Path, name: str) -> None:
    answer = {"role": "assistant", "content": "<think>\nSo.\n</think>\n\nHello"}
    rows = [[{"role": "user", "content": "Hi"}, answer | {name: thought}] for thought in ("So.", "Other.")]
    found = read(put(tmp_path, [{"messages": turns} for turns in rows]))
    assert found.samples[0].messages == (HI[0], Message("assistant", answer["content"]))
    assert reasons(found) == [
        (2, "messages[1] has two different reasoning traces, in a field and between <think> tags")
    ]


def test_reasoning_in_a_column_and_between_tags_is_learned_once(tmp_path: Path) -> None:
    answer = "<think>So.</think>Hello"
    rows = [{"prompt": "Hi", "completion": answer, "thinking": thought} for thought in ("So.", "Other.")]
    found = read(put(tmp_path, rows))
    assert found.samples[0].messages == (HI[0], Message("assistant", answer))
    assert reasons(found) == [(2, "completion has two different reasoning traces, in a field and between <think> tags")]


@pytest.mark.parametrize("image", [{}, [], None, "", [None]])
def test_a_column_of_no_image_leaves_and_comes_back(tmp_path: Path, image: Any) -> None:
    found = read(put(tmp_path, [{**GOOD, "image": image}, {**GOOD, "image": 7}]))
    for format in ("parquet", "messages"):
        out = tmp_path / f"out.{'parquet' if format == 'parquet' else 'json'}"
        formats.write(found.samples[:1], out, format)
        assert [s.messages for s in read(out).samples] == [found.samples[0].messages]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<think>\nSo", "turn 2 is cut off in its reasoning (</think> is missing)"),
        ("<think>\nSo\n</think>\n", "turn 2 has reasoning, but no answer after </think>"),
    ],
)
def test_reasoning_without_an_answer_is_not_learned(tmp_path: Path, content: str, reason: str) -> None:
    rows = [{"prompt": "Hi", "completion": one} for one in ("Hello", "The tag <think> opens it.", content)]
    assert reasons(read(put(tmp_path, rows))) == [(3, reason)]


PLACEHOLDERS = [
    "<image>What is it?",
    "What is it? <image>",
    "<IMAGE>\nWhat is it?",
    "<image_00>\nWhat is it?",
    "<|vision_start|><|image_pad|><|vision_end|>What is it?",
    "Picture 1: <img>a/b.jpg</img>\nWhat is it?",
    "<img><IMG_CONTEXT><IMG_CONTEXT></img>\nWhat is it?",
    "Picture:\n<image>\nWhat is it?",
]


@pytest.mark.parametrize("prompt", PLACEHOLDERS)
def test_a_placeholder_of_an_image_does_not_stay_as_text(tmp_path: Path, prompt: str) -> None:
    found = read(put(tmp_path, [{"prompt": one, "completion": "A cat."} for one in ("Hi", prompt)]))
    assert [row for row, _ in reasons(found)] == [2]
    assert "has a placeholder of an image" in reasons(found)[0][1]


@pytest.mark.parametrize(
    "prompt",
    ["What is the <image> tag in SVG?", "<video> tags do not play.", "Write <img src='a.png'></img>.", "<imagine>"],
)
def test_talk_of_tags_stays(tmp_path: Path, prompt: str) -> None:
    assert read(put(tmp_path, [{"prompt": prompt, "completion": "It is <image>, a tag."}])).samples[0].prompt == prompt


def test_an_answer_that_is_an_image_is_none(tmp_path: Path) -> None:
    found = read(put(tmp_path, [{"prompt": "Draw.", "completion": one} for one in ("I cannot.", " <image> ")]))
    assert [row for row, _ in reasons(found)] == [2]


@pytest.mark.parametrize("columns", [{"image_base64": "iVBORw0KGgo"}, {"pixel_values": [[0.1]]}, {"images": ["a.png"]}])
def test_columns_of_images_are_known_by_their_names(tmp_path: Path, columns: dict[str, Any]) -> None:
    rows = [{"prompt": "Hi", "completion": "Yo", name: [None]} for name in columns]
    found = read(put(tmp_path, [*rows, {"prompt": "Hi", "completion": "Yo", **columns}]))
    assert [row for row, _ in reasons(found)] == [2]


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_list_of_texts_is_what_both_say_by_turns(tmp_path: Path, column: str) -> None:
    """LIMA; UltraChat calls the column data."""
    rows = [{column: ["Hi", "Hello"]}, {column: ["Hi", "Hello", "Again", "Bye"]}, {column: ["Hi", "Hello", "Again"]}]
    found = read(put(tmp_path, rows))
    last = (Message("user", "Again"), Message("assistant", "Bye"))
    assert [s.messages for s in found.samples] == [HI, (*HI, *last)]
    assert reasons(found) == [(3, "unbalanced conversation: it ends with a user turn")]
    with pytest.raises(DataError, match="Try --column messages=data"):
        read(put(tmp_path, [{"id": 1, "data": ["Hi", "Hello"]}], "ultra.jsonl"))


def test_a_system_prompt_that_stands_twice_is_one(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    found = read(put(tmp_path, [{"system": "Be brief.", "messages": turns}, {"system": "Be long.", "messages": turns}]))
    assert found.samples[0].messages == (Message("system", "Be brief."), *HI)
    assert reasons(found) == [(2, "two system turns in a row (turn 2)")]


def test_other_splits_of_a_file_are_said_and_kept_apart(tmp_path: Path) -> None:
    rows = {name: [{"instruction": name, "output": "x"}] for name in ("test", "train", "validation")}
    found = read(put(tmp_path, rows))
    assert [s.prompt for s in found.samples] == ["train"]
    assert [row for row, _ in reasons(found)] == [2, 3]
    assert reasons(found)[0][1].startswith("it is in the split test, but train is read; save test as a separate file")
    assert read(put(tmp_path, {"test": rows["test"]})).samples[0].prompt == "test", "the only one is read"
    assert [s.prompt for s in read(put(tmp_path, {"data": rows["train"], "seed": [1]})).samples] == ["train"]


def test_another_list_of_rows_in_a_file_is_said_and_kept_apart(tmp_path: Path) -> None:
    rows = {name: [{"instruction": name, "output": "x"}] for name in ("train", "train_extra")}
    found = read(put(tmp_path, rows))
    assert [s.prompt for s in found.samples] == ["train"]
    assert [row for row, _ in reasons(found)] == [2]
    assert reasons(found)[0][1].startswith("it is in the list train_extra, but train is read; save train_extra as a")


@pytest.mark.parametrize("head", ["sep=;\ninstruction;output", "SEP=|\ninstruction|output", "instruction|output"])
def test_csv_as_excel_and_databases_write_it(tmp_path: Path, head: str) -> None:
    path = tmp_path / "rows.csv"
    separator = head[-7]
    path.write_text(f"{head}\nHi{separator}Hello\n")
    assert read(path).samples[0].messages == HI


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    for name in ("rows.jsonl", "rows.parquet"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
        with pytest.raises(DataError, match="a git-lfs pointer, not the data"):
            read(tmp_path / name)


def test_a_list_that_python_printed_is_called_that(tmp_path: Path) -> None:
    rows = [{"messages": "[{'role': 'user', 'content': 'Hi'}]"}]
    with pytest.raises(DataError, match=r"messages is Python's text of a list: write it with json\.dumps"):
        read(put(tmp_path, rows))


def test_columns_that_are_probably_part_of_the_prompt_are_said(tmp_path: Path) -> None:
    rows = [{"instruction": "Hi", "output": "Hello", "context": "It is late.", "system_prompt": "Be brief.", "id": 1}]
    notes = read(put(tmp_path, [{"Input": "Now.", "System": "Be kind."} | rows[0]])).facts.notes()
    for option in ("system=system_prompt", "input=context", "input=Input", "system=System"):
        option = f"--column {option}"
        assert f"{option.partition('=')[2]} is kept but not part of the prompt; {option} adds it" in notes
    empty = read(put(tmp_path, [rows[0] | {"context": "", "system_prompt": None}])).facts.notes()
    assert not any("not part of the prompt" in note for note in empty)
    mapped = read(put(tmp_path, rows), columns={"system": "system_prompt", "input": "context"})
    assert mapped.samples[0].messages == (Message("system", "Be brief."), Message("user", "Hi\nIt is late."), HI[1])
