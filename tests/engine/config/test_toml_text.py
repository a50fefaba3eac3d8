"""What is wrong with a TOML file, by line and key."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import schema, toml_text
from engine.config.toml_text import NotToml
from engine.errors import ConfigError


def said(text: str) -> str:
    with pytest.raises(NotToml) as caught:
        toml_text.parsed(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nlr = 1\n[train]\nx = 2", "line 3, [train]: the section is there twice (first on line 1)."),
        ("[train]\nlr = 1\nlr = 2", "line 3, [train] lr: set twice (first on line 2). Remove one."),
        ("[train]\nlr = 1\n\n'lr' = 2\n\n", "line 4, [train] lr: set twice (first on line 2). Remove one."),
        ("model = 1\n[model]\nname = 'a'", "line 2, [model]: a section, and also a key (first on line 1)."),
        ("[a]\nb.c = 1\n[a.b]\nd = 1", "line 3, [a.b]: the section is there twice. Put its keys under one of them."),
        ("[[a]]\n[a]\n", "line 2, [a]: the section is there twice (first on line 1)."),
        ("a = {x = 1}\na.y = 2", "line 2, a.y: what is added to was complete"),
        ("x = {a = 1, a = 2}", "line 1, x: 'a' is set twice."),
        ("[model\nname = 'a'", "line 1, [model]: the ] of the section is missing."),
        ("[model]\nname = qwen", "line 2, [model] name: no valid value. Texts need quotes"),
        ("[model]\nname = ", "line 2, [model] name: no valid value."),
        ("[model]\nname = 'a\nx = 'b'", "line 2, [model] name: a text ends without its quotes."),
        ("x = 1 # \x07", "line 1, x: the character '\\x07' is not allowed here."),
        ('[model]\nname = "a', "line 2, [model] name: a text has no closing quotes."),
        ('[model]\nname = "C:\\Users"', "line 2, [model] name: a \\u or \\x escape"),
        ('[model]\nname = "C:\\data"', "line 2, [model] name: a \\ in double quotes starts an escape."),
        ("[train]\ntargets = ['a' 'b']", "line 2, [train] targets: a list lacks a comma"),
        ("epochs = [\n1,\n2,\n", "line 3, epochs: no valid value."),
        ("[train]\nepochs 3", "line 2, [train]: the = after the key is missing."),
        ("epochs = 3 4", "line 1, epochs: something follows"),
        ("= 3", "line 1: neither a [section] nor KEY = VALUE."),
        ("x = " + "[" * 9999, "nested too deeply"),
    ],
)  # fmt: skip
def test_the_line_the_key_and_the_way_out_are_said(text: str, says: str) -> None:
    assert says in said(text)
    with pytest.raises(ConfigError, match=re.escape(f"/p/config.toml: {said(text)}")):
        schema.parse(text, "/p/config.toml")


def test_a_byte_order_mark_is_left_out() -> None:
    assert toml_text.parsed("\ufeffx = 1") == {"x": 1}


@given(st.text(alphabet="ab=[]{}.,\"'\\\n#1 \x01", max_size=40))
def test_every_mistake_has_a_line_and_none_of_pythons_words(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert re.match(r"not valid TOML: line \d+(, .+?)?: ", said(text), re.DOTALL)
        assert not re.search(r"Cannot|namespace|declare|Expected|Invalid|\('|document", said(text))
