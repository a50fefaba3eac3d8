"""The part of an answer that looks wrong: the passage in its text that the worst lens points to."""

from __future__ import annotations

from collections.abc import Sequence

from engine.store.rows import Message
from middo_tui.terminal import guard
from middo_tui.text.word_diff import Kind, Part

ENDS_HERE = " ends here"


def answer(turns: Sequence[Message]) -> int:
    """The index of the turn that the lenses describe: the last answer that is trained on; -1 where there is none."""
    return max((i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.train), default=-1)


def parts(text: str, lens: str, window: tuple[int, int] | None) -> tuple[Part, ...]:
    """An answer with hidden characters made visible and the passage that ``lens`` points to marked as ``doubt``; empty
    where it points to none.

    Args:
        window: begin and end of the worst window in ``text``; may lie beyond its end where the text was cut.
    """
    if lens == "end_of_turn":
        return Part("same", guard.clean(text).text), Part("doubt", ENDS_HERE)
    if lens != "worst_window" or window is None or window[0] >= len(text):
        return ()
    return _with_doubt(text, *window)


def injected(text: str) -> tuple[Part, ...]:
    """A text with hidden characters made visible and the passage that addresses the judge or teacher marked as
    ``doubt``; empty where there is none.
    """
    from engine.injection.detect import find  # its patterns take long to compile; few samples are flagged

    found = find(text)
    return () if found is None else _with_doubt(text, found.begin, found.end)


def _with_doubt(text: str, begin: int, end: int) -> tuple[Part, ...]:
    pieces: tuple[tuple[Kind, str], ...] = (("same", text[:begin]), ("doubt", text[begin:end]), ("same", text[end:]))
    return tuple(Part(kind, guard.clean(piece).text) for kind, piece in pieces if piece)


def around(text: str, window: tuple[int, int] | None, lens: str, room: int) -> tuple[str, tuple[int, int] | None]:
    """An excerpt of a long answer, ``room`` characters on both sides of the window, and the window's place in it."""
    if lens == "end_of_turn" or window is None:
        return (f"… {text[-2 * room :]}" if len(text) > 2 * room else text), None
    begin, end = max(0, window[0] - room), window[1] + room
    lead, tail = "… " if begin else "", " …" if end < len(text) else ""
    shift = len(lead) - begin
    return f"{lead}{text[begin:end]}{tail}", (window[0] + shift, window[1] + shift)
