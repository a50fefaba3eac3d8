"""The page of a project whose every text is hostile: it is shown as text, and the page loads and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.store import write
from engine.store.connect import transaction, writer
from engine.store.conversation import dump_messages
from engine.store.rows import EvalItem, Message, Rewrite, Sample, content_id
from middo_tui.cli.commands import main
from middo_tui.report.facts import _settings, gather
from middo_tui.report.html import VOID
from middo_tui.report.page import page
from tests.support.hostile import CORPUS
from tests.support.stores import NOON, Store

EVIL = "</style></div><script>alert(1)</script><img src=x onerror=alert(1)>\"'--><a href=javascript:alert(1)>&lt;x]]>"
_TAGS = """
html head title style body h1 h2 h3 h4 p ul li b main section table thead tbody tr th td div span svg text figure
article ins del footer
"""
TAGS = VOID | frozenset(_TAGS.split())


class Page(HTMLParser):
    """What a browser would see: tags, attributes and text. Fails where tags do not match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.meta: dict[str, str] = {}
        self.style = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        if tag == "meta":
            self.meta[values.get("http-equiv") or values.get("name") or "charset"] = values.get("content") or ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds and the final one. Each text that can come from a dataset, a teacher or a file name is hostile."""
    store = Store(tmp_path_factory.mktemp("report") / "P", name=EVIL, model=f"/home/me/{EVIL.replace('/', '-')}")
    bad = EVIL + "".join(text for name, text in CORPUS.items() if name != "lone surrogate")
    for number in (0, 1):
        store.round(number, 9)
    store.round(2, 2, closing=True)
    turns = Message("user", bad), Message("assistant", bad)
    sample = Sample(content_id(turns), turns, 9_000)
    with transaction(store.db):
        write.add_samples(store.db, (sample,))
    given = bad, bad, dump_messages(turns)
    rows = [Rewrite(0, sample.id, axis, "accepted", 1, *given) for axis in ("complexity", "quality")]
    write.save(store.db, 0, "verify", rows, None)
    write.save(store.db, 1, "verify", [Rewrite(1, sample.id, "quality", "rejected", 1, *given, reason=bad)], None)
    for number, right in ((0, False), (1, True), (2, True)):
        marks = (right, not right, right)
        items = [EvalItem(number, item, 1.0, 4, bad, mark) for item, mark in enumerate(marks)]
        write.save(store.db, number, "evaluate", items, None)
    with transaction(store.db):
        store.db.execute("INSERT OR REPLACE INTO meta VALUES ('name', ?), ('model', ?)", (json.dumps(EVIL), '"m"'))
        for item in range(3):
            text = dump_messages([Message("user", f"{item} {bad}"), Message("assistant", bad)])
            store.db.execute("INSERT INTO heldout (item, messages, source) VALUES (?, ?, 'x')", (item, text))
        sql = "INSERT INTO import (file, digest, format, rows, rejected, duplicates, at) VALUES (?,?,?,3,1,1,?)"
        store.db.execute(sql, (f"/home/someone/data {EVIL.replace('/', '-')}.json", "ab" * 16, bad, NOON))
        store.db.execute("INSERT INTO quarantine (file, row, reason, raw) VALUES ('f', 1, ?, ?)", (bad, bad))
        store.db.execute("INSERT INTO retirement (sample_id, round, reason, kept) VALUES (3, 1, ?, 4)", (bad,))
    store.db.close()
    return store.project


@pytest.fixture(scope="module")
def source(project: Path) -> str:
    return page(gather(project), NOON)


def test_the_rate_is_of_what_the_headline_counts(project: Path) -> None:
    db = writer(project)
    with db:
        db.execute("UPDATE rewrite SET state='failed' WHERE round=0 AND axis='diversity' AND state='accepted'")
    facts = gather(project)
    made = sum(one.total("rewritten") + one.total("failed") for one in facts.rounds)
    accepted = sum(one.total("accepted") for one in facts.rounds)
    failed = facts.rounds[0].total("failed")
    with db:
        db.execute("UPDATE rewrite SET state='accepted' WHERE state='failed'")
    db.close()
    words = Page(page(facts, NOON)).words
    assert failed
    assert f"{accepted} of {made}" in words
    assert any("Rate: accepted of all rewrites asked for" in word for word in words)
    first = facts.rounds[0]
    assert first.gain == first.total("accepted") / (first.total("rewritten") + failed)


def test_hostile_text_stays_text(source: str) -> None:
    seen = Page(source)
    assert seen.tags <= TAGS
    assert not {name for name in seen.attributes if name.startswith("on") or name in ("src", "href", "style")}
    whole = "".join(seen.words)
    assert whole.count(EVIL) >= 12, "prompts, answers, replies, reasons, names: all shown, to the character"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", source)


def test_the_page_may_load_and_run_nothing(source: str) -> None:
    seen = Page(source)
    policy = dict(part.strip().split(" ", 1) for part in seen.meta["content-security-policy".title()].split(";"))
    digest = base64.b64encode(hashlib.sha256(seen.style.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == f"'sha256-{digest}'", "the style is the one that was checked"
    assert "url(" not in seen.style
    assert "@import" not in seen.style


def test_the_folders_of_this_machine_are_not_in_it(source: str) -> None:
    assert "/home/" not in source
    assert "someone" not in source
    assert "data &lt;-style" in source, "the file's own name is"


@pytest.mark.parametrize("key", ["verify.url", "judge.url", "teacher.url"])
def test_of_a_url_only_the_host_is_in_it(key: str) -> None:
    given = "https://me:PASSWORD@checks.example.org:8443/hooks/PATH?key=QUERY#PART"
    found = {name: value for name, value, _ in _settings(((key, json.dumps(given)),))}
    assert found[key] == '"checks.example.org:8443"'
    assert "PATH" not in _settings(((key, json.dumps(given)[:-30] + "…"),))[0][1], "nor where it was cut"


def test_webhooks_and_commands_are_not_in_it() -> None:
    keys = ("notify.webhook", "notify.command", "notify.token_env", "verify.command")
    used = tuple((key, '["https://hooks.slack.com/services/KEY"]') for key in keys)
    assert not {name for name, value, _ in _settings(used) if name in keys or "KEY" in value}


def test_originals_that_were_kept_are_counted_by_the_reason(tmp_path: Path) -> None:
    store = Store(tmp_path / "P")
    store.round(0, 6)
    reasons = ["false alarm: the teacher's answer agrees", "a random check: no more is repaired (select.max_share)"]
    ids = [row[0] for row in store.db.execute("SELECT id FROM sample LIMIT 3")]
    rows = [Rewrite(0, id, "quality", "kept", 1, reason=reasons[at > 0]) for at, id in enumerate(ids)]
    write.save(store.db, 0, "verify", rows, None)
    store.db.close()
    assert {what: count for what, count in gather(store.project).left_out if what.startswith("original")} == {
        "original kept: false alarm: the teacher's answer agrees": 1,
        "original kept: a random check: no more is repaired": 2,
    }


def test_it_says_what_a_colleague_asks_for(source: str) -> None:
    words = "\n".join(Page(source).words)
    for title in ("Rounds", "Scores", "Training loss", "Did it help?", "Rewrites", "Left out", "Costs", "Provenance"):
        assert f"\n{title}\n" in words
    assert "From round 0 to round 2, 2 of 3 questions went from wrong to right and 1 from right to wrong" in words
    assert "within chance" in words
    assert "39.8" in words, "accuracy of the last round"
    assert "model.name" in words, "a setting that is not the default"


def test_the_command_writes_the_page_and_never_over_another_file(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = CliRunner().invoke(main, ["report", str(project), str(out)])
    assert done.exit_code == 0, done.output
    assert Page(out.read_text(encoding="utf-8")).tags <= TAGS
    out.write_text("mine")
    refused = CliRunner().invoke(main, ["report", str(project), str(out)])
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert out.read_text() == "mine"
    assert CliRunner().invoke(main, ["report", str(project), str(out), "--force"]).exit_code == 0
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_named_and_keeps_what_was_there(project: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "nowhere" / "r.html", Path("/proc/r.html")):
        done = CliRunner().invoke(main, ["report", str(project), str(out)])
        assert (done.exit_code, done.output.startswith(f"middo-tui: {out}: cannot write: ")) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_project_without_a_round_has_no_report(tmp_path: Path) -> None:
    store = Store(tmp_path / "P")
    store.db.close()
    done = CliRunner().invoke(main, ["report", str(store.project), str(tmp_path / "out.html")])
    assert (done.exit_code, "no round has run yet" in done.output) == (2, True)
    assert not (tmp_path / "out.html").exists()
