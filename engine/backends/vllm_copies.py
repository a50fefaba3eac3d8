"""Several copies of a model beside each other, each on GPUs of its own: vLLM's data parallelism.

``vllm.LLM`` refuses more than one copy in one process. ``AsyncLLM``, which vLLM's server is built on, starts them and
deals out the requests; it wants an event loop, which runs in a thread here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from engine.backends.vllm_running import dead_process

WAIT_S = 0.1


class Copies:
    """See ``engine.backends.vllm_running.Running``."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._engine: Any = asyncio.run_coroutine_threadsafe(self._open(args), self._loop).result()
        except BaseException:
            self._end()
            raise
        self.config = self._engine.model_config

    async def _open(self, args: dict[str, Any]) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        return AsyncLLM.from_engine_args(AsyncEngineArgs(**args))

    def add(self, name: str, ids: Sequence[int], params: Any, adapter: Any) -> None:
        """See ``Running``; what vLLM refuses comes out of ``finished``."""
        asyncio.run_coroutine_threadsafe(self._run(name, list(ids), params, adapter), self._loop)

    async def _run(self, name: str, ids: list[int], params: Any, adapter: Any) -> None:
        last: Any = None
        try:
            async for out in self._engine.generate({"prompt_token_ids": ids}, params, name, lora_request=adapter):
                last = out
        except Exception as error:  # noqa: BLE001 - it is raised, or becomes the request's result, in the other thread
            last = error
        self._done.put((name, last))

    def finished(self) -> list[tuple[str, Any]]:
        """See ``Running``.

        Raises:
            VLLMError: an engine has died.
        """
        from vllm.exceptions import VLLMClientError

        refused = VLLMClientError, ValueError
        out: list[tuple[str, Any]] = []
        with suppress(queue.Empty):
            out.append(self._done.get(timeout=WAIT_S))
        while not self._done.empty():
            out.append(self._done.get())
        fatal = [one for one in out if isinstance(one[1], Exception) and not isinstance(one[1], refused)]
        if len(fatal) == len(out) > 0:
            raise fatal[0][1]
        for one in fatal:  # what came before is taken first
            self._done.put(one)
        return [one for one in out if one not in fatal]

    def died(self) -> str:
        """See ``Running``."""
        return dead_process(self._engine.engine_core)

    def close(self) -> None:
        """See ``Running``."""
        self._loop.call_soon_threadsafe(self._engine.shutdown)
        self._end()
        self._engine = None  # else it shuts down once more when the interpreter ends, and complains

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
