"""Formats of numbers: one per kind, used everywhere, so that columns line up."""

from __future__ import annotations

import time

NONE = "—"
UNCLUSTERED = "unclustered"
SECOND_CUTOFF_S = 90
MINUTE_CUTOFF_S = 5400


def count(value: int | None) -> str:
    """E.g. ``12,345``."""
    return NONE if value is None else f"{value:,}"


def short(value: float) -> str:
    """``950``, ``12.3k``, ``4.9M``: three figures and a letter, for axes and token counts."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:  # 999.5 thousand is written 1M, not 1000k
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def fixed(value: float | None, digits: int) -> str:
    """A number with ``digits`` decimals, or the dash."""
    return NONE if value is None else f"{value:.{digits}f}"


def cluster(number: float | None) -> str:
    """A cluster's number; of a sample that lies in none (-1): the word."""
    return UNCLUSTERED if number is not None and number < 0 else fixed(number, 0)


def change(value: float | None, digits: int) -> str:
    """A signed difference with a true minus sign."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "−")


def rate(per_s: float) -> str:
    """``4,180/s``, or ``21/min`` when a second is too short."""
    if per_s >= 10:
        return f"{per_s:,.0f}/s"
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{per_s * 60:.1f}/min"


def duration(seconds: float) -> str:
    """``29 s``, ``21 min``, ``2 h 50 min``."""
    whole = max(0, round(seconds))
    if whole < SECOND_CUTOFF_S:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if whole < MINUTE_CUTOFF_S else f"{minutes // 60} h {minutes % 60:02} min"


def clock(at: float, seconds: bool = False) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(at))


def day(at: float) -> str:
    """``Sat 14:05``: local time of a day near by."""
    return time.strftime("%a %H:%M", time.localtime(at))


def date(at: float) -> str:
    """``1 Jul 2026, 14:05``"""
    now = time.localtime(at)
    return f"{now.tm_mday} {time.strftime('%b %Y, %H:%M', now)}"


def money(amount: float) -> str:
    """Dollars, always with cents."""
    return f"${amount:,.2f}"


def gigabytes(used: int, total: int) -> str:
    """``98 / 141 GB`` (10^9 bytes, as vendors say it)."""
    digits = 0 if total >= 20e9 else 1
    return f"{used / 1e9:.{digits}f} / {total / 1e9:.{digits}f} GB"


def memory(size: int) -> str:
    """``812 MB``, ``3.2 GB`` (10^6, 10^9 bytes)."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def cost(cpu_seconds: float, peak_bytes: int) -> str:
    """``38 CPU s, 812 MB``; empty if unknown."""
    return ", ".join([f"{cpu_seconds:,.0f} CPU s"] * (cpu_seconds > 0) + [memory(peak_bytes)] * (peak_bytes > 0))
