"""What the user has look at every rewrite: a program (``command``) or a web service (``web_service``).

Both get the same JSON object. What they let through is kept in a file until the stage is over, so a resumed run asks
only for the rest.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.store.rows import Sample, dump_messages
from engine.verification.candidates import Candidate
from engine.verification.text_checks import Rejection

COMMAND, SERVICE = "command", "validator"
"""Codes of the two in a rejection's reason."""


def refused(one: Candidate) -> bool:
    """Whether a validator of the user's has rejected this rewrite."""
    code = (one.row.reason or "").partition(": ")[0]
    return one.row.state == "rejected" and code in (COMMAND, SERVICE)


class Validator(ABC):
    """One that looks at rewrites, ``jobs`` at a time. ``identity``: what it is; another one is asked anew. ``passed``:
    the file that remembers what it let through.
    """

    def __init__(self, identity: str, jobs: int, passed: Path) -> None:
        self._identity, self._jobs, self._file = identity, jobs, passed
        self._passed = frozenset(passed.read_text(encoding="utf-8").split()) if passed.exists() else frozenset()

    @property
    @abstractmethod
    def name(self) -> str:
        """What the log calls it."""

    @abstractmethod
    def look(self, one: Candidate) -> Rejection | None:
        """What it says of a rewrite; None: it lets it through.

        Raises:
            StageError: it does not work.
        """

    def results(self, asked: Sequence[Candidate]) -> Iterator[tuple[Candidate, Rejection | None]]:
        """What it says of each rewrite, in order, as it comes.

        Raises:
            StageError: it does not work.
        """
        if self._jobs == 1:
            yield from ((one, self._result(one)) for one in asked)
            return
        pool = ThreadPoolExecutor(self._jobs)
        try:
            yield from zip(asked, pool.map(self._result, asked), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)

    def remember(self, one: Candidate) -> None:
        """It was let through: a resumed run need not ask again."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(self._digest(one) + "\n")

    def _result(self, one: Candidate) -> Rejection | None:
        return None if self._digest(one) in self._passed else self.look(one)

    def _digest(self, one: Candidate) -> str:
        parts = (self._identity, repr(one.key), dump_messages(one.sample.messages), dump_messages(one.new.messages))
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def question(one: Candidate) -> dict[str, object]:
    """What it is given: the axis, the sample's number, and both conversations."""
    return {
        "axis": one.row.axis,
        "round": one.row.round,
        "sample": one.sample.seq,
        "original": _conversation(one.sample),
        "rewrite": _conversation(one.new),
    }


def _conversation(sample: Sample) -> Mapping[str, object]:
    return {
        "prompt": sample.prompt,
        "response": sample.response,
        "messages": [{"role": m.role, "content": m.content} for m in sample.messages],
    }
