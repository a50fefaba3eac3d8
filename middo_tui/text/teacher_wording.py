"""What the teacher of a round takes, in one line: calls, tokens and money so far, of how much, and where texts go.

The same words on the Loop screen and in ``middo-tui status``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from middo_tui.terminal import guard
from middo_tui.text import number_format


def spending(asked: Mapping[str, Any], ahead: Mapping[str, Any] | None) -> str:
    """``asked`` and ``ahead``: as ``engine.store.teacher`` reads them. Empty when there is nothing to say yet."""
    if not asked["calls"] and not (ahead and ahead["calls"]):
        return ""
    tokens = asked["tokens_in"] + asked["tokens_out"]
    calls, used, money = f"{asked['calls']:,}", number_format.short(tokens), number_format.money(asked["cost"])
    if ahead is None:
        return f"{calls} calls · {used} tokens · {money}"
    parts = [f"{calls} of about {ahead['calls']:,} calls", f"{used} of {_about(ahead)} tokens{_cap(ahead)}"]
    if ahead["cost"] or asked["cost"] or ahead["cap_cost"]:
        cap = f", cap {number_format.money(ahead['cap_cost'])}" if ahead["cap_cost"] else ""
        parts.append(f"{money} of about {number_format.money(ahead['cost'])}{cap}")
    if asked["failed"]:
        parts.append(f"{asked['failed']:,} failed")
    if asked.get("lost"):
        tokens_lost = number_format.short(asked["lost_tokens"])
        parts.append(f"{asked['lost']:,} tries without a reply, counted as {tokens_lost} tokens at most")
    if ahead["sent_to"]:
        parts.append(f"texts go to {guard.one_line(ahead['sent_to'])}")
    return " · ".join(parts)


def batch(facts: Mapping[str, Any] | None, now: float) -> str:
    """``batch of 2,000 calls: 812 done · 1 h 12 min so far, until Sat 14:05 at the latest``; empty: none is out.

    ``facts``: as ``engine.store.teacher`` reads them. ``now``: wall time in seconds.
    """
    if facts is None:
        return ""
    many = "batch" if facts["batches"] == 1 else f"{facts['batches']:,} batches"
    done = f"{facts['completed']:,} done" + (f", {facts['failed']:,} failed" if facts["failed"] else "")
    if facts["cancelling"]:
        done += ", being ended"
    until = f", until {number_format.day(facts['until'])} at the latest" if facts["until"] else ""
    return f"{many} of {facts['calls']:,} calls: {done} · {number_format.duration(now - facts['since'])} so far{until}"


def writing(facts: Mapping[str, Any] | None) -> str:
    """``writing prompts: 12 of 60 whole · 3.4k tokens, 84 a second · 2 min so far, about 6 min left · “… the text”``.

    Empty: a teacher on this machine writes nothing. ``facts``: as ``engine.store.teacher`` reads them.
    """
    if facts is None:
        return ""
    if facts["step"] == "load":
        return "the teacher is being loaded"
    again = f", try {facts['attempt']}" if facts["attempt"] > 1 else ""
    speed = f", {facts['per_s']:,.{0 if facts['per_s'] >= 10 else 1}f} a second" if facts["per_s"] else ""
    parts = [
        f"writing {facts['step']}s{again}: {facts['done']:,} of {facts['total']:,} whole",
        f"{number_format.short(facts['tokens'])} {'token' if facts['tokens'] == 1 else 'tokens'}{speed}",
        f"{number_format.duration(facts['seconds'])} so far",
    ]
    if facts["left_s"] is not None:
        parts[-1] += f", about {number_format.duration(facts['left_s'])} left"
    if facts["text"]:
        parts.append(f"“… {guard.one_line(facts['text'])}”")
    return " · ".join(parts)


def _about(ahead: Mapping[str, Any]) -> str:
    return f"about {number_format.short(ahead['tokens_in'] + ahead['tokens_out'])}"


def _cap(ahead: Mapping[str, Any]) -> str:
    return f", cap {number_format.short(ahead['cap_tokens'])}" if ahead["cap_tokens"] else ""
