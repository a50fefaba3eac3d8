"""The caps on tokens and cost for a judge that is paid: what its calls took, and whether another sample can be rated.

As for the teacher (``engine.teacher.budget``), no sample is begun whose calls could exceed a cap, with a token of input
per byte. Only a try that got lost may, as it is repeated. The caps are for teacher and judge of a round together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.config import schema as configs
from engine.errors import Waiting
from engine.plurals import counted
from engine.signals.last_exchange import Chat
from engine.stage import Ctx
from engine.store.teacher import Question, TeacherCall

AROUND = 16
"""Tokens that a chat template puts around a message, at most."""
SPENT = "not rated: the teacher's budget is spent (teacher.budget_tokens, budget_cost)"


def ask(ctx: Ctx, left: int, total: int) -> None:
    """The caps leave ``left`` of ``total`` rewrites without a rating: a person is asked whether to raise them, as in
    the rewrite stage; where nobody is asked, or who goes on with the caps as they are, is told what becomes of them.

    Raises:
        Waiting: somebody reviews this round, and was not asked this before.
    """
    spent = f"{left:,} of {counted(total, 'rewrite')} {'was' if left == 1 else 'were'} {SPENT}"
    text = f"{spent}. Raise them and run again, or run again unchanged to continue without these ratings."
    asked = Question(ctx.round, text)
    if ctx.config.review.policy == "manual" and asked not in ctx.rows(Question):
        ctx.save([asked])
        raise Waiting(text)
    ctx.event(f"{spent}; where quality is judged they cannot be merged", "warning")


@dataclass(slots=True)
class RatingBudget:
    """What was spent in the round, and what the samples in flight may take: each (tokens in, tokens out)."""

    how: configs.Teacher
    price: configs.Prices
    tokens: int = 0
    money: float = 0.0
    held: dict[object, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, ctx: Ctx) -> RatingBudget | None:
        """The round's; None where the judge is not paid, or nothing is capped."""
        how = ctx.config.teacher
        if ctx.config.judge.model != "endpoint" or not (how.budget_tokens or how.budget_cost):
            return None
        calls = ctx.rows(TeacherCall)
        price = how.prices.get(ctx.config.judge.endpoint_model, configs.FREE)
        tokens = sum(call.tokens_in + call.tokens_out for call in calls)
        return cls(how, price, tokens, sum(call.cost for call in calls))

    def afford(self, key: object, chats: Sequence[Chat], reply: int) -> bool:
        """Reserve the most that a sample's requests can take, with replies of ``reply`` tokens; whether the caps allow
        it.
        """
        sizes = (len(m.content.encode("utf-8", "replace")) + AROUND for chat in chats for m in chat)
        need = sum(sizes), reply * len(chats)
        ahead = [*self.held.values(), need]
        tokens = self.tokens + sum(map(sum, ahead))
        money = self.money + sum(self.price.cost(*one) for one in ahead)
        if (self.how.budget_tokens and tokens > self.how.budget_tokens) or (
            self.how.budget_cost and money > self.how.budget_cost
        ):
            return False
        self.held[key] = need
        return True

    def book(self, used: Iterable[tuple[int, int]]) -> None:
        """Count calls that came back: tokens in and out of each."""
        for tokens_in, tokens_out in used:
            self.tokens += tokens_in + tokens_out
            self.money += self.price.cost(tokens_in, tokens_out)

    def free(self, key: object) -> None:
        """A sample's six are there."""
        self.held.pop(key, None)
