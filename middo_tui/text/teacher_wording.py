"""A round's teacher in one line: calls, tokens and money so far and forecast, and where texts are sent.

Used by the Loop screen and by ``middo-tui status``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.plurals import counted
from middo_tui.terminal import guard
from middo_tui.text import number_format


def spending(
    asked: Mapping[str, Any], ahead: Mapping[str, Any] | None, evidence: Mapping[str, Any] | None = None
) -> str:
    """Calls, tokens and cost so far and forecast; empty if no call was made or forecast.

    A forecast is left out once it is exceeded, and by evidence after the first call: it is of the first batch alone.

    ``asked`` and ``ahead``: as ``engine.store.teacher`` reads them. ``evidence``: as ``engine.store.read`` does.
    """
    if not asked["calls"] and not (ahead and ahead["calls"]):
        return ""
    tokens = asked["tokens_in"] + asked["tokens_out"]
    calls, used, money = f"{asked['calls']:,}", number_format.short(tokens), number_format.money(asked["cost"])
    if ahead is None:
        return f"{counted(asked['calls'], 'call')} · {used} tokens · {money}"
    asking = evidence is not None and "stopped" not in evidence
    known = asked["calls"] <= ahead["calls"] and (evidence is None or (asking and not asked["calls"]))
    first = "first batch: " if asking and known else ""
    count = f"{calls} of about {counted(ahead['calls'], 'call')}" if known else counted(asked["calls"], "call")
    parts = [f"{first}{count}", f"{used}{f' of {_about(ahead)}' if known else ''} tokens{_cap(ahead)}"]
    if ahead["cost"] or asked["cost"] or ahead["cap_cost"]:
        cap = f", cap {number_format.money(ahead['cap_cost'])}" if ahead["cap_cost"] else ""
        about = f" of about {number_format.money(ahead['cost'])}" if known else ""
        parts.append(f"{money}{about}{cap}")
    if asking:
        parts.append("asks in batches until it no longer pays")
    if asked["failed"]:
        parts.append(f"{asked['failed']:,} failed")
    if asked.get("lost"):
        tokens_lost = number_format.short(asked["lost_tokens"])
        lost = counted(asked["lost"], "attempt")
        parts.append(f"{lost} without a reply, counted as up to {tokens_lost} tokens")
    if ahead["sent_to"]:
        parts.append(f"texts are sent to {guard.one_line(ahead['sent_to'])}")
    return " · ".join(parts)


def batch(facts: Mapping[str, Any] | None, now: float) -> str:
    """``batch of 2,000 calls: 812 done · 1 h 12 min elapsed, due by Sat 14:05``; empty without a batch.

    ``facts``: as ``engine.store.teacher`` reads them. ``now``: wall time in seconds.
    """
    if facts is None:
        return ""
    many = "batch" if facts["batches"] == 1 else counted(facts["batches"], "batch", "batches")
    done = f"{facts['completed']:,} done" + (f", {facts['failed']:,} failed" if facts["failed"] else "")
    if facts["cancelling"]:
        done += ", cancelling"
    due = f", due by {number_format.day(facts['until'])}" if facts["until"] else ""
    since = number_format.duration(now - facts["since"])
    return f"{many} of {counted(facts['calls'], 'call')}: {done} · {since} elapsed{due}"


def writing(facts: Mapping[str, Any] | None) -> str:
    """``writing prompts: 12 of 60 done · 3.4k tokens, 84/s · 2 min elapsed, about 6 min left · “… the text”``.

    Empty if no local teacher is writing. ``facts``: as ``engine.store.teacher`` reads them.
    """
    if facts is None:
        return ""
    if facts["step"] == "load":
        return "loading the teacher model"
    again = f", attempt {facts['attempt']}" if facts["attempt"] > 1 else ""
    speed = f", {facts['per_s']:,.{0 if facts['per_s'] >= 10 else 1}f}/s" if facts["per_s"] else ""
    parts = [
        f"writing {facts['step']}s{again}: {facts['done']:,} of {facts['total']:,} done",
        f"{number_format.short(facts['tokens'])} {'token' if facts['tokens'] == 1 else 'tokens'}{speed}",
        f"{number_format.duration(facts['seconds'])} elapsed",
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
