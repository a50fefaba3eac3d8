"""How a person looks at a chart: axis, smoothing, zoom and cursor. Keys make another one of it; widgets draw it."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

AxisScale = Literal["linear", "log", "sqrt"]
SCALES: tuple[AxisScale, ...] = ("linear", "log", "sqrt")
"""In the order of the key that changes them."""
SMOOTHINGS = (40, 10, 0)
"""What ``ChartView.smooth`` may be, in the order of the key that changes it."""
LEAST_SPAN = 8
"""Steps that the deepest zoom still shows."""


def next_scale(scale: AxisScale) -> AxisScale:
    """The axis that the key changes ``scale`` into."""
    return SCALES[(SCALES.index(scale) + 1) % len(SCALES)]


class ChartView(Struct, frozen=True):
    """``smooth``: the running mean reaches back over this part of a curve (40: a 40th); 0: no mean. ``zoom``: how many
    times the range was halved, beginning at step ``left``; ``cursor``: a step.
    """

    scale: AxisScale = "linear"
    smooth: int = SMOOTHINGS[0]
    zoom: int = 0
    left: int = 0
    cursor: int | None = None

    def window(self, last: int) -> tuple[int, int]:
        """First and last step that are shown of a chart that ends at ``last``."""
        span = max(min(last, LEAST_SPAN), math.ceil(last / 2**self.zoom))
        left = max(0, min(self.left, last - span))
        return left, left + span

    def rescaled(self) -> ChartView:
        """The next axis."""
        return replace(self, scale=next_scale(self.scale))

    def smoothed(self) -> ChartView:
        """The next smoothing."""
        return replace(self, smooth=SMOOTHINGS[(SMOOTHINGS.index(self.smooth) + 1) % len(SMOOTHINGS)])

    def whole(self) -> ChartView:
        """All of it, without a cursor."""
        return replace(self, zoom=0, left=0, cursor=None)

    def zoomed(self, by: int, last: int, newest: int) -> ChartView:
        """Nearer (1) or further (-1), around the cursor, else around the ``newest`` step."""
        deepest = max(0, math.floor(math.log2(last / LEAST_SPAN))) if last > LEAST_SPAN else 0
        zoom = max(0, min(deepest, self.zoom + by))
        middle = newest if self.cursor is None else self.cursor
        low, high = replace(self, zoom=zoom).window(last)
        span = high - low
        return replace(self, zoom=zoom, left=max(0, min(middle - span // 2, last - span)))

    def moved(self, cells: int, width: int, last: int, begin: int, end: int) -> ChartView:
        """The cursor ``cells`` of ``width`` to the right, at most at step ``end``. It begins at step ``begin``; the
        picture follows it.
        """
        low, high = self.window(last)
        by = cells * max(1, round((high - low) / max(1, width)))
        at = begin if self.cursor is None else max(0, min(end, self.cursor + by))
        left = min(low, at) if at < low else max(low, at - (high - low))
        return replace(self, cursor=at, left=left)
