"""Ratings by an OpenAI-compatible endpoint that tells log-probabilities, with many requests in flight.

A reply may begin with a few words; the rating is read in the first place whose token is a digit. Endpoints tell the
likeliest tokens only (20 here), so the digit mass is that of the digits among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from engine.backends import Call, Generation, Lost, Places, Rating
from engine.backends.rating import DIGITS, expected
from engine.backends.remote_judge import RemoteJudge
from engine.config import schema as configs
from engine.store.rows import Message

LIKELIEST = 20
"""Tokens that are told in each place: as many as such endpoints tell at most."""
REPLY = 8
"""Tokens of a reply in which a digit must come."""


class EndpointJudge(RemoteJudge):
    """The endpoint that [judge] names, as careful and patient as [teacher] says. Close it.

    ``used``: the calls that came back since it was emptied, each with its tag, tokens in and out, and error.
    """

    tokenizer: Any = None
    positions = 1 << 31
    beginning = ""
    on_pause = "given up and not counted"

    def __init__(self, how: configs.Judge, limits: configs.Teacher) -> None:
        super().__init__(how, limits, how.endpoint_model)
        self.used: list[tuple[Any, int, int, str | None]] = []

    def ask_chat(self, tag: Any, chat: Sequence[Message]) -> None:
        """Have a rating read from the reply to ``chat``."""
        self.endpoint.submit(Call(tag, tuple(chat), REPLY, 0.0, 1.0, 0, likeliest=LIKELIEST))

    def submit(self, call: Call, top_k: int = 0, constrain: bool = False) -> None:
        """Have ``call`` answered; such endpoints know no top_k."""
        self.endpoint.submit(call)

    def rate(self, prompts: Sequence[Sequence[int]], token_budget: int = 0) -> list[Rating]:
        """See ``Judges``: an endpoint takes no token ids."""
        raise NotImplementedError("an endpoint is asked with chats")

    def take(self) -> list[tuple[Any, Any]]:
        """Wait for at least one request to end or to lose a try; returns (tag, Rating) or (call, Generation).

        Raises:
            BackendError: no call can work, or the endpoint stopped answering.
        """
        out: list[tuple[Any, Any]] = []
        for call, reply in self.endpoint.take():
            if isinstance(reply, Lost):
                if reply.counts:
                    self.used.append((call.tag, call.tokens_in, call.max_new_tokens, reply.error))
                if reply.asks:
                    self.endpoint.again(call)
                continue
            self.used.append((call.tag, reply.tokens_in, reply.tokens_out, reply.error))
            out.append((call.tag, rating(reply)) if call.likeliest else (call, reply))
        return out


def rating(reply: Generation) -> Rating:
    """The rating that a reply holds."""
    if reply.error:
        return Rating(None, 0.0, reply.error)
    if not reply.places:
        return Rating(None, 0.0, "the endpoint tells no log-probabilities (logprobs)")
    return _expected(reply.places)


def _expected(places: Places) -> Rating:
    place = next((one for one in places if one[0][0].strip() in DIGITS and one[0][0].strip()), places[0])
    chances = dict(place)  # a token that is told twice counts once
    digits = [math.fsum(p for token, p in chances.items() if token.strip() == digit) for digit in DIGITS]
    return expected(digits)
