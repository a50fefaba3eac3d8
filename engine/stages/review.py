"""Who decides on the rewrites: nobody (``auto``), the signals (``improved``) or a person (``manual``).

Only rewrites that are still ``proposed`` are touched: a decision that a person took earlier stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.errors import Waiting
from engine.plurals import counted
from engine.stage import Ctx
from engine.store.rows import Decision, Rewrite, Verdict


def run(ctx: Ctx) -> None:
    """Decide by policy, or wait until a person has decided on all.

    Raises:
        Waiting: policy is "manual" and rewrites are still proposed.
    """
    rows = ctx.rows(Rewrite)
    answered = [r for r in rows if r.messages is not None and r.state != "failed"]
    open_ = [r for r in answered if r.state == "proposed"]
    policy = ctx.config.review.policy
    ctx.begin(len(answered), len(answered) - len(open_))
    if policy == "manual":
        if open_:
            ctx.event(f"{counted(len(open_), 'rewrite is', 'rewrites are')} waiting for review")
            raise Waiting
    else:
        verdicts = {(v.sample_id, v.axis): v for v in ctx.rows(Verdict)}
        ctx.save(decide(open_, verdicts, policy), done=len(answered))
    ctx.event(summary(ctx.rows(Rewrite), policy))


def decide(open_: Sequence[Rewrite], verdicts: Mapping[tuple[int, str], Verdict], policy: str) -> list[Decision]:
    """The policy's decisions: ``auto`` accepts all that passed the checks, ``improved`` only improved ones."""
    out = []
    for row in open_:
        key = (row.sample_id, row.axis)
        verdict = verdicts.get(key)
        if policy == "auto" or (verdict is not None and verdict.improved):
            out.append(Decision(row.round, *key, "accepted"))
        else:
            why = verdict.verdict if verdict else None
            out.append(Decision(row.round, *key, "rejected", why or "it was not measured"))
    return out


def summary(rows: Sequence[Rewrite], policy: str) -> str:
    """The log line: counts of accepted, rejected and failed rewrites."""
    states = [r.state for r in rows]
    accepted, rejected, failed = (states.count(state) for state in ("accepted", "rejected", "failed"))
    return f"review ({policy}): {accepted} accepted, {rejected} rejected, {failed} failed"
