"""Every code block of the documentation works: commands parse, config can be used, Python runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import doc_blocks as blocks
from tests.support.doc_blocks import Block

BLOCKS = [
    block
    for page in blocks.pages()
    for block in blocks.of(page.read_text(encoding="utf-8"), str(page.relative_to(blocks.ROOT)))
]


def test_the_pages_have_blocks_of_every_kind() -> None:
    assert {"sh", "toml", "python", "text"} <= {block.language for block in BLOCKS}
    assert len([block for block in BLOCKS if "middo-tui" in block.text]) > 10


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_does_what_the_page_says(block: Block, tmp_path: Path) -> None:
    assert blocks.wrong(block, tmp_path) == ""


@pytest.mark.parametrize(("language", "text", "said"), [
    ("sh", "middo-tui stauts my-project", "no command stauts"),
    ("sh", "middo-tui status my-project --jsno", "--jsno"),
    ("sh", "middo-tui run my-project \\\n  --until nowhere", "nowhere"),
    ("sh", "middo-tui init my-project --model m", "--data"),
    ("sh", "middo-tui review my-project --accept improved && middo-tui rnu my-project", "no command rnu"),
    ("sh", "middo-tui quarantine my-project --limit many | less", "many"),
    ("sh", "make dmeo", "no target dmeo"),
    ("sh", "python -m middo_tui.cli.refrence > docs/REFERENCE.md", "no module"),
    ("sh", "pytest tests/nowhere.py", "there is no tests/nowhere.py"),
    ("sh", 'pip install "middo-tui[vlm]"', "no extra vlm"),
    ("sh", "frobnicate", "frobnicate is not"),
    ("toml", "[train]\nepocs = 2", "epocs"),
    ("toml", '[train]\nmethod = "loar"', "[train] method"),
    ("toml", "[train", "not TOML"),
    ("toml", '[keys]\n"loop.puase" = "x"', "loop.pause"),
    ("toml", '[app]\ntheme = "no-such"', "no-such"),
    ("python", "import engine.no_such_room", "ModuleNotFoundError"),
    ("python", "assert 1 == 2", "AssertionError"),
    ("json", "{", "not JSON"),
    ("yaml", "a: [", "not YAML"),
    ("", "whatever", "no known language"),
])  # fmt: skip
def test_a_broken_block_is_found(language: str, text: str, said: str, tmp_path: Path) -> None:
    page = f"A page\n\n```{language}\n{text}\n```\n"
    (found,) = blocks.of(page, "page.md")
    assert found.place == "page.md:4"
    assert said in blocks.wrong(found, tmp_path)


def test_what_works_passes(tmp_path: Path) -> None:
    page = """
```sh
FOO=1 .venv/bin/middo-tui run my-project --until select --auto   # a comment
middo-tui my-project && make PYTHON=python3.11 test
middo-tui status my-project --json > status.json
```
- in a list:
  ```toml
  [app]
  mouse = false
  ```
"""
    assert [blocks.wrong(found, tmp_path) for found in blocks.of(page, "page.md")] == ["", ""]
