"""Requests to vLLM's server with token ids, and the probabilities that it tells of tokens by their ids.

Prompts are rendered here, by the code that training uses: the server's own chat template and tokenizer have no part in
it. Replies are as little trusted as any endpoint's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import openai

from engine.backends import Call, Places
from engine.backends.chat import Chat, chance
from engine.errors import BackendError

LIKELIEST = 20
"""Logprobs to ask for: what servers allow unless told otherwise. Those of ``told`` come whatever their number."""
LEAST_TOP_P = 1e-6
"""In place of 0, which vLLM refuses."""
BY_ID = "token_id:"
"""What the names of tokens begin with that are told by their ids."""


@dataclass(frozen=True, slots=True)
class TokenCall(Call):
    """A call with ``prompts`` of token ids in place of a chat: one, or several where only ``told`` is wanted.

    told: ids whose probabilities behind each prompt are wanted; they come as the reply's ``places``, one for a prompt.
    echoes: the probabilities of the prompt's own tokens but the first are wanted instead, one in each place.
    stops: ids that end a reply.
    """

    prompts: tuple[tuple[int, ...], ...] = ()
    told: tuple[int, ...] = ()
    echoes: bool = False
    top_k: int = 0
    stops: tuple[int, ...] = ()

    @property
    def tokens_in(self) -> int:
        """The prompts' tokens."""
        return sum(map(len, self.prompts))


class Completions(Chat):
    """One model at one server that is asked with token ids. ``restore``: loads the model again where it has gone."""

    restore: Callable[[Chat], Awaitable[None]] | None = None

    async def ask(self, call: Call, names: Mapping[str, str]) -> Any:
        """The reply to ``call``; a model that the server does not know any more is restored once."""
        try:
            return await self.client.completions.create(**self.body(call, names))
        except openai.NotFoundError as error:
            if self.restore is None or cast("TokenCall", call).echoes:  # by these it is seen whether that was right
                raise
            try:
                await self.restore(self)
            except BackendError:
                raise error from None
            return await self.client.completions.create(**self.body(call, names))

    def body(self, call: Call, names: Mapping[str, str]) -> dict[str, Any]:
        """A request's parameters, its options by their ``names``."""
        call = cast("TokenCall", call)
        options = self.options(call, names)
        if call.temperature <= 0:
            options = {name: value for name, value in options.items() if name not in ("top_p", "seed")}
        elif "top_p" in options:
            options["top_p"] = max(call.top_p, LEAST_TOP_P)
        more: dict[str, Any] = {"stop_token_ids": list(call.stops)} if call.stops else {}
        if call.told:
            more |= {"logprob_token_ids": list(call.told), "return_tokens_as_token_ids": True}
        if call.echoes:
            more["prompt_logprobs"] = 0
        if call.top_k and call.temperature > 0:
            more["top_k"] = call.top_k
        return {
            "model": self.model,
            "prompt": [list(ids) for ids in call.prompts],
            **options,
            **({"stop": list(call.ends)} if call.ends else {}),
            **({"logprobs": LIKELIEST} if call.told else {}),
            **({"extra_body": more} if more else {}),
        }

    def text_in(self, choice: Any) -> str:
        """What a reply says."""
        return choice.text or ""

    def places_in(self, reply: Any) -> Places:
        """The probabilities of the prompt's tokens, or of those behind each prompt, by their names."""
        choices = sorted(reply.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != [*range(len(choices))]:
            raise ValueError("choices that are not numbered")
        echoed = getattr(choices[0], "prompt_logprobs", None)
        if echoed is not None:
            return tuple(tuple(chance(id, one["logprob"]) for id, one in place.items()) for place in echoed if place)
        told = (getattr(getattr(choice, "logprobs", None), "top_logprobs", None) for choice in choices)
        return tuple(tuple(chance(token, logprob) for token, logprob in first[0].items()) for first in told if first)

    def hopeless(self, said: str, status: int, kind: str) -> str:
        """See ``Chat``."""
        if status != 404:
            return super().hopeless(said, status, kind)
        return f"{self.url}: {said}. It no longer has this round's adapter: run again to have it loaded."
