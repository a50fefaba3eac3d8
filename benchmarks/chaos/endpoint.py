"""A teacher that lies, hangs, refuses or dies at its n-th request: every word of ``tests.support.lies`` and of
``tests.support.chat_server``, at every request of a rewrite stage with real HTTP.

A request that fails is asked again, so every rewrite must be as from a teacher that does not. What a lie can pass for
is an answer: then each rewrite is there once, whatever it says. Nothing is stored of what was never said.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos import trial
from benchmarks.chaos.trial import Outcome
from engine.backends import Call
from engine.config.schema import Teacher
from engine.errors import MiddoError
from engine.stages import rewrite
from engine.store import teacher
from engine.store.rows import Message, Rewrite
from tests.support import lies, rounds
from tests.support.chat_server import MODEL, Server

ROWS = 4
REQUESTS = 2 * ROWS
FAULTS = ("cut", "half", "nothing", "broken", "late", "busy", "quota", "hang", "drip", "empty", "long", "dies")
"""Words of the chat server; ``dies``: from this request on nobody answers, until the run is begun again."""
Known = Mapping[tuple[str, str, int], Outcome]


def trials(folder: Path, known: Known) -> Iterator[Outcome]:
    """All of them."""
    from engine.backends.openai import Endpoint
    from engine.errors import EndpointError

    # The SDK imports much at its first call: once here, not in every child.
    with contextlib.suppress(EndpointError), Server() as server, contextlib.closing(Endpoint(server.url, MODEL)) as one:
        one.try_out(Call("a", (Message("user", "ok"),), 8, 0.0, 1.0, 0))
    work = folder / "endpoint"
    want = trial.in_child(partial(_asked, work, "", 0))
    if want.get("faults") or len(want.get("rows", ())) != ROWS:
        raise RuntimeError(f"the rewrites go wrong without a lie: {want}")
    for word in (*FAULTS, *lies.ALL):
        for at in range(1, REQUESTS + 1):
            if ("teacher's endpoint", word, at) in known:
                continue
            found = trial.in_child(partial(_asked, work, word, at))
            wrong = list(found.get("faults", [str(found.get("trace") or found)]))
            if word not in lies.USABLE and found.get("rows") != want["rows"]:
                wrong.append(f"other rewrites: {found.get('rows')} for {want['rows']}")
            ended = found.get("ended", "unhandled")
            yield Outcome("teacher's endpoint", word, at, ended, found.get("said", "")[:300], tuple(wrong))


def _teaches(text: str) -> str:
    number = re.search(r"ask (\d+)", text)
    which = number[1] if number else "?"
    return f"<prompt>ask {which} once more</prompt>" if "<prompt>" in text else f"a good answer to {which}"


def _asked(work: Path, word: str, at: int) -> dict[str, Any]:
    """The rewrites of four samples when request ``at`` meets ``word``, after as many runs as a person would start."""
    trial.quiet()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    said = ""
    with Server(answer=_teaches) as server:
        server.lies = lies.ALL
        met = 0

        def fault(text: str) -> str:
            nonlocal met
            met += 1
            if word == "dies" and met >= at:
                server.down = True
            return word if met == at and word != "dies" else "own"

        server.fault = fault if word else None
        made = rounds.project(work, ROWS)
        how = {"backend": "openai", "url": server.url, "model": MODEL, "concurrency": 1, "retries": 1, "attempts": 3}
        how |= {"timeout_s": 1.0, "max_new_tokens": 32}
        made.config = msgspec.structs.replace(made.config, teacher=msgspec.convert(how, Teacher))
        data = rounds.dataset(made)
        made.ctx("select").save([Rewrite(0, sample.id, "quality", "owed") for sample in data])
        for _ in range(3):
            try:
                rewrite.run(made.ctx("rewrite"))
                break
            except MiddoError as error:
                said = str(error)
                server.down, server.fault = False, None
        rows = made.ctx("x").rows(Rewrite)
        asked = teacher.asked(made.db, 0)
        faults = []
        if Counter(row.sample_id for row in rows) != Counter(sample.id for sample in data):
            faults.append("a rewrite is lost, or there twice")
        if any(row.state == "owed" for row in rows):
            faults.append(f"rewrites are still owed: {said}")
        if (
            min(asked["tokens_in"], asked["tokens_out"]) < 0
            or asked["tokens_in"] + asked["tokens_out"] < server.counted
        ):
            faults.append(f"{asked} booked, {server.counted} tokens counted by the server")
        stored = sorted([row.sample_id, row.state, row.prompt or "", row.response or ""] for row in rows)
        return {"ended": "error" if said else "ok", "said": said, "faults": faults, "rows": stored}
