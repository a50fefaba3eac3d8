"""How fast the line to this terminal is: the time from writing a frame to the terminal's answer behind it."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.widgets.lines import Line, Run

FAST_MS = 20  # faster than this nobody can tell
SLOW_MS = 250


class LinkState(Struct, frozen=True):
    """``latency_ms`` None: the terminal has not answered (yet)."""

    latency_ms: int | None = None
    frames_per_s: float = 0.0


def rounded_ms(latency_ms: float) -> int:
    """Two figures are enough, and a gauge that does not tremble costs no bytes."""
    if latency_ms < FAST_MS:
        return FAST_MS
    step = 10 if latency_ms < 200 else 50
    return round(latency_ms / step) * step


def link_gauge(link: LinkState) -> Line:
    """``link 38 ms``; a slow link also says how many frames a second it gets. Nothing while the terminal is mute, nor
    where it answers as if it were beside the program.
    """
    if link.latency_ms is None or link.latency_ms <= FAST_MS:
        return ()
    slow = link.latency_ms >= SLOW_MS
    text = f"link {link.latency_ms} ms" + (f" · {link.frames_per_s:.0f} fps" if slow else "")
    return (Run(f"  {text} ", "warn" if slow else "dim"),)
