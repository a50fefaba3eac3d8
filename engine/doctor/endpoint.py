"""Checks a teacher's endpoint: its models, its context length, and whether a request like the rewrite stage's works.

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
OR_ASK = "; or test it with `middo-tui doctor DIR --ask`"
UNLISTED = (404, 405, 501)  # there is no list of models here, which a chat endpoint need not have


@dataclass(frozen=True, slots=True)
class ExpectedRequests:
    """Properties of the run's requests.

    anyway: also ask an endpoint that is not on this machine. longest: tokens of the longest sample. system: whether
    samples have a system message.
    """

    anyway: bool = False
    longest: int = 0
    system: bool = False


def findings(config: Config, asked: ExpectedRequests) -> Iterator[Finding]:
    """Whether the teacher's endpoint is reachable, has the model, and gives usable replies."""
    how = config.teacher
    if not how.url or not how.model:
        yield Finding("teacher", "url or model is not set", bad=True, fix="set [teacher] url and model")
        return
    from engine.backends.offered_models import available

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
        yield Finding("teacher", f"{how.url}: no model named {how.model!r}", True, fix + ("" if may_ask else OR_ASK))
        if reply.bad and reply.fix != fix:
            yield reply
        return
    sees = offered.get(how.model)
    yield _there(how, sees)
    if how.batch:
        yield _batches(how)
    yield from _room(how, sees, asked.longest)
    yield reply


def others(config: Config) -> Iterator[Finding]:
    """Whether the judge's endpoint and the further servers of judge and teacher can be reached and have the model."""
    how, judge = config.teacher, config.judge
    if how.backend == "openai":
        for url in how.more_urls:
            yield _reached("teacher", url, how.model, how.key_env, "[teacher] more_urls")
    if judge.model == "endpoint":
        for setting, urls in (("url", (judge.url,)), ("more_urls", judge.more_urls)):
            for url in urls:
                yield _reached("judge", url, judge.endpoint_model, judge.key_env, f"[judge] {setting}")


def _reached(who: str, url: str, model: str, key_env: str, setting: str) -> Finding:
    from engine.backends.offered_models import available

    try:
        offered = available(url, key_env)
    except EndpointError as error:
        unlisted = error.status in UNLISTED
        fix = f"check that the server is running, and {setting}"
        return Finding(who, f"{model} at {url} · not listed" if unlisted else str(error), not unlisted, fix)
    except BackendError as error:
        return Finding(who, str(error), bad=True, fix=f"set the variable that [{who}] key_env names")
    if offered and model not in offered:
        key = "[teacher] model" if who == "teacher" else "[judge] endpoint_model"
        return Finding(who, f"{url}: no model named {model!r}", bad=True, fix=_others(offered, key))
    return Finding(who, f"{model} at {url}")


def _there(how: Teacher, sees: int | None) -> Finding:
    text = f"{how.model} at {how.url}" + (f" · context length {sees:,} tokens" if sees else "")
    way = " (batch price)" if how.batch else ""
    if how.model in how.prices:
        return Finding(
            "teacher", f"{text} · ${how.price.input:g} in, ${how.price.output:g} out per million tokens{way}"
        )
    if how.sent_to:
        fix = "set [teacher] prices and budget_cost to track and limit its cost"
        return Finding("teacher", f"{text} · price unknown", fix=fix)
    return Finding("teacher", text)


def _batches(how: Teacher) -> Finding:
    """Whether the endpoint has a batch API."""
    from engine.backends.batch_api_check import check

    try:
        check(how.url, how.key_env)
    except BackendError as error:
        return Finding("batches", str(error), bad=True, fix="set [teacher] batch = false")
    return Finding("batches", "batch API available; results within a day")


