"""The Samples screen in the app, over an invented project: what is shown, what keys do, what goes on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual import events
from textual.pilot import Pilot

from engine.project.folder import export_ids
from engine.store.connect import transaction
from middo_tui.app import MiddoApp
from middo_tui.feed.listing import free_name
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages
from middo_tui.screens.frame import Go
from middo_tui.screens.samples.screen import SamplesScreen
from middo_tui.widgets.sample_pane import SamplePane
from tests.support import invented_project, stores
from tests.support.hostile import CORPUS, NEVER, ONE_MEGABYTE
from tests.support.screens import on_top, screen_text, settle_all
from tests.support.stores import SIZE, Store
from tests.support.terminal import Terminal, open_app

SIZES = [(80, 24), (100, 30), (140, 40)]
MOVE_BYTES, PAGE_BYTES = 700, 4096


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to, but for exports."""
    return invented_project.make(tmp_path_factory.mktemp("invented") / "p")


async def press(pilot: Pilot[int], *names: str) -> str:
    for name in names:
        await pilot.press(name)
        await settle_all(pilot)
    return screen_text(pilot.app)


async def type_line(pilot: Pilot[int], key: str, text: str) -> str:
    """Open a question, replace what is there, take it."""
    await press(pilot, key, "ctrl+u")
    line = pilot.app.focused
    assert line is not None
    line.post_message(events.Paste(text))  # letter by letter each waits for a frame
    return await press(pilot, "enter")


def screen(pilot: Pilot[int]) -> SamplesScreen:
    shown = pilot.app.screen
    assert isinstance(shown, SamplesScreen)
    return shown


def first(project: Path, round: int = 2, **wanted: Any) -> int:
    return next(iter(next(iter(Pages(project).order(Order(round, **wanted))))))


@pytest.mark.parametrize("size", SIZES)
async def test_the_list_is_all_there(project: Path, size: tuple[int, int]) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=size) as pilot:
        text = await press(pilot, "2")
        for part in (
            "dataset of round 2",
            "1 / 600",
            "tuned",
            "base",
            "sim",
            "qual",
            "f filter",
            "/ search",
            "q quit",
        ):
            assert part in text
        assert max(map(cell_len, text.split("\n"))) <= size[0]
        assert ("assistant ──" in text) == (size[0] >= 120)


