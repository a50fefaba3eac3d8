"""What the pages name in their prose is there: links and anchors, commands, settings, files, images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from engine.config.schema import Config
from middo_tui.cli.commands import main
from middo_tui.keys import keymap, tables
from tests.support import doc_blocks as blocks

ROOT = blocks.ROOT
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = [page for page in blocks.pages() if page != CHANGELOG]
ON_THE_SITE = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
"""Pages of the root that docs/site_pages.py adds to the website and links from docs/ to."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
RUN = re.compile(r"(?:[A-Z_]+=\S+ )?(?:\.venv/bin/|middo-tui |make |python )")
SETTING = re.compile(r"(?:\[(\w+)\] (\w+)|([a-z]+)\.([a-z]\w+))(?: = .*)?")
SOURCE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/[\w*-]+\.(?:py|toml|jinja|txt|tcss|svg|yaml|md)|[\w-]+(?:/[\w-]+)*/")
SECTIONS = {name: type(value).__struct_fields__ for name, value in msgspec.structs.asdict(Config()).items()}
KEY_IDS = frozenset(keymap.default_keys(keymap.tables()))
HOMES = ("", "engine", "middo_tui", "tests", "docs")
MADE = ("artifacts/", "logs/", "exports/", "prompts/", "data/", "checkpoint/", "owner/")
"""Beginnings of paths that are in a project and not in the repository."""
LONGEST = 165
"""Characters of a line that is no row of a table."""


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)", blocks.FENCE.sub("", text), re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain}


def linked(page: Path) -> Iterator[Path]:
    """The files of the repository that a page links to."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target = link.partition("#")[0]
        if target and not link.startswith("http"):
            yield (page.parent / target).resolve()


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Links to files or headings that are not there; a folder is no page of the website."""
    for link in LINK.findall(blocks.FENCE.sub("", text)):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:|mailto:", link):
            continue
        found = page if not target else page.parent / target
        if not found.is_file() or (anchor and anchor not in anchors(found.read_text(encoding="utf-8"))):
            yield link


def strange(text: str) -> Iterator[str]:
    """Commands, settings and files of the prose that are not there."""
    for code in CODE.findall(blocks.FENCE.sub("", text)):
        if RUN.match(code) and "…" not in code and any(_fails(words) for words in blocks.commands(code)):
            yield code
        if found := SETTING.fullmatch(code):
            section, key = found[1] or found[3], found[2] or found[4]
            if section in SECTIONS and key not in (*SECTIONS[section], "py") and code not in KEY_IDS:
                yield code
        if SOURCE.fullmatch(code) and not code.startswith(MADE) and not any(_there(home, code) for home in HOMES):
            yield code


def _fails(words: list[str]) -> bool:
    """Whether a command is not there; one of ours may be called by its name alone."""
    named = len(words) == 2 and words[0] == "middo-tui" and words[1] in main.commands
    return not named and blocks.command(words) != ""


def _there(home: str, code: str) -> bool:
    return any(True for _ in (ROOT / home).glob(code.rstrip("/")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [*dead_links(page, text), *strange(text)] == []


def test_the_changelog_links_to_what_there_is() -> None:
    """Commands, settings and files may have other names by now."""
    assert [*dead_links(CHANGELOG, CHANGELOG.read_text(encoding="utf-8"))] == []


def test_links_out_of_docs_lead_to_pages_that_the_website_has() -> None:
    docs = ROOT / "docs"
    inside = [page for page in PAGES if page.is_relative_to(docs)]
    out = {target for page in inside for target in linked(page) if not target.is_relative_to(docs)}

    assert out, "no page of docs/ links to one of the root: this test sees nothing"
    assert {str(target.relative_to(ROOT)) for target in out} <= ON_THE_SITE


@pytest.mark.parametrize("text", [
    "[a](docs/guide)",
    "[a](nowhere.md)", "[a](docs/METHOD.md#no-such-heading)", "![a](docs/screenshots/none.svg)", "[a](#no-such)",
    "`middo-tui stauts`", "`middo-tui run my-project --wiat`", "`[train] epocs`", "`train.epocs`", "`select.cut = 1`",
    "`make chekc`", "`OMP_NUM_THREADS=1 .venv/bin/pytest tests/no.py`",
    "`engine/laid.py`", "`stages/cut.py`", "`engine/hall/`",
])  # fmt: skip
def test_what_is_not_there_is_found(text: str) -> None:
    page = ROOT / "README.md"
    assert len([*dead_links(page, text), *strange(text)]) == 1


def test_what_is_there_passes() -> None:
    text = "# A head\n[a](docs/METHOD.md#clusters) [b](#a-head) `train.epochs` `[select] floor` `engine/store/`"
    text += " `stages/train.py` `middo-tui status my-project --json` `train.py` `artifacts/round-0/checkpoint`"
    assert [*dead_links(ROOT / "README.md", text.replace("[b](#a-head)", "")), *strange(text)] == []
    assert "a-head" in anchors(text)


@pytest.mark.parametrize(("page", "lines"), [("README.md", 100), ("docs/ARCHITECTURE.md", 150)])
def test_the_first_pages_stay_short(page: str, lines: int) -> None:
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= lines


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        ahead += linked(page)
    assert {page.relative_to(ROOT) for page in blocks.pages()} - {page.relative_to(ROOT) for page in found} == set()


def keys_named(text: str) -> set[str]:
    """The keys in the first column of the tables of keys, as the app writes them."""
    found: set[str] = set()
    for table in re.findall(r"^\| key \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.M):
        for row in table.splitlines():
            cell = row.split("|")[1]
            found |= set(CODE.findall(cell))
            found |= {key.lower() for key in re.findall(r"\b(?:Enter|Space|Tab|Esc|Ctrl-[A-Z])", CODE.sub("", cell))}
    return found


@pytest.mark.parametrize(("page", "screens"), [
    ("start.md", ("app", "loop")), ("tune.md", ("app", "samples", "map", "thresholds")),
    ("review.md", ("app", "review")),
])  # fmt: skip
def test_the_keys_of_the_guide_are_those_of_the_app(page: str, screens: tuple[str, ...]) -> None:
    named = keys_named((ROOT / "docs" / "guide" / page).read_text(encoding="utf-8"))
    all_tables = keymap.tables()
    there = {tables.name(key) for screen in screens for row in all_tables[screen] for key in row.keys}
    assert len(named) > 10
    assert named - there == set()


def test_a_key_that_the_app_does_not_have_is_found() -> None:
    assert keys_named("| key | what |\n|---|---|\n| `ä` · Ctrl-Y | x |\n") == {"ä", "ctrl-y"}


def test_the_website_has_every_page() -> None:
    """``make docs`` builds it, strictly; this is only the list in mkdocs.yml."""
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506
    listed = set(re.findall(r"[\w/*-]+\.md", str(site["nav"])))
    there = {str(page.relative_to(ROOT)).removeprefix("docs/") for page in blocks.pages()} - {"AGENTS.md", "README.md"}
    benchmarks = {page for page in there if page.startswith("benchmarks/")}
    assert listed == there - benchmarks | {"index.md", "benchmarks/README.md", "benchmarks/*.md"}
    assert all((ROOT / hook).is_file() for hook in site["hooks"])


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "guide"], ids=lambda page: page.name)
def test_a_line_of_a_guide_can_be_read_and_compared(page: Path) -> None:
    prose = blocks.FENCE.sub("", page.read_text(encoding="utf-8")).split("\n")
    assert [line for line in prose if len(line) > LONGEST and not line.lstrip().startswith(("|", "[", "!"))] == []