def _room(how: Teacher, sees: int | None, longest: int) -> Iterator[Finding]:
    """A warning if requests do not fit into the model's context; nothing if they fit or the length is unknown."""
    if sees is None or sees >= longest + REQUEST + how.max_new_tokens:
        return
    none = sees < REQUEST + how.max_new_tokens
    who = "all requests" if none else f"requests of the longest samples ({longest:,} tokens)"
    text = (
        f"context length {sees:,} tokens: with [teacher] max_new_tokens = {how.max_new_tokens}, {who} will be refused"
    )
    fits = sees - longest - REQUEST if sees > longest + REQUEST + REPLY else max(sees // 2, 1)
    fix = f"set [teacher] max_new_tokens = {fits}, or serve a longer context (vLLM: --max-model-len)"
    yield Finding("context", text, bad=none, fix=fix)


def _not_asked(how: Teacher, asked: ExpectedRequests) -> Finding:
    call = _call(how, asked)
    most = call.tokens_in + call.max_new_tokens
    cost = how.price.cost(call.tokens_in, call.max_new_tokens)
    price = f" (${cost:.6f})" if cost else ""
    text = f"not tested: {how.sent_to} is a remote host, and a request may cost money"
    fix = (
        f"`middo-tui doctor DIR --ask` sends one fixed sentence, none of your data: at most about {most} tokens{price}"
    )
    return Finding("reply", text, fix=fix)


def _call(how: Teacher, asked: ExpectedRequests) -> Call:
    """A call like the rewrite stage's, but short."""
    from engine.backends import Call
    from engine.store.rows import Message

    chat = (*([Message("system", SYSTEM)] if asked.system else []), Message("user", SENTENCE))
    return Call("doctor", chat, min(how.max_new_tokens, REPLY), how.temperature, how.top_p, seed=0)


def _reply(how: Teacher, offered: Mapping[str, int | None], asked: ExpectedRequests) -> Finding:
    """Send one request; a finding about the reply or the error."""
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
    """Whether the reply is usable for rewriting."""
    cost = how.price.cost(came.tokens_in, came.tokens_out)
    counted = f"{came.tokens_in} tokens in, {came.tokens_out} out" + (f", ${cost:.6f}" if cost else "")
    text = f"test request answered in {came.seconds:.1f} s: {counted}"
    text += "".join(f" · {note}" for note in endpoint.notes)
    if not came.text.strip():
        if came.finish_reason == "length":
            fix = "the model reasons before it answers: raise [teacher] max_new_tokens, or turn reasoning off"
            return Finding("reply", f"{text}, but no text", fix=fix)
        fix = "rewrites would be empty; check the server's log and the model's chat template"
        return Finding("reply", f"{text}, but no text", bad=True, fix=fix)
    if endpoint.estimates:
        fix = "the server reports no usage, so budgets count an estimate of one token per 3 bytes; have it report usage"
        return Finding("reply", text, fix=fix)
    return Finding("reply", text, facts={"seconds": came.seconds, "tokens": came.tokens_out})


PASSING = frozenset({408, 409, 429, *range(500, 600)})  # the stage retries these


def _way_out(how: Teacher, error: EndpointError, offered: Mapping[str, int | None]) -> str:
    """The fix for an endpoint's error."""
    match error.status:
        case 0:
            return "check that the server is running, and [teacher] url, which usually ends in /v1"
        case 401 | 403:
            return _set_key(how)
        case status if status in UNLISTED:
            return _others(offered) if offered else "check [teacher] url, which usually ends in /v1, and model"
        case 402:
            return "the quota is used up; check your account with the provider"
        case 408:
            return "the server is slow or still loading the model; try again, or raise [teacher] timeout_s"
        case 429:
            return "rate limited; wait, or ask the provider for higher limits"
        case status if status >= 500:
            return "server error; check the server's log"
        case 200:
            return "check that [teacher] url is an OpenAI-compatible chat API; it usually ends in /v1"
    return "the server rejects the rewrite stage's requests; change the named setting in [teacher], or the server"


def _set_key(how: Teacher) -> str:
    if how.key_env:
        return f"set the environment variable {how.key_env} to a valid API key"
    return "set [teacher] key_env to the name of the environment variable with the API key"


def _others(offered: Mapping[str, int | None], key: str = "[teacher] model") -> str:
    listed = ", ".join(list(offered)[:5]) + (" …" if len(offered) > 5 else "")
    return f"set {key} to one of: {listed}"
