"""Which rewrites of a round are listed in Review, and in which order: words of a filter and orders, as SQL."""

from __future__ import annotations

from typing import NamedTuple

from engine.store.rows import AXES
from engine.verification.doubts import DRIFTED, OFF_TOPIC


class QueueOrder(NamedTuple):
    """An order of the queue that decisions do not change."""

    name: str
    help: str
    sql: str


_DRIFTED = DRIFTED.replace("'", "''")
DOUBT = (
    f"CASE WHEN instr(r.verdict, '{_DRIFTED}') THEN 'drifted'"
    f" WHEN instr(r.verdict, '{OFF_TOPIC}') THEN 'off topic' ELSE '' END"
)
"""What is doubted most seriously: that the rewrite still asks, or still is about, what its original did."""
WORST = (
    f"CASE {DOUBT} WHEN 'drifted' THEN 0 WHEN 'off topic' THEN 1"
    " ELSE 2 + (r.improved IS NULL) + 2 * (r.improved IS 1) END,"
    " length(replace(r.verdict, '; ', '')) - length(r.verdict), r.on_topic IS NULL, r.on_topic"
)
_AXIS = "CASE r.axis WHEN 'complexity' THEN 0 WHEN 'diversity' THEN 1 ELSE 2 END, s.seq"
ALIKE = "(r.axis || ' ' || coalesce(r.improved, '-') || ' ' || g.cluster)"
"""Which rewrites are alike: of one axis and cluster, with the same verdict. NULL: of no cluster."""
SORTS = (
    QueueOrder("doubtful", "worst doubts first", f"{WORST}, {_AXIS}"),
    QueueOrder("similar", "similar ones together", f"{ALIKE} IS NULL, {ALIKE}, {WORST}, {_AXIS}"),
    QueueOrder("place", "by axis, then by position in the dataset", _AXIS),
    QueueOrder("better", "improved first", f"r.improved IS NULL, r.improved DESC, {_AXIS}"),
    QueueOrder("quality", "largest quality gain first", f"coalesce(r.new_quality - g.quality, -99) DESC, {_AXIS}"),
    QueueOrder("loss", "largest loss drop first", f"coalesce(g.loss_after - r.new_loss_after, -99) DESC, {_AXIS}"),
    QueueOrder("flaw", "most flawed original first", f"coalesce(g.flaw, -1) DESC, {_AXIS}"),
    QueueOrder("length", "longest new text first", f"coalesce(length(r.messages), 0) DESC, {_AXIS}"),
)

EDITED = "(r.original IS NOT NULL AND r.original<>r.messages)"
WORDS = {
    **{axis: f"r.axis='{axis}'" for axis in AXES},
    **{axis[0]: f"r.axis='{axis}'" for axis in AXES},
    "open": "r.state='proposed'",
    "accepted": "r.state='accepted'",
    "rejected": "r.state='rejected'",
    "failed": "r.state='failed'",
    "kept": "r.state='kept'",
    **dict.fromkeys(("pending", "owed"), "r.state IN ('owed', 'prompted')"),
    **dict.fromkeys(("improved", "better"), "r.improved=1"),
    "worse": "r.improved=0",
    "unchecked": "(r.verdict IS NULL AND r.messages IS NOT NULL)",
    "edited": EDITED,
    "noted": "r.note IS NOT NULL",
    **dict.fromkeys(("drifted", "drift"), f"{DOUBT}<>''"),
}
"""What a word of a filter stands for; any other word is looked for in verdict, reason and note."""


def where(filter: str) -> tuple[str, dict[str, str]]:
    """A filter line as SQL and its values: all words must hold."""
    parts, values = ["r.round=:round"], {}
    if "kept" not in filter.lower().split():
        parts.append("r.state<>'kept'")
    for at, word in enumerate(filter.lower().split()):
        if word in WORDS:
            parts.append(WORDS[word])
        else:
            values[f"word{at}"] = word
            said = "coalesce(r.verdict, '') || ' ' || coalesce(r.reason, '') || ' ' || coalesce(r.note, '')"
            parts.append(f"instr(lower({said}), :word{at}) > 0")
    return " AND ".join(parts), values
