"""The samples nearest to the cut, those just selected beside those just kept: what the cut means, in examples."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.thresholds import Margin
from middo_tui.terminal import guard
from middo_tui.widgets.lines import Line, Lines, Run

SHORT = {"loss_before": "base  ", "loss_after": "tuned "}


class Margins(Struct, frozen=True):
    """Nearest to the cut first. ``digits``: of the values; ``role``: the axis' colour. ``known``: looked up."""

    role: str
    digits: int = 3
    selected: tuple[Margin, ...] = ()
    kept: tuple[Margin, ...] = ()
    known: bool = False


def margin_list(data: Margins, width: int, height: int) -> list[Line]:
    """Two columns, a heading and ``height`` - 1 samples each."""
    left = width // 2
    sides = (_side(data, data.selected, "", left, height), _side(data, data.kept, "dim", width - left, height))
    heading = (
        Run(guard.fit(" just selected", left), f"{data.role}-strong"),
        Run(guard.fit(" just inside", width - left), "dim"),
    )
    return [heading, *((*a, *b) for a, b in zip(*sides, strict=True))]


def _side(data: Margins, found: tuple[Margin, ...], role: str, width: int, height: int) -> list[Line]:
    blank: Line = (Run(" " * width),)
    values = [_value(one, data.digits) for one in found[: height - 1]]
    longest = max((len(value) for value in values), default=0)
    rows = [_sample(one, f"{value:<{longest}}", role, width) for one, value in zip(found, values, strict=False)]
    if not found and data.known and height > 1:
        rows = [(Run(guard.fit(" none", width), "dim"),)]
    return rows + [blank] * (height - 1 - len(rows))


def _value(one: Margin, digits: int) -> str:
    return f"{SHORT.get(one.signal, '')}{one.value:.{digits}f}".replace("-", "−")


def _sample(one: Margin, value: str, role: str, width: int) -> Line:
    return Run(f" {value}  ", "dim"), Run(guard.fit(one.text, max(0, width - len(value) - 4)) + " ", role)


class MarginList(Lines[Margins]):
    """``margin_list`` as a widget; fills what it is given."""

    DEFAULT_CSS = """
    MarginList { height: 5; }
    """

    def draw(self, data: Margins, width: int, height: int) -> list[Line]:
        """Heading and samples."""
        return margin_list(data, width, height)
