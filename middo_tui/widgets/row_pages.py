"""The rows of a table that were looked at last, by page; which of them are being read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

PAGE = 64
PAGES_KEPT = 24

R = TypeVar("R")


class RowPages(Generic[R]):
    """Page n holds the rows at positions n * PAGE and on. ``asked``: pages that are being read.

    ``begun``: how many rows of the first page are known; a new order begins with no more than what is seen.
    """

    def __init__(self) -> None:
        self.asked: set[int] = set()
        self.begun = PAGE
        self._pages: OrderedDict[int, dict[int, R]] = OrderedDict()

    def begin(self, rows: Mapping[int, R]) -> None:
        """A new order, of which at most the first rows are known."""
        self._pages.clear()
        self.asked.clear()
        self.begun = min(PAGE, len(rows)) if rows else PAGE
        if rows:
            self._pages[0] = dict(rows)

    def keep_only(self, pages: Collection[int]) -> None:
        """Forget the other pages, and what was asked for."""
        for page in [page for page in self._pages if page not in pages]:
            del self._pages[page]
        self.asked.clear()

    def lacks(self, page: int) -> bool:
        """Whether a page is neither known nor asked for."""
        return page not in self._pages and page not in self.asked

    def cover(self, pages: Collection[int], end: int) -> bool:
        """Whether all of these pages are known, up to position ``end``."""
        if 0 in pages and self.begun < PAGE and end > self.begun:
            return False
        return all(page in self._pages for page in pages)

    def get(self, page: int, id: int) -> R | None:
        """The row of ``id`` on a page."""
        return self._pages.get(page, {}).get(id)

    def find(self, id: int) -> R | None:
        """The row of ``id``, wherever it is."""
        return next((page[id] for page in self._pages.values() if id in page), None)

    def take(self, page: int, ids: Sequence[int], rows: Mapping[int, Any]) -> set[int]:
        """A page has come; the positions of rows that are not what they were."""
        old = self._pages.get(page, {})
        new = {id: rows[id] for id in ids if id in rows}
        self._pages[page] = new
        self._pages.move_to_end(page)
        if page == 0:
            self.begun = PAGE
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        return {page * PAGE + i for i, id in enumerate(ids) if id in old and old[id] != new.get(id)}
