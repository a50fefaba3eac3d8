"""What a row says besides its text: turns not to be learned, bad answers, preferences, reasoning, images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import formats
from engine.config.schema import Data
from engine.errors import DataError
from engine.formats.reading import LOOK_AHEAD
from engine.store.rows import Message
from tests.support.data_files import HI, put, read, reasons


def talk(*answers: dict[str, Any], column: str = "messages") -> dict[str, Any]:
    """A conversation whose answers are these turns."""
    turns = []
    for number, answer in enumerate(answers):
        turns += [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", **answer}]
    return {column: turns}


# ------------------------------------------------------------------------------------------- turns not learned


@pytest.mark.parametrize(
    "mark",
    [
        {"weight": 0},
        {"weight": 0.0},
        {"weight": "0"},
        {"loss_weight": 0},
        {"train": False},
        {"train": "false"},
        {"training": False},
        {"loss": False},
        {"trainable": False},
        {"weight": 0, "train": False},
        {"train_detail": [{"begin_offset": 0, "end_offset": 3, "train": False}]},
    ],
)
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_marked_answer_is_not_learned(tmp_path: Path, mark: dict[str, Any], column: str) -> None:
    row = talk({"content": "Wrong.", **mark}, {"content": "Right.", "weight": 1}, column=column)
    found = read(put(tmp_path, [row]))
    assert [m.train for m in found.samples[0].messages] == [True, False, True, True]
    assert found.facts.notes() == (
        "1 assistant turn has weight 0 or train false: used as context, not trained on, exported unchanged",
    )


@pytest.mark.parametrize(
    ("format", "turns", "key", "value"),
    [("messages", "messages", "weight", 0), ("sharegpt", "conversations", "train", False)],
)
def test_the_mark_leaves_with_the_turn(tmp_path: Path, format: str, turns: str, key: str, value: Any) -> None:
    found = read(put(tmp_path, [talk({"content": "Wrong.", "train": False}, {"content": "Right."})]))
    out = tmp_path / "out.json"
    formats.write(found.samples, out, format)
    row = json.loads(out.read_text())[0]
    assert [turn.get(key) for turn in row[turns]] == [None, value, None, not value]
    with pytest.raises(DataError, match=r"a turn with weight 0\. Use --format messages"):
        formats.write(found.samples, out, "alpaca")


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ({"weight": 0.5}, "messages[1] has weight 0.5; only 0 (not learned) and 1 (learned) are supported"),
        ({"weight": [1]}, "messages[1] has weight [1]; only 0"),
        ({"weight": 1, "train": False}, "messages[1] is marked both as learned and as not learned: weight, train"),
        ({"train_detail": [{"train": "partly"}]}, "messages[1] has train_detail of part 1"),
        (
            {"train_detail": [{"train": False}, {"train": True}]},
            "messages[1] is marked both as learned and as not learned: train_detail of part 1, train_detail of part 2",
        ),
        ({"weight": 0}, "no assistant turn to learn: all have weight 0 or train false"),
    ],
)
def test_a_mark_that_cannot_be_kept_is_a_reason(tmp_path: Path, mark: dict[str, Any], reason: str) -> None:
    found = read(put(tmp_path, [talk({"content": "Fine."}), talk({"content": "Well.", **mark})]))
    assert [row for row, _ in reasons(found)] == [2]
    assert reasons(found)[0][1].startswith(reason)


def test_a_users_mark_says_nothing(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi", "weight": 0}, {"role": "assistant", "content": "Hello"}]}
    assert read(put(tmp_path, [row])).samples[0].messages == HI


# ------------------------------------------------------------------------------------- bad answers, preferences


@pytest.mark.parametrize(
    ("name", "value", "bad"),
    [("label", False, True), ("kto_tag", 0, True), ("label", "bad", True), ("label", 0, False)],
)
def test_a_label_that_only_later_rows_have_is_heeded(tmp_path: Path, name: str, value: object, bad: bool) -> None:
    """The first rows tell what a column holds; one that they lack (two files in one) is told by its own value."""
    row = {"instruction": "Hi", "output": "Hello"}
    found = read(put(tmp_path, [*[row] * LOOK_AHEAD, row | {name: value}, row | {name: True}]))
    assert [number for number, _ in reasons(found)] == ([LOOK_AHEAD + 1] if bad else [])


@pytest.mark.parametrize("name", ["label", "kto_tag"])
@pytest.mark.parametrize(("good", "bad"), [(True, False), (1, 0), ("True", "False"), ("1", "0")])
@pytest.mark.parametrize(
    "base",
    [{"instruction": "Hi", "output": "Hello"}, {"prompt": "Hi", "completion": "Hello"}, talk({"content": "Hello"})],
)
def test_answers_marked_as_bad_are_set_aside(
    tmp_path: Path, base: dict[str, Any], name: str, good: Any, bad: Any
) -> None:
    found = read(put(tmp_path, [base | {name: good}, base | {name: bad}, base | {name: good}]))
    assert [json.loads(s.extra) for s in found.samples] == [{name: good}] * 2
    assert reasons(found) == [(2, f"{name} is false: a bad answer (KTO). Rename the column if it means something else")]


def test_a_class_that_is_called_label_says_nothing_of_the_answer(tmp_path: Path) -> None:
    rows = [{"instruction": "Hi", "output": "Hello", "label": n} for n in (0, 1, 2)]
    assert len(read(put(tmp_path, rows)).samples) == 3


CHOSEN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": CHOSEN[:1], "chosen": CHOSEN[1:], "rejected": [{"role": "assistant", "content": "No"}]},
        {"prompt": "Hi", "chosen": CHOSEN, "rejected": [CHOSEN[0], {"role": "assistant", "content": "No"}]},
        {"chosen": CHOSEN, "rejected": [CHOSEN[0], {"role": "assistant", "content": "No"}]},
        {"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "No"},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "No"},
        },
    ],
)
def test_of_a_preference_the_chosen_answer_is_learned(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(put(tmp_path, [row]))
    assert (found.format, found.samples[0].messages) == ("preference", HI)
    assert json.loads(found.samples[0].extra)["rejected"] == row["rejected"]
    assert "preference data: trains on chosen answers; rejected ones are kept" in found.facts.notes()


def test_a_rejected_answer_beside_a_conversation_is_only_kept(tmp_path: Path) -> None:
    found = read(put(tmp_path, [{"messages": CHOSEN, "rejected_response": "No"}]))
    assert (found.format, found.samples[0].messages, found.facts.kept) == ("messages", HI, ("rejected_response",))
    assert len(found.facts.notes()) == 2


# ------------------------------------------------------------------------------------------------- reasoning

THOUGHT = (Message("user", "Question 0?"), Message("assistant", "42", thinking="6 by 7."))


@pytest.mark.parametrize(
    "row",
    [
        talk({"content": "42", "reasoning_content": "6 by 7."}),
        talk({"content": "42", "reasoning": "6 by 7."}),
        talk({"content": "42", "thinking": "6 by 7.", "reasoning_content": None}),
        talk({"content": "42", "thinking": "6 by 7."}, column="conversations"),
        talk({"content": [{"type": "thinking", "thinking": "6 by 7."}, {"type": "text", "text": "42"}]}),
        {"instruction": "Question 0?", "output": "42", "thinking": "6 by 7."},
        {"prompt": "Question 0?", "response": "42", "reasoning_content": "6 by 7."},
    ],
)
@pytest.mark.parametrize("format", formats.EXPORTS)
def test_reasoning_stays_with_its_answer(tmp_path: Path, row: dict[str, Any], format: str) -> None:
    samples = read(put(tmp_path, [row])).samples
    assert samples[0].messages == THOUGHT
    out = tmp_path / ("out.json" if format in ("alpaca", "sharegpt", "messages") else "out")
    formats.write(samples, out, format)
    assert [s.messages for s in formats.read(out, Data()).samples] == [THOUGHT]


def test_reasoning_that_alpaca_cannot_hold_is_refused(tmp_path: Path) -> None:
    samples = read(put(tmp_path, [talk({"content": "1", "thinking": "One."}, {"content": "2"})])).samples
    with pytest.raises(DataError, match=r"reasoning in an earlier turn\. Use --format messages"):
        formats.write(samples, tmp_path / "x.json", "alpaca")


def test_two_reasonings_are_a_reason_and_unknown_fields_are_named(tmp_path: Path) -> None:
    two = talk({"content": "1", "thinking": "One.", "reasoning": "Two."})
    odd = talk({"content": "1", "timestamp": 5, "refusal": None, "loss": 2.31})
    found = read(put(tmp_path, [odd, two]))
    assert reasons(found)[0][1].startswith("messages[1] has two different reasoning traces")
    assert found.facts.notes() == ("dropped: the turns' loss, timestamp",)


# ----------------------------------------------------------------------------------------- images, audio, video

PICTURE = {"instruction": "What is it?", "output": "A cat."}


@pytest.mark.parametrize(
    "row",
    [
        PICTURE | {"images": ["cat.png"]},
        PICTURE | {"Image": "cat.png"},
        PICTURE | {"audio": {"path": "a.wav", "bytes": None}},
        PICTURE | {"scan": {"path": "a.png", "bytes": None}},
        PICTURE | {"video_url": "https://example.org/x.mp4"},
        PICTURE | {"instruction": "<image>What is it?", "images": []},
        PICTURE | {"instruction": "<image>\nWhat is it?"},
        PICTURE | {"instruction": "What is it?\n<audio><audio>"},
        PICTURE | {"instruction": "<|image_pad|>\nWhat is it?"},
    ],
)
def test_what_is_no_text_is_set_aside(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(put(tmp_path, [PICTURE, row]))
    ((number, reason),) = reasons(found)
    assert number == 2
    assert "image, audio or video" in reason
    assert reason.endswith("only text is supported")
    with pytest.raises(DataError, match=r"its only row cannot be used .*only text is supported \(1"):
        read(put(tmp_path, [row]))


@pytest.mark.parametrize(
    "row",
    [
        PICTURE | {"instruction": "How is the <video> tag used in HTML?"},
        PICTURE | {"output": "<image>\n<video>"},
        PICTURE | {"images": []},
        PICTURE | {"image": None},
        PICTURE | {"photos": 3},
    ],
)
def test_text_about_images_is_text(tmp_path: Path, row: dict[str, Any]) -> None:
    assert len(read(put(tmp_path, [row])).samples) == 1


def test_parts_that_are_not_text_are_named(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, CHOSEN[1]]}
    assert reasons(read(put(tmp_path, [{"messages": CHOSEN}, row]))) == [
        (2, "messages[0] has parts that are not text: image_url")
    ]


def test_the_images_of_datasets_are_not_decoded(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"instruction": datasets.Value("string"), "output": datasets.Value("string"), "scan": datasets.Image()}
    )
    rows = [PICTURE | {"scan": {"bytes": b"no image at all", "path": None}}, PICTURE | {"scan": None}]
    table = datasets.Dataset.from_list(rows, features=features)
    table.save_to_disk(tmp_path / "folder")
    table.to_parquet(tmp_path / "x.parquet")
    for name in ("folder", "x.parquet"):
        found = read(tmp_path / name)
        assert [s.source for s in found.samples] == [f"{name}:2"]
        assert reasons(found) == [(1, "has an image, audio or video in scan; only text is supported")]
