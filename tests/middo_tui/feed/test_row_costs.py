"""What a cursor key reads costs the same in a small and a large project: counted in steps of SQLite's machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import connect
from middo_tui.feed import lineage, pages, rewrite, sample
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages
from tests.support import invented_project

SMALL, LARGE = 600, 3000


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("sizes")
    return {size: invented_project.make(folder / str(size), size) for size in (SMALL, LARGE)}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number: the steps that connections of the app took since it was set to 0."""
    taken = [0]

    def counting(open_db: Callable[[Path], sqlite3.Connection]) -> Callable[[Path], sqlite3.Connection]:
        def opened(project: Path) -> sqlite3.Connection:
            db = open_db(project)
            db.set_progress_handler(lambda: taken.__setitem__(0, taken[0] + 1), 1)
            return db

        return opened

    monkeypatch.setattr(sample, "open_reader", counting(pages.open_reader))
    monkeypatch.setattr(pages, "open_reader", counting(pages.open_reader))
    for module in (lineage, rewrite):
        monkeypatch.setattr(module, "reader", counting(connect.reader))
    return taken


READS: dict[str, Callable[[Path, int, tuple[int, str]], object]] = {
    "the sample under the cursor": lambda project, id, key: sample.read_detail(project, id, 2),
    "its rewrite": lambda project, id, key: rewrite.load(project, 2, [key]),
    "its versions": lambda project, id, key: lineage.family(project, id),
    "a page of rows": lambda project, id, key: Pages(project).rows([id], 2),
    "a sample by its number": lambda project, id, key: Pages(project).of_seq(7, 2),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_takes_as_many_steps_in_a_project_five_times_as_large(
    projects: dict[int, Path], steps: list[int], name: str
) -> None:
    taken = {}
    for size, project in projects.items():
        with connect.reader(project) as db:
            found = db.execute("SELECT sample_id, axis FROM rewrite WHERE round=2 ORDER BY axis, sample_id").fetchone()
        first = next(iter(Pages(project).order(Order(2))))[0]
        steps[0] = 0
        assert READS[name](project, first, (found["sample_id"], found["axis"])) is not None
        taken[size] = steps[0]
    assert 0 < taken[LARGE] <= 1.5 * taken[SMALL]
