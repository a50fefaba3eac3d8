"""A hook of mkdocs.yml: adds the pages that lie outside docs/ to the website, and lists the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}}
"""Page of the repository's root → its place on the site."""
ELSEWHERE = {"config.toml": "REFERENCE.md#configtoml", "README.md": "index.md", "AGENTS.md": "CONTRIBUTING.md"}
"""What such a page may link to besides: a file of the root → the page of the site that has it."""
LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s]+)\)")
OUT_OF_DOCS = re.compile(r"(?<=\]\()(?:\.\./)+(?=(?:" + "|".join(map(re.escape, PAGES)) + r")[#)])")
"""The way up from a page of docs/ to a page of the root, in a link."""
BENCHMARKS = "benchmarks/*.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the pattern in ``nav`` by the pages that match it."""
    for section in config.nav or []:
        for title, pages in section.items() if isinstance(section, dict) else ():
            if isinstance(pages, list) and BENCHMARKS in pages:
                found = sorted(path.name for path in (ROOT / "docs" / "benchmarks").glob("*.md"))
                names = [f"benchmarks/{name}" for name in found]
                section[title] = [*dict.fromkeys([*(page for page in pages if page != BENCHMARKS), *names])]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages, with links as they are on the site."""
    for name, place in PAGES.items():
        text = LINK.sub(_link, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change links from docs/ to the root's pages, which lie inside docs/ on the site: one ``../`` less."""
    if page.file.generated_by is not None:
        return markdown
    up = "../" * page.file.src_uri.count("/")
    return OUT_OF_DOCS.sub(up, markdown)


def _link(found: re.Match[str]) -> str:
    text, target = found[1], found[2].removeprefix("docs/")
    target = ELSEWHERE.get(target, target)
    only_here = (ROOT / target).is_file() and target not in PAGES  # a file that the site does not have
    return f"`{text}`" if only_here else f"[{text}]({target})"
