"""Calls a person to the terminal: the bell everywhere, a desktop notification where the terminal is known to show one.

OSC 9 (iTerm2, WezTerm, Ghostty, kitty) has a text, OSC 777 (urxvt, foot, VTE) a title and a text. A multiplexer keeps
either to itself but passes the bell on, so within one there is only the bell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from middo_tui.terminal.guard import one_line

BELL = "\x07"
OSC_9 = frozenset({"iterm.app", "wezterm", "ghostty"})
OSC_777 = ("foot", "rxvt-unicode", "contour")
LIMIT = 200


def kind(environ: Mapping[str, str] = os.environ) -> str:
    """``9``, ``777``, or empty: what this terminal shows as a notification."""
    term, program = environ.get("TERM", "").lower(), environ.get("TERM_PROGRAM", "").lower()
    if environ.get("TMUX") or environ.get("STY") or term.startswith(("screen", "tmux")):
        return ""
    if program in OSC_9 or term in ("xterm-kitty", "xterm-ghostty", "wezterm"):
        return "9"
    return "777" if term.startswith(OSC_777) or environ.get("VTE_VERSION") else ""


def call(title: str, text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The bytes to write. ``text`` is data to nobody: the sequence cannot be ended from within."""
    title, text = (one_line(part, LIMIT).replace(";", ",") for part in (title, text))
    shown = {"9": f"\x1b]9;{title}: {text}\x07", "777": f"\x1b]777;notify;{title};{text}\x07"}
    return shown.get(kind(environ), "") + BELL
