"""lm-eval's requests answered in several processes, one per GPU: this one, and helpers that hold the same model.

A task runs in one process as ever; what it asks of the model is dealt out in parts, each to whoever is free. lm-eval's
own way (accelerate) deals out documents, and not to a model that is loaded already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

from engine.errors import StageError
from engine.processes.exit_reason import how_ended

PARTS = 8
"""Parts that each process gets when all are as fast: few enough for large batches, many enough to end together."""
Open = Callable[[int], Any]
"""Makes lm-eval's model on GPU number so and so; a function of a module or a partial of one."""
Explain = Callable[[BaseException], str]


class _Helper:
    """Another process with the same model. It ends with this one."""

    def __init__(self, number: int, open: Open, explain: Explain) -> None:
        start = get_context("spawn")
        self._here, there = start.Pipe()
        self._process = start.Process(target=_help, args=(there, number, open, explain), daemon=True)
        self._process.start()
        there.close()
        self.number = number

    def ask(self, kind: str, asked: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Replies to the arguments of some requests.

        Raises:
            StageError: it failed, or is dead; says which and why.
        """
        try:
            self._here.send((kind, asked))
            replies, why = self._here.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            who = f"lm-eval's process {self.number + 1} (pid {self._process.pid})"
            raise StageError(f"{who} {how_ended(code)}") from None
        if why:
            raise StageError(why)
        return list(replies)

    @property
    def alive(self) -> bool:
        """Whether it is alive."""
        return self._process.is_alive()


def _help(orders: Any, number: int, open: Open, explain: Explain) -> None:
    """A helper's main loop. Its exceptions fail the task that asked."""
    from lm_eval.api.instance import Instance

    lm, why = None, ""
    try:
        lm = open(number)
    except Exception as error:  # noqa: BLE001 - the boundary
        why = explain(error)
    while True:
        try:
            kind, asked = orders.recv()
        except EOFError:
            return
        if lm is None:
            orders.send((None, why))
            continue
        try:
            requests = [Instance(request_type=kind, doc={}, arguments=args, idx=i) for i, args in enumerate(asked)]
            orders.send((getattr(lm, kind)(requests, disable_tqdm=True), ""))
        except Exception as error:  # noqa: BLE001 - the boundary
            orders.send((None, explain(error)))


class Team:
    """This process and ``size - 1`` helpers. A helper that died is replaced when the next task asks.

    Args:
        least: requests that are dealt out together at least, as many as make a batch.
    """

    def __init__(self, size: int, least: int, open: Open, explain: Explain) -> None:
        self.size = size
        self._least, self._open, self._explain = least, open, explain
        self._helpers: dict[int, _Helper] = {}
        self._ready()  # they load in parallel with this process

    def answer(
        self,
        kind: str,
        requests: Sequence[Any],
        own: Callable[[Sequence[Any]], Sequence[Any]],
        keep: Callable[[str, tuple[Any, ...], Any], None],
    ) -> list[Any]:
        """The replies to ``requests`` in their order, the longest asked first.

        Args:
            own: has this process' model answer.
            keep: told of every reply of a helper.
        """
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].args[0]), requests[i].args[0]))
        size = max(self._least, -(-len(order) // (PARTS * self.size)))
        parts = _Shared(order[start : start + size] for start in range(0, len(order), size))
        out: dict[int, Any] = {}

        def work(helper: _Helper | None) -> None:
            for part in parts:
                asked = [requests[i] for i in part]
                replies = own(asked) if helper is None else helper.ask(kind, [one.args for one in asked])
                out.update(zip(part, replies, strict=True))
                for one, reply in zip(asked, replies, strict=True) if helper else ():
                    keep(kind, one.args, reply)

        with ThreadPoolExecutor(self.size - 1) as threads:
            helping = [threads.submit(parts.until_one_fails, work, helper) for helper in self._ready()]
            parts.until_one_fails(work, None)
        for one in helping:
            one.result()
        return [out[i] for i in range(len(requests))]

    def _ready(self) -> list[_Helper]:
        for number in range(1, self.size):
            if number not in self._helpers or not self._helpers[number].alive:
                self._helpers[number] = _Helper(number, self._open, self._explain)
        return list(self._helpers.values())


class _Shared:
    """Parts of the work, taken one by one by several threads; none is given any more once a thread has failed."""

    def __init__(self, parts: Iterable[Sequence[int]]) -> None:
        self._parts, self._lock = iter(parts), threading.Lock()

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> Sequence[int]:
        with self._lock:
            return next(self._parts)

    def until_one_fails(self, work: Callable[[_Helper | None], None], worker: _Helper | None) -> None:
        """Have ``worker`` do ``work``, which takes parts from here."""
        try:
            work(worker)
        except BaseException:
            with self._lock:
                self._parts = iter(())
            raise
