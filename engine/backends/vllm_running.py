"""vLLM's engine as the backend drives it: requests in, results out, and who died when it does."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import connection
from typing import Any, Protocol

from engine.processes.exit_reason import how_ended

NOTICE_S = 5.0
"""How long after an engine's failure its process may take to end."""


class Running(Protocol):
    """A vLLM engine. Results are ``vllm.RequestOutput``, or the error of a request that was refused."""

    config: Any
    """vLLM's ModelConfig."""

    def add(self, name: str, ids: Sequence[int], params: Any, adapter: Any) -> None:
        """Hand over a request: token ids, SamplingParams, LoRARequest or None. May raise what vLLM refuses it with."""

    def finished(self) -> list[tuple[str, Any]]:
        """What has ended since the last call; waits for work to be done, but not for a request to end."""

    def died(self) -> str:
        """Which of its processes died and how; empty where that cannot be told."""

    def close(self) -> None:
        """End its processes and free its memory."""


class OneCopy:
    """``vllm.LLM``: one copy of the model, on one GPU or split over several."""

    def __init__(self, args: dict[str, Any]) -> None:
        from vllm import LLM

        self._llm: Any = LLM(**args)
        self.config = self._llm.llm_engine.model_config

    def add(self, name: str, ids: Sequence[int], params: Any, adapter: Any) -> None:
        """See ``Running``."""
        (prompt,) = self._llm.llm_engine.renderer.render_cmpl([{"prompt_token_ids": list(ids)}])
        self._llm.llm_engine.add_request(name, prompt, params, lora_request=adapter)

    def finished(self) -> list[tuple[str, Any]]:
        """See ``Running``: one step of the engine."""
        return [(out.request_id, out) for out in self._llm.llm_engine.step() if out.finished]

    def died(self) -> str:
        """See ``Running``."""
        return dead_process(self._llm.llm_engine.engine_core)

    def close(self) -> None:
        """See ``Running``."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None


def given_up(result: Any) -> bool:
    """Whether the engine ended a request because it ends itself: nobody here aborts one. It is no reply."""
    return not isinstance(result, Exception) and result.outputs[0].finish_reason == "abort"


def dead_process(core: Any) -> str:
    """Which process of vLLM's engine died and how; empty where that cannot be told, as for an engine in this process.

    Args:
        core: vLLM's EngineCoreClient. When one copy dies it ends the others, so the first to be noticed is named.
    """
    manager = getattr(getattr(core, "resources", None), "engine_manager", None)
    processes = list(getattr(manager, "processes", ()))
    if not processes:
        return ""
    connection.wait([process.sentinel for process in processes], NOTICE_S)
    failed = getattr(manager, "failed_proc_name", None)
    for number, process in enumerate(processes, 1):
        code = process.exitcode
        if code and failed in (None, process.name):
            return f"copy {number} of {len(processes)}, pid {process.pid}, {how_ended(code)}"
    return ""