async def test_sorting_puts_the_worst_first_and_turns_round(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Sort by? Press a letter" in await press(pilot, "2", "o")
        text = await press(pilot, "q")
        assert "by quality ▲" in text
        assert screen(pilot).table.cursor_id == first(project, sort="quality")
        await press(pilot, "O")
        assert screen(pilot).table.cursor_id == first(project, sort="quality", down=True)
        await press(pilot, "o", "a", "o", "d")
        assert "▼Δ loss" in screen_text(app)
        assert screen(pilot).table.cursor_id == first(project, sort="delta", down=True)


async def test_a_filter_is_typed_corrected_and_cleared(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        assert "Did you mean quality?" in await type_line(pilot, "f", "qualty<4")
        await press(pilot, "ctrl+u")
        for character in "quality<4 axis:Q":
            await pilot.press(character)
        text = await press(pilot, "enter")
        expected = sum(len(block) for block in Pages(project).order(Order(2, "quality<4 axis:Q")))
        assert "quality<4 axis:Q" in text
        assert f"1 / {expected}" in text
        id = screen(pilot).table.cursor_id
        text = await press(pilot, "escape")
        assert " / 600" in text
        assert "quality<4" not in text
        assert screen(pilot).table.cursor_id == id
        assert isinstance(app.screen, SamplesScreen)
        await press(pilot, "escape")
        assert on_top(app) is app.loop


async def test_a_filter_that_nothing_passes_says_what_to_do(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        text = await type_line(pilot, "f", "quality<-1")
        assert "No sample matches this filter. Press f to change it, esc to clear it." in text
        assert "x export" not in text
        await press(pilot, "j", "G", "space", "x", "l", "enter", "o", "n")
        assert isinstance(app.screen, SamplesScreen)


async def test_a_search_walks_through_what_it_found(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        text = await type_line(pilot, "slash", "glaciers")
        table = screen(pilot).table
        hits = [at for at, id in enumerate(table.ids) if id in Pages(project).matches("glaciers")]
        assert f"{len(hits)} found" in text
        start = table.at
        assert start in hits
        await press(pilot, "n")
        assert table.at == hits[(hits.index(start) + 1) % len(hits)]
        await press(pilot, "N", "N")
        assert table.at == hits[hits.index(start) - 1]
        assert "found" not in await press(pilot, "escape")
        assert "no letters or digits" in await type_line(pilot, "slash", "!!")
        await press(pilot, "escape")
        assert "No listed sample contains these words" in await type_line(pilot, "slash", "xyzzyplugh")


async def test_jumps(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2", "G")
        table = screen(pilot).table
        assert table.at == 599
        await press(pilot, "g")
        await type_line(pilot, "colon", "120")
        assert table.at == 119
        await type_line(pilot, "colon", "50%")
        assert table.at == 300
        assert "percentage" in await type_line(pilot, "colon", "foo")
        await press(pilot, "escape", "ctrl+d", "ctrl+u", "pagedown", "pageup")
        assert table.at == 300
        seq = Pages(project).rows([table.ids[42]], 2)[table.ids[42]].seq
        await type_line(pilot, "colon", f"#{seq}")
        assert (table.at, len(table.ids)) == (42, 600)
        assert "#999999 is not in the dataset of round 2." in await type_line(pilot, "colon", "#999999")
        await type_line(pilot, "f", f"-seq:{seq}")
        assert f"The filter hides #{seq}. Press esc to clear it." in await type_line(pilot, "colon", f"#{seq}")


async def test_columns_are_shown_and_hidden(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(100, 24)) as pilot:
        await press(pilot, "2", "c", "i")
        text = await press(pilot, "c", "n")
        head = next(line for line in text.splitlines() if "axes" in line)
        assert head.split() == ["#", "axes", "base", "tuned", "qual", "flaw", "IFD", "text"]
        assert "shown" in await press(pilot, "c")


async def test_the_sample_under_the_cursor_in_full(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 40)) as pilot:
        await press(pilot, "2")
        await type_line(pilot, "f", "axis:C born:0")
        text = await press(pilot, "enter")
        for part in ("selected: tuned loss", "cluster", "user ──", "assistant ──"):
            assert part in text
        for _ in range(4):
            text += await press(pilot, "J")
        for part in ("round 0", "round 2", "base loss", "nearest", "origin"):
            assert part in text
        before = screen(pilot).query_one(SamplePane).data.detail
        await press(pilot, "j")
        assert screen(pilot).query_one(SamplePane).data.detail != before
        assert "user ──" not in await press(pilot, "tab")


async def test_rounds(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await press(pilot, "2")
        assert "[ prev round" in text
        assert "] next round" not in text
        text = await press(pilot, "left_square_bracket", "left_square_bracket")
        assert "dataset of round 0" in text
        assert "[ prev round" not in text
        assert screen(pilot).table.cursor_id == first(project, 0)
        assert "dataset of round 1" in await press(pilot, "right_square_bracket")


async def test_marks_are_exported_else_all_that_is_listed(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2", "o", "q", "space", "space", "space")
        assert "3 marked" in screen_text(app)
        text = await press(pilot, "x")
        assert "Exported 3 samples in this order" in text
        written = project / "exports" / "samples-round-2-1.jsonl"
        rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
        assert [row["id"] for row in rows] == list(screen(pilot).table.ids[:3])
        await press(pilot, "escape")
        await type_line(pilot, "f", "axis:C")
        await press(pilot, "x")
        rows = [json.loads(line) for line in free_before(project).read_text(encoding="utf-8").splitlines()]
        assert [row["id"] for row in rows] == list(screen(pilot).table.ids)


def free_before(project: Path) -> Path:
    number = int(free_name(project / "exports", "samples-round-2").stem.rpartition("-")[2]) - 1
    return project / "exports" / f"samples-round-2-{number}.jsonl"


def test_export_leaves_out_what_is_gone(project: Path, tmp_path: Path) -> None:
    ids = [first(project), 1, first(project, sort="quality")]
    assert export_ids(project, ids, tmp_path / "out.jsonl", "messages") == 2


async def test_where_to_go_from_a_sample(project: Path) -> None:
    app = MiddoApp(project)
    asked: list[tuple[str, object]] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        await type_line(pilot, "f", "state:proposed axis:Q")
        app.screen.go = lambda name, target=None: asked.append((name, target))  # type: ignore[attr-defined]
        text = await press(pilot, "r", "l")
        assert "r review" in text
        id = screen(pilot).table.cursor_id
        assert asked[0][0] == "review"
        assert asked[0][1] in ((2, id, "quality"), (2, id, "diversity"))
        assert asked[1] == ("lineage", id)


async def test_other_screens_aim_by_a_filter_or_a_sample(project: Path) -> None:
    app = MiddoApp(project)
    wanted = next(iter(Pages(project).order(Order(2))))[77]
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.post_message(Go("samples", "axis:Q"))
        await settle_all(pilot)
        assert "axis:Q" in screen_text(app)
        app.post_message(Go("samples", wanted))
        await settle_all(pilot)
        assert screen(pilot).table.cursor_id == wanted
        assert "78 / 600" in screen_text(app)
        app.post_message(Go("samples", 12345))
        await settle_all(pilot)
        assert "is not in the dataset of round 2" in screen_text(app)
        assert "12345" not in screen_text(app)


async def test_before_the_first_round(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        text = await press(pilot, "2")
        assert f"1 / {SIZE}" in text
        assert "Not scored yet" in text
        assert "not scored yet" in await press(pilot, "enter", "J", "J")


async def test_an_empty_dataset_and_one_row(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    store.db.execute("DELETE FROM sample WHERE seq>0")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        assert "1 / 1" in await press(pilot, "2", "j", "G", "ctrl+d", "k")
    store.db.execute("DELETE FROM sample")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        assert "This dataset is empty" in await press(pilot, "2", "j", "enter")


async def test_a_folder_without_a_project_says_what_to_do(tmp_path: Path) -> None:
    app = MiddoApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "middo-tui init" in await press(pilot, "2")


async def test_new_signals_appear_and_the_order_stays(project: Path, tmp_path: Path) -> None:
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2", "j")
        table = screen(pilot).table
        order = list(table.ids)
        with transaction(store.db):
            store.db.executemany(
                "INSERT INTO signal (round, sample_id, loss_before, quality) VALUES (1, ?, 8.76, ?)",
                [(id, i / 20) for i, id in enumerate(order)],
            )
        store.job(1, "score", "running", 5, 9)
        while "8.76" not in screen_text(app):
            await pilot.pause(0.02)
        assert list(table.ids) == order
        assert table.at == 1


# ------------------------------------------------------------------------------------ at a real terminal


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    terminals: list[Terminal] = []
    yield terminals
    for terminal in terminals:
        terminal.close()


def in_samples(project: Path, opened: list[Terminal], marker: str, **options: Any) -> Terminal:
    terminal = open_app(project, **options)
    opened.append(terminal)
    terminal.wait_for("quit")
    terminal.settle()
    since = len(terminal.seen)
    terminal.send(b"2")
    terminal.wait_for(marker, since)
    terminal.settle()
    return terminal


def test_few_bytes_go_over_the_wire(project: Path, opened: list[Terminal]) -> None:
    terminal = in_samples(project, opened, "tuned")
    sizes = []
    for key in (b"j", b"j", b"j", b"k", b"\x04"):
        since = len(terminal.seen)
        terminal.send(key)
        terminal.settle(0.4)
        sizes.append(len(terminal.seen) - since)
    assert max(sizes[:4]) <= MOVE_BYTES
    assert 0 < sizes[4] <= PAGE_BYTES


@pytest.mark.parametrize("columns", [80, 140])
def test_no_hostile_byte_reaches_the_terminal(tmp_path: Path, opened: list[Terminal], columns: int) -> None:
    store = Store(tmp_path / "p")
    store.db.execute("DELETE FROM sample")
    texts = [text.encode("utf-8", "replace").decode() for text in CORPUS.values()]
    for seq, text in enumerate([*texts, ONE_MEGABYTE, "\n".join(texts)]):
        messages = json.dumps([["system", text], ["user", text], ["assistant", text]], ensure_ascii=False)
        store.db.execute(
            "INSERT INTO sample (id, messages, seq, source, born_round) VALUES (?,?,?,?,0)",
            (seq + 1, messages, seq, text[:200]),
        )
    terminal = in_samples(tmp_path / "p", opened, "qual", columns=columns, rows=60)
    if columns < 120:
        terminal.send(b"\r")
        terminal.settle(0.8)
    for _ in range(len(texts) + 1):
        terminal.send(b"j")
        terminal.settle(0.3)
    terminal.wait_for("hidden character")
    terminal.send(b"q")
    assert terminal.wait() == 0
    clean = (
        terminal.seen.replace(b"\x1b]22;default\x07", b"")
        .replace(b"\x1b]22;text\x07", b"")
        .replace(b"\x1b]22;pointer\x07", b"")
    )
    assert [bad for bad in NEVER if bad in clean] == []
    assert "⟨U+202E⟩".encode() in terminal.seen
