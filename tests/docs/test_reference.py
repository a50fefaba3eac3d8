"""docs/REFERENCE.md is what its generator prints."""

from __future__ import annotations

import msgspec

from engine.config.schema import Config
from middo_tui.cli import man, reference
from middo_tui.keys import keymap, tables
from tests.support.doc_blocks import ROOT


def test_the_page_is_what_the_generator_prints() -> None:
    page = (ROOT / "docs" / "REFERENCE.md").read_text(encoding="utf-8")
    assert page == reference.text(), "run: make reference"


def test_no_command_option_key_or_setting_is_missing() -> None:
    text = reference.text()
    for name, command in reference.commands().items():
        assert f"### `middo-tui {name}`" in text
        assert all(option in text for one in command.params for option in one.opts if option.startswith("--"))
    for screen, table in keymap.tables().items():
        assert all(f"`{screen}.{tables.plain_id(row)}`" in text for row in table)
    sections = msgspec.structs.asdict(Config())
    assert all(f"### [{section}]" in text for section in sections)
    assert all(f"| `{key}` |" in text for section in sections.values() for key in section.__struct_fields__)


def test_the_man_page_is_what_its_generator_prints() -> None:
    page = (ROOT / "docs" / "middo-tui.1").read_text(encoding="utf-8")
    assert page == man.text(), "run: make reference"


def test_text_cannot_be_taken_for_a_request_of_the_man_page() -> None:
    assert man.roff(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert man.roff("a \\fB-b") == "a \\efB\\-b"
    heads = [line for line in man.text().splitlines() if line[:1] in (".", "'")]
    assert {line.split()[0] for line in heads} <= {'.\\"', ".TH", ".SH", ".SS", ".TP", ".B", ".I", ".br"}
