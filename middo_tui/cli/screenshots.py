"""Takes the documentation's screenshots: ``python -m middo_tui.cli.screenshots OUT_DIR PROJECT``.

Headless and without a worker: what is in the store is what is painted, at the two sizes that the screens are made for.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from textual.pilot import Pilot

from middo_tui.app import MiddoApp

SIZES = ((80, 24), (140, 40))
PAGES = (
    ("loop", ()),
    ("help", ("question_mark",)),
    ("settings", ("comma", *(["right_square_bracket"] * 8))),
    ("palette", ("ctrl+p",)),
    ("thresholds", ("3", "tab")),
    ("review", ("4", "G", "k", "k")),
    ("samples", ("2", "left_square_bracket", "o", "a", "j")),
    ("rounds", ("5",)),
    ("curves", ("5", "tab")),
    ("flips", ("5", "k", "f")),
    ("lineage", ("6", "enter", "j")),
    ("map", ("7", "c", "c", "v", *["right"] * 6, *["down"] * 2)),
)


async def settled(pilot: Pilot[int]) -> None:
    """Wait for all worker threads of the app but the one that follows the store."""
    await pilot.pause()
    while reading := [work for work in pilot.app.workers if work.group != "feed" and not work.is_finished]:
        await pilot.app.workers.wait_for_complete(reading)
        await pilot.pause()


async def take(project: Path, out: Path) -> list[Path]:
    """One SVG per page and size; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for width, height in SIZES:
        for page, keys in PAGES:
            app = MiddoApp(project)
            async with app.run_test(size=(width, height)) as pilot:
                for key in keys:
                    await pilot.press(key)
                    await settled(pilot)
                await pilot.pause()
                path = out / f"{page}-{width}x{height}.svg"
                path.write_text(app.export_screenshot(title=f"middo-tui · {page}"), encoding="utf-8")
                made.append(path)
    return made


def main(argv: list[str]) -> int:
    """OUT_DIR PROJECT."""
    if len(argv) != 2:
        sys.stderr.write("usage: python -m middo_tui.cli.screenshots OUT_DIR PROJECT\n")
        return 2
    for path in asyncio.run(take(Path(argv[1]), Path(argv[0]))):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
