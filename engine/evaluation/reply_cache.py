"""The model's replies to a task's requests, kept until the task is done: one that was stopped goes on where it was.

lm-eval tells its cache of every reply as soon as a batch is done; ``Replies`` stands in for that cache. Its own
(``use_cache``) keeps no drawn replies and, through vLLM, no written ones.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.evaluation.helper_processes import Team
from engine.files import append_log

KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")
Requests = Sequence[Any]
"""lm-eval's Instances."""


class Replies:
    """Answers requests from the file at ``path`` where it has a reply, has the model answer the rest and keeps that.

    A request is known by its kind and its arguments, which hold its text. ``tell`` is told how many of how many
    requests are answered. Equal requests (``repeats``) have as many replies as they are.
    """

    def __init__(self, path: Path, tell: Callable[[int, int], None]) -> None:
        self._path, self._tell = path, tell
        self._done = self._total = 0
        self._there: dict[str, list[Any]] = defaultdict(list)
        for line in append_log.whole(path):
            key, reply = json.loads(line)
            self._there[key].append(tuple(reply) if isinstance(reply, list) else reply)
        self._keys: dict[Any, str | None] = {}
        self._lock = threading.Lock()

    def stand_in(self, lm: Any, team: Team | None = None) -> None:
        """Come between lm-eval and its model ``lm``, which ``team`` helps to answer."""
        for kind in KINDS:
            run = getattr(type(lm), kind).__get__(lm)
            helped = partial(team.answer, kind, own=run, keep=self.add_partial) if team else run
            setattr(lm, kind, self._answering(kind, helped))
        lm.set_cache_hook(self)

    def _answering(self, kind: str, run: Callable[[Requests], Sequence[Any]]) -> Callable[[Requests], list[Any]]:
        def answer(requests: Requests, **more: Any) -> list[Any]:
            keys = [_key(kind, one.args) for one in requests]
            found = [self._there[key].pop(0) if self._there[key] else None for key in keys]
            pending = [one for one, reply in zip(requests, found, strict=True) if reply is None]
            self._keys = _by_text(pending, [key for key, reply in zip(keys, found, strict=True) if reply is None])
            self._total += len(requests)
            self._done += len(requests) - len(pending)
            new = iter(run(pending, **more) if pending else ())
            return [next(new) if reply is None else reply for reply in found]

        return answer

    def add_partial(self, kind: str, request: Sequence[Any], reply: Any) -> None:
        """One request is answered (what lm-eval calls)."""
        if (key := self._keys.get(request[0])) is None:
            key = _key(kind, request)
        with self._lock:
            self._done += 1
            append_log.append(self._path, [json.dumps([key, reply])])
            self._tell(self._done, self._total)


def _key(kind: str, request: Sequence[Any]) -> str:
    from lm_eval.api.model import hash_args

    return str(hash_args(kind, request))


def _by_text(requests: Requests, keys: Sequence[str]) -> dict[Any, str | None]:
    """The key of the request that begins with this text; None where there are several.

    vLLM's model tells its cache of other settings than it was asked with.
    """
    out: dict[Any, str | None] = {}
    for one, key in zip(requests, keys, strict=True):
        out[one.args[0]] = key if out.get(one.args[0], key) == key else None
    return out
