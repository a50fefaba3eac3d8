"""What the doctor asks of a teacher's endpoint: which models it has, and whether a request as rewriting makes it works.

The request is a fixed sentence, nothing of the dataset. Unasked it goes to a server on this machine only: elsewhere it
may cost money. Loads the HTTP client when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from engine.config.schema import Config, Teacher
from engine.doctor.finding import Finding
from engine.doctor.memory import REQUEST
from engine.errors import BackendError, EndpointError

if TYPE_CHECKING:
    from engine.backends import Call, Generation
    from engine.backends.openai import Endpoint

SYSTEM, SENTENCE = "You are a helpful assistant.", "Reply with the single word OK."
REPLY = 64  # tokens: a model that thinks first may need some before it says anything
PATIENCE_S = 60.0  # a server that has to read the model first takes its time
OR_ASK = "; or try it with doctor --ask"
UNLISTED = (404, 405, 501)  # there is no list of models here, which a chat endpoint need not have


@dataclass(frozen=True, slots=True)
class ExpectedRequests:
    """What requests of the run will be like.

    anyway: also ask an endpoint that is not on this machine. longest: tokens of the longest sample. system: whether
    samples have a system message.
    """

    anyway: bool = False
    longest: int = 0
    system: bool = False


def findings(config: Config, asked: ExpectedRequests) -> Iterator[Finding]:
    """Whether the teacher's endpoint is there, knows the model and answers as rewriting needs it."""
    how = config.teacher
    if not how.url or not how.model:
        yield Finding("teacher", "an endpoint without url or model", bad=True, fix="set [teacher] url and model")
        return
    from engine.backends.openai import available

    may_ask = asked.anyway or not how.sent_to
    offered: Mapping[str, int | None] = {}
    try:
        offered = available(how.url, how.key_env)
    except EndpointError as error:
        unlisted = error.status in UNLISTED
        if not (unlisted and may_ask):
            yield Finding("teacher", str(error), True, _way_out(how, error, offered) + (OR_ASK if unlisted else ""))
            return
    except BackendError as error:
        yield Finding("teacher", str(error), bad=True, fix=_set_key(how))
        return
    alone = msgspec.structs.replace(how, batch=False)  # which has another price
    reply = _reply(alone, offered, asked) if may_ask else _not_asked(alone, asked)
    # A name that is not listed may be known all the same: Ollama's without a tag, a router's patterns.
    if offered and how.model not in offered and (not may_ask or reply.bad):
        fix = _others(offered)
        yield Finding("teacher", f"{how.url}: no model {how.model!r}", True, fix + ("" if may_ask else OR_ASK))
        if reply.bad and reply.fix != fix:
            yield reply
        return
    sees = offered.get(how.model)
    yield _there(how, sees)
    if how.batch:
        yield _batches(how)
    yield from _room(how, sees, asked.longest)
    yield reply


def _there(how: Teacher, sees: int | None) -> Finding:
    text = f"{how.model} at {how.url}" + (f" · sees {sees:,} tokens" if sees else "")
    way = " in batches" if how.batch else ""
    if how.model in how.prices:
        return Finding("teacher", f"{text} · {how.price.input:g} in, {how.price.output:g} out per million tokens{way}")
    if how.sent_to:
        fix = "set [teacher] prices and budget_cost, so that its cost is counted and capped"
        return Finding("teacher", f"{text} · no price", fix=fix)
    return Finding("teacher", text)


def _batches(how: Teacher) -> Finding:
    """Whether it takes calls as batches."""
    from engine.backends.openai_batches import check

    try:
        check(how.url, how.key_env)
    except BackendError as error:
        return Finding("batches", str(error), bad=True, fix="set [teacher] batch = false")
    return Finding("batches", "calls can be given away as batches, for results within a day")


