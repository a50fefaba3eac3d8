"""The detail pane: one sample with its text, signals over the rounds, neighbours and reasons, as lines that scroll."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from engine.plurals import counted
from middo_tui.feed.review import STATE_WORDS
from middo_tui.feed.sample import SampleDetail, Turn
from middo_tui.look.theme import LETTERS
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import wrap
from middo_tui.widgets.word_diff import flow, marked

MOST_ROWS = 400
SIGNALS = (
    ("base loss", "loss_before", 3),
    ("tuned loss", "loss_after", 3),
    ("base, all", "conversation_before", 3),
    ("tuned, all", "conversation_after", 3),
    ("similarity", "similarity", 3),
    ("outlier", "outlier", 2),
    ("quality", "quality", 2),
    ("flaw", "flaw", 2),
    ("end of turn", "end_of_turn", 3),
    ("IFD", "ifd", 3),
    ("worst window", "worst_window", 3),
)
OF_CONVERSATIONS = ("conversation_before", "conversation_after")
RATINGS = (("prompt", "prompt"), ("response", "response"))
NAME_CELLS = 13


class SamplePaneState(NamedTuple):
    """What is shown and from which of its lines on. ``detail`` is None while there is nothing to show."""

    detail: SampleDetail | None
    top: int = 0


def pane_lines(detail: SampleDetail, width: int) -> list[Line]:
    """All lines, for ``width`` cells."""
    room = max(10, width - 2)
    return [
        *_head(detail, room),
        *_why(detail, room),
        *_flagged(detail, room),
        *(_text(f"looks wrong: {detail.wrong}", room, "warn", 3) if detail.wrong else ()),
        *(line for turn in detail.turns for line in _turn(turn, room)),
        *_signals(detail, room),
        *_near(detail, room),
        *_rewrites(detail, room),
        *_origin(detail, room),
    ]


def blind_lines(detail: SampleDetail, width: int) -> list[Line]:
    """The text alone, without number, signals and reasons, so that a person can judge it by itself."""
    return [line for turn in detail.turns for line in _turn(turn, max(10, width - 2), marks=False)]


def _rule(title: str, width: int, role: str = "dim") -> Line:
    return (Run(f" {title} ", role), Run("─" * max(0, width - len(title) - 1), "faint"))


def _head(detail: SampleDetail, width: int) -> Iterator[Line]:
    runs = [Run(f" #{detail.seq:,}", "strong")]
    for chosen in detail.chosen:
        runs += [Run("  "), Run(LETTERS[chosen.axis], chosen.axis)]
    if detail.cluster is not None:
        size = "" if detail.cluster_size is None else f" ({counted(detail.cluster_size, 'sample')})"
        number = number_format.cluster(detail.cluster)
        words = number if detail.cluster < 0 else f"cluster {number}{size}"
        runs.append(Run(f"  {words}", "dim"))
    yield tuple(runs)
    if detail.hidden:
        yield (Run(f" {counted(detail.hidden, 'hidden character')}, made visible below", "warn"),)
    for error in detail.errors:
        yield from _text(error, width, "error", 2)


def _flagged(detail: SampleDetail, width: int) -> Iterator[Line]:
    """Why it is flagged, unless that is said already of its missing rating; or that a person says it is not."""
    if detail.unflagged:
        at, source = detail.unflagged
        said = f"unflagged in the {source} on {number_format.date(at)}: no prompt injection"
        yield from _text(f"{said} ({detail.injection})" if detail.injection else said, width, "dim", 3)
    elif detail.injection and not any("possible prompt injection" in error for error in detail.errors):
        yield from _text(f"possible prompt injection: {detail.injection}", width, "warn", 3)


def _why(detail: SampleDetail, width: int) -> Iterator[Line]:
    names = {"complexity": "tuned loss", "diversity": "similarity", "quality": "quality"}
    for chosen in detail.chosen:
        sign = "<" if chosen.below else ">"
        name = "flaw score" if chosen.flaw else names[chosen.axis]
        text = f"selected: {name} {chosen.value:.3f} {sign} {chosen.threshold:.3f}"
        if math.isinf(chosen.threshold):
            text = "selected: requested by hand"
        yield (Run(f" {LETTERS[chosen.axis]} ", chosen.axis), Run(guard.fit(text, width - 2).rstrip()))


def _turn(turn: Turn, width: int, *, marks: bool = True) -> Iterator[Line]:
    """``marks``: with what looks wrong in it."""
    cut = f" · first {len(turn.text):,} of {turn.length:,} characters" if turn.length > len(turn.text) else ""
    yield _rule(turn.role + cut, width)
    if not (marks and turn.parts):
        yield from _text(turn.text, width, "", MOST_ROWS)
        return
    rows = flow(marked(turn.parts, ""), width)
    yield from ((Run(" "), *row) for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        yield (Run(f" {guard.ELLIPSIS}", "dim"),)


def _text(text: str, width: int, role: str, most: int) -> Iterator[Line]:
    """Wrapped; a row's indentation stays, because texts may be code. ``…`` ends what is cut, and only that."""
    left, paragraphs = most, text.split("\n")
    for at, paragraph in enumerate(paragraphs, 1):
        indent = " " * min(len(paragraph) - len(paragraph.lstrip(" ")), width // 2)
        rows = wrap(paragraph.lstrip(" "), width - len(indent), max(1, left))
        yield from ((Run(f" {indent}{row}", role),) for row in rows)
        left -= len(rows)
        if left <= 0:
            if at < len(paragraphs) and not rows[-1].endswith(guard.ELLIPSIS):
                yield (Run(f" {guard.ELLIPSIS}", "dim"),)
            return


def _signals(detail: SampleDetail, width: int) -> Iterator[Line]:
    if not detail.signals:
        yield _rule("signals", width)
        yield (Run(" not scored yet", "dim"),)
        return
    rounds = sorted(detail.signals)[-max(1, (width - NAME_CELLS) // 9) :]
    heads = "".join(f"{f'round {r}':>9}" for r in rounds)
    yield _rule("signals", width)
    yield (Run(f" {'':<{NAME_CELLS}}{heads}", "dim"),)
    for title, name, digits in SIGNALS:
        if name in OF_CONVERSATIONS and not any(name in detail.signals[r] for r in rounds):
            continue
        values = (number_format.fixed(detail.signals[r].get(name), digits) for r in rounds)
        yield (Run(f" {title:<{NAME_CELLS}}", "dim"), Run("".join(f"{value:>9}" for value in values)))
    now = detail.signals[rounds[-1]]
    for title, subject in RATINGS:
        rated = (
            number_format.fixed(now.get(f"{subject}_{kind}"), 1) for kind in ("clarity", "completeness", "factuality")
        )
        text = "  ".join(f"{kind} {value}" for kind, value in zip(("clear", "complete", "factual"), rated, strict=True))
        yield (Run(f" {title:<{NAME_CELLS}}", "dim"), Run(text))
    tokens = (
        f"{number_format.fixed(now.get('prompt_tokens'), 0)} + {number_format.fixed(now.get('response_tokens'), 0)}"
    )
    yield (Run(f" {'tokens':<{NAME_CELLS}}", "dim"), Run(tokens))


def _near(detail: SampleDetail, width: int) -> Iterator[Line]:
    if detail.neighbours:
        yield _rule("nearest neighbours", width)
    for near in detail.neighbours:
        seq = "removed" if near.seq is None else f"#{near.seq:,}"
        yield (Run(f" {seq:<9}", "dim"), Run(guard.fit(near.text, width - 9).rstrip()))


def _rewrites(detail: SampleDetail, width: int) -> Iterator[Line]:
    if detail.rewrites:
        yield _rule("rewrites", width)
    for one in detail.rewrites:
        quality = "" if one.quality is None else f"  quality → {one.quality:.1f}"
        yield (
            Run(f" {LETTERS[one.axis]} ", one.axis),
            Run(f"round {one.round}  {STATE_WORDS.get(one.state, one.state)}{quality}"),
        )
        yield from _text(one.reason, width, "dim", 3) if one.reason else ()


def _origin(detail: SampleDetail, width: int) -> Iterator[Line]:
    yield _rule("origin", width)
    made = f"{detail.axis} rewrite" + ("" if detail.parent_seq is None else f" of #{detail.parent_seq}")
    born = f"imported from {detail.source}" if detail.parent is None else made
    gone = "" if detail.retired is None else f", removed before round {detail.retired}"
    gone += f" ({detail.why_retired})" if detail.why_retired else ""
    yield from _text(f"{born or 'imported'} · in the dataset since round {detail.born}{gone}", width, "dim", 3)


class SamplePane(Lines[SamplePaneState]):
    """``pane_lines`` from a line on; ``length`` is how many there are."""

    DEFAULT_CSS = """
    SamplePane { height: 1fr; width: 1fr; }
    """

    def __init__(self, *, blind: bool = False, id: str | None = None) -> None:
        """``blind``: show the text alone."""
        super().__init__(SamplePaneState(None), id=id)
        self._lines_of = blind_lines if blind else pane_lines
        self._wrapped: tuple[SampleDetail, int, list[Line]] | None = None

    @property
    def length(self) -> int:
        """Lines that there are."""
        return len(self._all(self.data.detail, self.content_size.width)) if self.data.detail is not None else 0

    def scroll_lines(self, by: int) -> None:
        """Show from ``by`` lines further on, as far as there are lines."""
        top = max(0, min(self.data.top + by, self.length - self.content_size.height))
        self.show(self.data._replace(top=top))

    def draw(self, data: SamplePaneState, width: int, height: int) -> list[Line]:
        """The lines that fit."""
        if data.detail is None:
            return []
        shown = self._all(data.detail, width)[data.top :]
        return shown[:height] if height else shown

    def _all(self, detail: SampleDetail, width: int) -> list[Line]:
        if self._wrapped is None or self._wrapped[0] is not detail or self._wrapped[1] != width:
            self._wrapped = detail, width, self._lines_of(detail, width)
        return self._wrapped[2]
