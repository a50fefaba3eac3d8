"""A teacher that knows the true rows behind the spoilt ones and gives them back, right as often as it is told to be.

It knows no more than its request says: a prompt that names no task gets a question back, unless the request shows the
response as well. It reads only texts of the dataset in a request, so it suits any prompt template.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from benchmarks.world.planted_flaws import Row

ASKS_BACK = "Could you tell me in more detail what you need?"


class TrueTeacher:
    """Replies to the requests of a run.

    Args:
        pairs: each row as the dataset has it, and as it was before. spare: further true rows, for brand-new prompts.
        right: how often an answer is the true one; else it is another row's. Asked again, it draws again.
    """

    def __init__(self, pairs: Sequence[tuple[Row, Row]], spare: Sequence[Row], right: float = 0.95) -> None:
        self.pairs, self.right = list(pairs), right
        self.spare = sorted(spare)
        self.true = {true.prompt: true.answer for _, true in self.pairs} | {row.prompt: row.answer for row in spare}
        self.known = sorted({*self.true, *(row.prompt for row, _ in self.pairs)}, key=len, reverse=True)
        self.answers = sorted(set(self.true.values()))
        self.asked: Counter[str] = Counter()

    def reply(self, request: str) -> str:
        """A new prompt in its tags where the request asks for one, else an answer."""
        return f"<prompt>{self.prompt(request)}</prompt>" if "<prompt>" in request else self.answer(request)

    def prompt(self, request: str) -> str:
        """What a request for a new prompt gets: the true prompt of the row that it shows, or a spare row's."""
        rng = random.Random(f"prompt {request}")
        if "hint prompt" in request and self.spare:
            return rng.choice(self.spare).prompt
        row = self._row(request)
        return row.prompt if row else self._prompt_in(request) or ASKS_BACK

    def answer(self, request: str) -> str:
        """What a request for an answer gets."""
        self.asked[request] += 1
        again = f" {self.asked[request]}" if self.asked[request] > 1 else ""
        rng = random.Random(f"answer{again} {request}")
        row = self._row(request)
        answer = row.answer if row else self.true.get(self._prompt_in(request) or "")
        if answer is None:
            return ASKS_BACK
        return answer if rng.random() < self.right else rng.choice([a for a in self.answers if a != answer])

    def _row(self, request: str) -> Row | None:
        """The true row of the sample whose prompt and response both stand in the request."""
        found = [
            (len(row.prompt) + len(row.answer), true)
            for row, true in self.pairs
            if row.prompt in request and row.answer in request and row.answer not in row.prompt
        ]
        return max(found)[1] if found else None

    def _prompt_in(self, request: str) -> str | None:
        """The longest prompt of the dataset in the request."""
        return next((prompt for prompt in self.known if prompt in request), None)