def _room(how: Teacher, sees: int | None, longest: int) -> Iterator[Finding]:
    """Whether requests fit into what the model sees; nothing where they do, or the endpoint does not say."""
    if sees is None or sees >= longest + REQUEST + how.max_new_tokens:
        return
    none = sees < REQUEST + how.max_new_tokens
    who = "every request" if none else f"requests of the longest samples ({longest:,} tokens)"
    text = f"it sees {sees:,} tokens: {who} with [teacher] max_new_tokens = {how.max_new_tokens} will be refused"
    fits = sees - longest - REQUEST if sees > longest + REQUEST + REPLY else max(sees // 2, 1)
    fix = f"set [teacher] max_new_tokens = {fits}, or have it see more (vLLM: --max-model-len)"
    yield Finding("context", text, bad=none, fix=fix)


def _not_asked(how: Teacher, asked: ExpectedRequests) -> Finding:
    call = _call(how, asked)
    most = call.tokens_in + call.max_new_tokens
    cost = (call.tokens_in * how.price.input + call.max_new_tokens * how.price.output) / 1e6
    price = f" ({cost:.6f} in cost)" if cost else ""
    text = f"not tried: {how.sent_to} is not this machine, and a request may cost money"
    fix = f"doctor --ask sends one fixed sentence, nothing of yours: at most about {most} tokens{price}"
    return Finding("reply", text, fix=fix)


def _call(how: Teacher, asked: ExpectedRequests) -> Call:
    """As the rewrite stage calls, but short."""
    from engine.backends import Call
    from engine.store.rows import Message

    chat = (*([Message("system", SYSTEM)] if asked.system else []), Message("user", SENTENCE))
    return Call("doctor", chat, min(how.max_new_tokens, REPLY), how.temperature, how.top_p, seed=0)


def _reply(how: Teacher, offered: Mapping[str, int | None], asked: ExpectedRequests) -> Finding:
    """What comes back of one request."""
    from engine.backends.openai import Endpoint, EndpointLimits

    endpoint: Endpoint | None = None
    try:
        endpoint = Endpoint(
            how.url, how.model, how.key_env, EndpointLimits(1, timeout_s=min(how.timeout_s, PATIENCE_S))
        )
        came = endpoint.try_out(_call(how, asked))
    except EndpointError as error:
        return Finding("reply", str(error), error.status not in PASSING, _way_out(how, error, offered))
    except BackendError as error:
        return Finding("reply", str(error), bad=True, fix=_set_key(how))
    finally:
        if endpoint is not None:
            endpoint.close()
    return _answered(how, endpoint, came)


def _answered(how: Teacher, endpoint: Endpoint, came: Generation) -> Finding:
    """A reply came: whether it is one that rewriting can use."""
    cost = (came.tokens_in * how.price.input + came.tokens_out * how.price.output) / 1e6
    counted = f"{came.tokens_in} tokens in, {came.tokens_out} out" + (f", {cost:.6f} in cost" if cost else "")
    text = f"one request answered in {came.seconds:.1f} s: {counted}"
    text += "".join(f" · {note}" for note in endpoint.notes)
    if not came.text.strip():
        if came.finish_reason == "length":
            fix = "it thinks before it answers: let [teacher] max_new_tokens hold both, or turn its thinking off"
            return Finding("reply", f"{text}, none of them text", fix=fix)
        fix = "look at the server's log and at the model's chat template: rewrites would be empty"
        return Finding("reply", f"{text}, none of them text", bad=True, fix=fix)
    if endpoint.estimates:
        fix = (
            "budget_tokens and budget_cost will count estimates, a token per three bytes: have the server report usage"
        )
        return Finding("reply", text, fix=fix)
    return Finding("reply", text)


PASSING = frozenset({408, 409, 429, *range(500, 600)})  # the stage tries these again


def _way_out(how: Teacher, error: EndpointError, offered: Mapping[str, int | None]) -> str:
    """What to do about an endpoint's refusal."""
    match error.status:
        case 0:
            return "check that the server runs and [teacher] url, which usually ends in /v1"
        case 401 | 403:
            return _set_key(how)
        case status if status in UNLISTED:
            return _others(offered) if offered else "correct [teacher] url, which usually ends in /v1, or model"
        case 402:
            return "the quota is used up: see your account with the provider"
        case 408:
            return "it is slow, or still reading the model: try again, or raise [teacher] timeout_s"
        case 429:
            return "it is asked too often: wait, or ask the provider for higher limits"
        case status if status >= 500:
            return "the server fails by itself: see its log"
        case 200:
            return "is [teacher] url that of an OpenAI-compatible chat API? It usually ends in /v1"
    return "the server refuses requests as rewriting makes them: change what it names in [teacher], or the server"


def _set_key(how: Teacher) -> str:
    if how.key_env:
        return f"put a key that this endpoint takes into the environment variable {how.key_env}"
    return "name the environment variable that holds the key in [teacher] key_env"


def _others(offered: Mapping[str, int | None]) -> str:
    listed = ", ".join(list(offered)[:5]) + (" …" if len(offered) > 5 else "")
    return f"set [teacher] model to one that it offers: {listed}"
