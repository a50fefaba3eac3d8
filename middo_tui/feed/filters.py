"""The filter line: ``loss_after>3 quality<4 axis:C text:"word"`` to conditions in SQL, never by putting text into it.

Terms are joined by *and*; a comma within a value is *or* (``axis:C,Q``), a minus before a term is *not*. ``#120`` is
the sample of that number; any other word that is no term is searched for in the text. What is wrong is said with what
is possible instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace

from engine.errors import UsageError
from engine.files.embedding_map_file import Box
from engine.store.overrides import ACTIONS
from engine.store.read import FLAGGED
from engine.store.rows import AXES, RATING_COLUMNS
from middo_tui.text.flaw_wording import READINGS, SIGNS, SUSPICIOUS


class FilterError(UsageError):
    """A filter that cannot be understood; its text says what could be written instead."""


class Condition(Struct, frozen=True):
    """One condition on a sample of a round.

    ``test`` is SQL on ``g``, its signals of the round; ``{id}`` stands for its id there. ``ids`` is SQL that gives the
    ids of those that meet it, or (``out``) of those that do not; ``rest`` gives all others, where that is a list of its
    own. Both hold for a round where every sample has its row of signals. All may name ``:round`` and ``:hidden``;
    ``values`` are for the question marks of each.
    """

    test: str
    ids: str
    values: tuple[object, ...] = ()
    rest: str | None = None
    out: bool = False
    hidden: bool = False  # answered from a list that the reader keeps
    area: Box | None = None  # a rectangle of the round's map; the reader puts the ids in it for the value


class Filter(Struct, frozen=True):
    """A parsed filter line. ``conditions`` all hold."""

    text: str
    conditions: tuple[Condition, ...] = ()

    @property
    def needs_hidden(self) -> bool:
        """Whether the samples with hidden characters have to be known."""
        return any(condition.hidden for condition in self.conditions)


NUMBERS: dict[str, str] = {
    "loss_before": "g.loss_before",
    "loss_after": "g.loss_after",
    "conversation_before": "g.conversation_before",
    "conversation_after": "g.conversation_after",
    "delta": "(g.loss_after - g.loss_before)",
    "similarity": "g.similarity",
    "outlier": "g.outlier",
    "quality": "g.quality",
    "flaw": "g.flaw",
    "end_of_turn": "g.end_of_turn",
    "ifd": "g.ifd",
    "worst_window": "g.worst_window",
    "without_prompt": "g.without_prompt",
    **{name: f"g.{name}" for name in RATING_COLUMNS},
    "tokens": "(g.prompt_tokens + g.response_tokens)",
    "prompt_tokens": "g.prompt_tokens",
    "response_tokens": "g.response_tokens",
    "cluster": "g.cluster",
}
INDEXED = frozenset(
    {
        "loss_before",
        "loss_after",
        "similarity",
        "outlier",
        "quality",
        "cluster",
        "flaw",
        "end_of_turn",
        "ifd",
        "worst_window",
    }
)
ALIASES = {
    "base": "loss_before",
    "before": "loss_before",
    "tuned": "loss_after",
    "after": "loss_after",
    "sim": "similarity",
    "qual": "quality",
    "end": "end_of_turn",
    "window": "worst_window",
    "round": "born",
    "row": "seq",
    "is": "flag",
}
STATES = {
    "pending": ("owed", "prompted"),
    "undecided": ("proposed",),
    **{state: (state,) for state in ("failed", "kept", "rejected", "accepted")},
}
"""What a person writes for the states of a rewrite; the stored words are read as well, and an older one."""
STORED_STATES = {"owed": "owed", "prompted": "prompted", "proposed": "proposed", "merged": "accepted"}
FLAGS = ("error", "truncated", "hidden", "injection", "unflagged", "edited", "selected")
WORDS = ("axis", "state", "flag", "override", "wrong", "map", "born", "seq", "id", "text")
OPERATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", ":": "=", "!=": "<>"}
EXAMPLE = 'loss_after>3 quality<4 axis:C cluster:7 born:1 flag:error text:"two words"'

_TERM = re.compile(
    r"""\s*(?P<not>-)?(?:
        (?P<name>[A-Za-z_]+)\s?(?P<op><=|>=|!=|[<>=:])\s?(?P<value>"[^"]*"|[^\s"]+)
        | (?P<quoted>"[^"]*")
        | (?P<word>[^\s]+)
    )""",
    re.VERBOSE,
)
_NO_WORD = re.compile(r"[<>=]|^\w+:$")
_PLACE = re.compile(r"#\d[\d,]*")
_SEARCHED = re.compile(r'"([^"]*)"|([^\s"]+)')


def parse(text: str) -> Filter:
    """The filter that ``text`` says; an empty text filters nothing.

    Raises:
        FilterError: a term is not understood.
    """
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TERM.match(text, at)
        if match is None:
            raise FilterError(f"{text[at:].strip()!r}: not a valid filter. Example: {EXAMPLE}")
        condition = _condition(match)
        found.append(_negated(condition) if match["not"] else condition)
        at = match.end()
    return Filter(" ".join(text.split()), tuple(found))


def _negated(condition: Condition) -> Condition:
    return replace(condition, test=f"NOT coalesce(({condition.test}), 0)", out=not condition.out)


def _member(ids: str, values: Sequence[object] = (), rest: str | None = None, hidden: bool = False) -> Condition:
    return Condition(f"{{id}} IN ({ids})", ids, tuple(values), rest, hidden=hidden)


def _condition(match: re.Match[str]) -> Condition:
    if match["name"] is None:
        word = match["quoted"] or match["word"]
        if match["quoted"] is None and _PLACE.fullmatch(word):
            return _WORDS["seq"](":", word)
        if match["quoted"] is None and _NO_WORD.search(word):
            raise FilterError(f"{word!r}: missing value or unknown name. Example: {EXAMPLE}")
        return _text(word)
    name = ALIASES.get(match["name"].lower(), match["name"].lower())
    op, value = match["op"], match["value"].strip('"')
    if name in NUMBERS:
        return _number(NUMBERS[name], name, op, value)
    if name in _WORDS:
        if op not in (":", "=") and name not in ("born", "seq"):
            raise FilterError(f"{name}{op}{value}: use a colon with {name}, e.g. {name}:{_LIKE[name]}")
        return _WORDS[name](op, value if name != "text" else match["value"])
    names = (*NUMBERS, *WORDS)
    near = get_close_matches(name, names, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Names: {', '.join(names)}."
    raise FilterError(f"{match['name']}: unknown name. {hint}")


def _number(sql: str, name: str, op: str, value: str) -> Condition:
    parts = value.split(",")
    if len(parts) > 1 and op not in (":", "="):
        raise FilterError(f"{name}{op}{value}: use a colon for a list of values, e.g. {name}:1,2")
    numbers = []
    those = "SELECT g.sample_id FROM signal g WHERE g.round=:round AND"
    for part in parts:
        try:
            numbers.append(float(part))
        except ValueError:
            if part.lower() in ("none", "missing") and op in (":", "="):
                # the test is also met by those that were not looked at yet
                return Condition(f"{sql} IS NULL", f"{those} {sql} IS NULL")
            raise FilterError(f"{name}{op}{value}: {part!r} is not a number. Example: {name}<3.5") from None
    test = f"IN ({','.join('?' * len(numbers))})" if len(numbers) > 1 else f"{OPERATORS[op]} ?"
    met = f"{sql} {test}"
    return Condition(f"+{met}", f"{those} {met}", tuple(numbers), f"{those} NOT coalesce({met}, 0)")


def _axis(op: str, value: str) -> Condition:
    chosen = [axis for part in value.lower().split(",") for axis in AXES if part in (axis, axis[0])]
    if len(chosen) < len(value.split(",")):
        raise FilterError(f"axis:{value}: use C (complexity), D (diversity) or Q (quality).")
    return _in("SELECT sample_id FROM selection WHERE round=:round AND axis", chosen)


def _state(op: str, value: str) -> Condition:
    wanted = value.lower().split(",")
    if unknown := [part for part in wanted if part not in STATES and part not in STORED_STATES]:
        raise FilterError(f"state:{unknown[0]}: unknown state. States: {', '.join(STATES)}.")
    chosen = dict.fromkeys(state for part in wanted for state in STATES.get(part) or (STORED_STATES[part],))
    return _in("SELECT sample_id FROM rewrite WHERE round=:round AND state", tuple(chosen))


def _override(op: str, value: str) -> Condition:
    chosen = value.lower().split(",")
    if unknown := [part for part in chosen if part not in ACTIONS]:
        raise FilterError(f"override:{unknown[0]}: unknown override. Overrides: {', '.join(ACTIONS)}.")
    return _in("SELECT sample_id FROM override WHERE met_round IS NULL AND action", chosen)


def _in(select: str, values: Sequence[object]) -> Condition:
    return _member(f"{select} IN ({','.join('?' * len(values))})", values)


TRUNCATED = (
    "g.prompt_tokens + g.response_tokens >="
    " (SELECT json_extract(config, '$.model.max_length') FROM round WHERE round=:round)"
)
_FLAGS: dict[str, Condition] = {
    "error": _member(
        # the plus: of all that went wrong in any round, of which there is an index, those of this round
        "SELECT sample_id FROM signal WHERE +round=:round AND (score_error IS NOT NULL OR judge_error IS NOT NULL)"
    ),
    # the longest that a model reads: a response that reaches it was cut off at its end
    "truncated": Condition(TRUNCATED, f"SELECT g.sample_id FROM signal g WHERE g.round=:round AND {TRUNCATED}"),  # noqa: S608
    "edited": _member("SELECT sample_id FROM rewrite WHERE +round=:round AND original IS NOT NULL"),
    "hidden": _member("SELECT value FROM json_each(:hidden)", hidden=True),
    "injection": _member(f"SELECT id AS sample_id FROM sample WHERE {FLAGGED}"),  # noqa: S608
    "unflagged": _member("SELECT sample_id FROM unflagged"),
    "selected": _member("SELECT sample_id FROM selection WHERE round=:round"),
}


def _flag(op: str, value: str) -> Condition:
    if value.lower() not in _FLAGS:
        raise FilterError(f"flag:{value}: unknown flag. Flags: {', '.join(FLAGS)}.")
    return _FLAGS[value.lower()]


def _wrong(op: str, value: str) -> Condition:
    """What looks wrong, as the sample in full says it."""
    stands_out = f"SELECT sample_id FROM signal WHERE round=:round AND flaw>={SUSPICIOUS}"  # noqa: S608 - a number of ours
    chosen = value.lower().split(",")
    if chosen == ["any"]:
        return _member(stands_out)
    known = (*READINGS, *SIGNS)
    if unknown := [part for part in chosen if part not in known]:
        raise FilterError(f"wrong:{unknown[0]}: unknown. Known: any, {', '.join(known)}.")
    return _in(f"{stands_out} AND flaw_lens", chosen)


def _map(op: str, value: str) -> Condition:
    """A rectangle of the map. The ids in it are put in by who reads the map."""
    try:
        left, lower, right, upper = (float(part) for part in value.split(","))
    except ValueError:
        raise FilterError(f"map:{value}: use four numbers, the left, lower, right and upper edge.") from None
    return replace(_member(IN_AREA, ("[]",)), area=(left, lower, right, upper))


def in_area(condition: Condition, ids: str) -> Condition:
    """``condition``, which has an area, with the ids (JSON) that lie in it."""
    return replace(condition, values=(ids,))


IN_AREA = "SELECT value FROM json_each(?)"


def _sample_number(column: str) -> Callable[[str, str], Condition]:
    def condition(op: str, value: str) -> Condition:
        try:
            number = int(value.lstrip("#").replace(",", ""))
        except ValueError:
            raise FilterError(f"{column}{op}{value}: {value!r} is not a whole number.") from None
        if abs(number) >= 1 << 63:
            raise FilterError(f"{column}{op}{value}: larger than any sample number.")
        place = f"{_COLUMNS[column]} {OPERATORS[op]} ?"
        those = "SELECT id AS sample_id FROM sample WHERE"
        return _member(f"{those} {place}", (number,), f"{those} NOT ({place})")

    return condition


_COLUMNS = {"born": "born_round", "seq": "seq", "id": "id"}


def _text(value: str) -> Condition:
    return _member("SELECT rowid FROM sample_fts WHERE sample_fts MATCH ?", (match_of(value),))


_WORDS: dict[str, Callable[[str, str], Condition]] = {
    "axis": _axis,
    "state": _state,
    "flag": _flag,
    "override": _override,
    "wrong": _wrong,
    "map": _map,
    "born": _sample_number("born"),
    "seq": _sample_number("seq"),
    "id": _sample_number("id"),
    "text": lambda op, value: _text(value),
}
_LIKE = {
    "axis": "C",
    "state": "accepted",
    "flag": "error",
    "override": "drop",
    "wrong": "any",
    "map": "-0.1,-0.1,0.2,0.3",
    "born": "1",
    "seq": "12",
    "id": "12",
    "text": '"two words"',
}


def match_of(text: str) -> str:
    """What a person typed as an FTS5 query: words that all occur, phrases in quotes, ``word*`` for a beginning.

    Every word is quoted, so nothing that is typed is an operator or an error.

    Raises:
        FilterError: there is no letter and no digit to look for.
    """
    out = []
    for phrase, word in _SEARCHED.findall(text.replace("\0", " ")):
        term = phrase or word
        if any(c.isalnum() for c in term):
            out.append(f'"{term.rstrip("*")}"' + ("*" if term.endswith("*") and word else ""))
    if not out:
        raise FilterError(f"{text.strip()!r}: no letters or digits to search for.")
    return " ".join(out)
