"""vLLM in this process: ratings and replies of a local model, many requests at a time.

Requests are handed over one by one and taken as they are done (``submit``, ``ask``, ``take``): vLLM puts together by
itself what is computed at once, so there are no batches with a barrier, and what is done can be saved. Prompts are
rendered here, by the code that training uses; vLLM gets token ids.

A rating's digits are read from the distribution over the whole vocabulary (``logprob_token_ids``, before temperature
and masks), so the digit mass is the true one. Figures differ from transformers' by rounding only, but which rounding
depends on what is computed together: unlike the hf backend, a run that was resumed may differ in the last bits.
"""

from __future__ import annotations

import gc
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.backends import Call, Generation, Rating, roles
from engine.backends.model_loading import reply_ends, torch_device, torch_dtype
from engine.backends.rating import DIGITS, expected, reading
from engine.backends.stop_strings import ended
from engine.backends.vllm_running import OneCopy, Running, given_up
from engine.chat.render import load_tokenizer, render_prompt
from engine.config import schema as configs
from engine.errors import BackendError, ModelError
from engine.models.locate import holds_rows
from engine.plurals import counted
from engine.store.rows import Message

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Room for adapters that vLLM can set aside."""
LEAST_LOGPROBS = 20
PATIENCE_S = 0.5
"""Seconds to wait for a request to finish before returning none."""
TINY = 1e-6
"""Used for top_p = 0 (only the likeliest token), which vLLM rejects."""
LOWER = (
    "Lower [vllm] gpu_memory_utilization, max_model_len or max_num_seqs in config.toml, or shard the model with"
    " tensor_parallel. The stage's log has vLLM's output."
)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request in the engine: its tag, and whether it is a rating or a reply."""

    tag: Any
    rating: bool
    tokens_in: int


class Engine:
    """A loaded model: implements Judges, Generates and Answers. Holds the GPU until it is closed."""

    def __init__(self, path: Path, adapter: Any, running: Running, tokenizer: Any, stops: Sequence[int]) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        self._path, self._adapter, self._running = path, adapter, running
        self.tokenizer = tokenizer
        self._stops = list(stops)
        self._reading: tuple[list[list[int]], str] | None = None
        self._params = SamplingParams
        self._final = RequestOutputKind.FINAL_ONLY
        self._one_digit = StructuredOutputsParams(choice=list(DIGITS))
        self._waiting: dict[str, _Waiting] = {}
        self._failed: list[tuple[Any, Any]] = []
        self._count = 0
        self._given_up = False
        self.notes: list[str] = []
        self.paid = False
        self.prompt_tokens = 0
        """Tokens of all prompts that are done."""
        self.cached_tokens = 0
        """How many of them were not computed, because another prompt began alike."""

    @property
    def positions(self) -> int:
        """Maximum prompt tokens, with one left for the reply."""
        return int(self._running.config.max_model_len) - 1

    @property
    def in_flight(self) -> int:
        """Number of submitted requests whose results were not taken."""
        return len(self._waiting) + len(self._failed)

    def submit(self, call: Call, top_k: int = 0, constrain: bool = False) -> None:
        """Submit ``call``. ``constrain``: force a single digit as the reply."""
        ids = render_prompt(self.tokenizer, call.chat, self.positions, begun=call.begun)
        if not ids:
            reason = f"the prompt does not fit into the model's {self.positions} tokens, or its template refuses it"
            self._failed.append((call, Generation("", "stop", 0, 0, reason, final=True)))
            return
        greedy = call.temperature <= 0
        params = self._params(
            max_tokens=call.max_new_tokens,
            temperature=0.0 if greedy else call.temperature,
            top_p=1.0 if greedy else max(call.top_p, TINY),
            top_k=0 if greedy else top_k,
            seed=None if greedy else call.seed,
            stop_token_ids=self._stops,
            stop=list(call.ends) or None,
            include_stop_str_in_output=True,
            structured_outputs=self._one_digit if constrain else None,
            detokenize=bool(call.ends),  # vLLM looks for texts in the text
            output_kind=self._final,
        )
        self._add(_Waiting(call, False, len(ids)), ids, params)

    def ask(self, tag: Any, prompt: Sequence[int]) -> None:
        """Submit a rating of the token after ``prompt``."""
        digits = [id for ids in self.digits() for id in ids]
        params = self._params(
            max_tokens=1,
            temperature=0.0,
            logprobs=len(digits),
            logprob_token_ids=digits,
            detokenize=False,
            output_kind=self._final,
        )
        self._add(_Waiting(tag, True, len(prompt)), prompt, params)

    def again(self, call: Call) -> None:
        """See ``Answers``: no try is ever lost here."""

    def leave(self, call: Call) -> None:
        """See ``Answers``: no try is ever lost here."""

    def take(self) -> list[tuple[Any, Any]]:
        """Wait for at least one request to end; returns (call or tag, Generation or Rating) of all that have.

        None when that takes long: replies may take minutes, and who waits for them may be asked to stop.

        Raises:
            BackendError: the engine has died.
        """
        out, self._failed = self._failed, []
        until = time.monotonic() + PATIENCE_S
        while self._waiting and not out:
            for name, result in self._step():
                out.append(self._read(self._waiting.pop(name), result))
            if time.monotonic() >= until:
                break
        return out

    def rate(self, prompts: Sequence[Sequence[int]], token_budget: int = 1 << 15) -> list[Rating]:
        """See ``Judges``."""
        for i, prompt in enumerate(prompts):
            self.ask(i, prompt)
        found: dict[int, Rating] = {}
        while self.in_flight:
            found.update(self.take())
        return [found[i] for i in range(len(prompts))]

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        top_k: int = 0,
        begun: str = "",
    ) -> list[Generation]:
        """See ``Generates``. Each chat draws from a seed of its own."""
        for i, chat in enumerate(chats):
            drawn = Call(i, tuple(chat), max_new_tokens, temperature, top_p, (seed + i) % 2**31, begun=begun)
            self.submit(drawn, top_k)
        found: dict[int, Generation] = {}
        while self.in_flight:
            found.update((call.tag, reply) for call, reply in self.take())
        return [found[i] for i in range(len(chats))]

    def digits(self) -> list[list[int]]:
        """For each digit the ids that spell it."""
        return self._read_digits()[0]

    @property
    def beginning(self) -> str:
        """See ``Judges``."""
        return self._read_digits()[1]

    def _read_digits(self) -> tuple[list[list[int]], str]:
        if self._reading is None:
            self._reading = reading(self.tokenizer, self._path)
        return self._reading

    def summary(self) -> str:
        """A log line: what the prefix cache has saved so far."""
        share = self.cached_tokens / max(self.prompt_tokens, 1)
        return f"vLLM: {self.prompt_tokens:,} prompt tokens, {share:.0%} of them from the prefix cache"

    def stopping(self) -> str:
        """A log line: what a pause does to the requests in flight."""
        requests = counted(self.in_flight, "request in flight is", "requests in flight are")
        return f"pausing: {requests} dropped, and sent again when the run resumes"

    def close(self) -> None:
        """Shut down the engine and free its memory. Idempotent. Requests in flight are dropped."""
        self._waiting.clear()
        if self._running is not None:
            self._running.close()
            self._running = None  # type: ignore[assignment]
        gc.collect()

    def _add(self, waiting: _Waiting, ids: Sequence[int], params: Any) -> None:
        from vllm.exceptions import VLLMClientError

        name = str(self._count)
        self._count += 1
        try:
            self._running.add(name, ids, params, self._adapter)
        except (VLLMClientError, ValueError) as error:
            self._failed.append((waiting.tag, _refused(waiting, error)))
            return
        self._waiting[name] = waiting

    def _step(self) -> list[tuple[str, Any]]:
        from vllm.exceptions import VLLMError

        try:
            if self._given_up:
                raise RuntimeError("it aborted its requests")
            ended = self._running.finished()
        except (VLLMError, RuntimeError) as error:
            why = self._running.died() or _first_line(error)
            raise BackendError(f"{self._path}: vLLM's engine has died ({why}). {LOWER}") from error
        good = [(name, result) for name, result in ended if not given_up(result)]
        self._given_up = len(good) < len(ended)
        return good

    def _read(self, waiting: _Waiting, result: Any) -> tuple[Any, Any]:
        if isinstance(result, Exception):
            return waiting.tag, _refused(waiting, result)
        self.prompt_tokens += waiting.tokens_in
        self.cached_tokens += result.num_cached_tokens or 0
        one = result.outputs[0]
        return waiting.tag, self._rating(one) if waiting.rating else self._reply(one, waiting)

    def _rating(self, one: Any) -> Rating:
        if not one.logprobs:
            return Rating(None, 0.0, f"vLLM gave no probabilities (finish reason {one.finish_reason})")
        known = one.logprobs[0]
        chances = [math.fsum(math.exp(known[id].logprob) for id in ids) for ids in self.digits()]
        if not all(map(math.isfinite, chances)):
            return Rating(None, 0.0, "the model's probabilities are not finite")
        return expected(chances)

    def _reply(self, one: Any, waiting: _Waiting) -> Generation:
        call: Call = waiting.tag
        if one.finish_reason not in ("stop", "length"):
            reason = f"vLLM aborted the request (finish reason {one.finish_reason})"
            return Generation("", "stop", waiting.tokens_in, 0, reason)
        ids = list(one.token_ids)
        end = next((i for i, token in enumerate(ids) if token in self._stops), None)
        said = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
        text, how = ended(said, call.ends, turn=end is not None)
        return Generation(call.begun + text, how, waiting.tokens_in, len(ids))


def load(
    path: str | Path,
    adapter: Path | None = None,
    *,
    settings: configs.VLLM | None = None,
    dtype: str = "auto",
    chat_template: str = "",
    quantization: str = "",
) -> Engine:
    """The model in folder ``path``, with the LoRA ``adapter`` on top when one is given.

    ``quantization`` is what ``settings`` say unless it is given.

    Raises:
        BackendError: vLLM is not installed, or does not start. ModelError: it cannot use the model or the adapter.
    """
    if roles.vllm_version() is None:
        raise BackendError(f"vLLM is not installed. Install it with `{roles.INSTALL}`.")
    how = settings or configs.VLLM()
    tokenizer = load_tokenizer(path, chat_template=chat_template)
    _prepare(how)
    args = _arguments(Path(path), adapter, how, dtype) | _given(quantization=quantization or how.quantization)
    try:
        running = _start(args, how.data_parallel)
    except (RuntimeError, ValueError, OSError, ImportError, KeyError) as error:
        raise BackendError(f"{path}: vLLM failed to start ({_first_line(error)}). {LOWER}") from error
    lora = None
    if adapter is not None:
        from vllm.lora.request import LoRARequest

        lora = LoRARequest(adapter.name, 1, str(adapter))
    return Engine(Path(path), lora, running, tokenizer, reply_ends(Path(path), tokenizer))


def _prepare(how: configs.VLLM) -> None:
    """Set environment variables that vLLM reads on import, unless they are already set."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # no usage statistics
    if not torch.cuda.is_available() and how.data_parallel == 1:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # a CPU has no GPU memory to share


def _arguments(path: Path, adapter: Path | None, how: configs.VLLM, dtype: str) -> dict[str, Any]:
    """vLLM's engine arguments. [vllm] in config.toml says what each setting does."""
    kind = torch_dtype(dtype, torch_device("auto"))
    return {
        "model": str(path),
        "dtype": str(kind).removeprefix("torch."),
        "tensor_parallel_size": how.tensor_parallel,
        "gpu_memory_utilization": how.gpu_memory_utilization,
        "max_model_len": how.max_model_len or -1,  # -1: as many as the memory holds, up to the model's own
        "enforce_eager": how.enforce_eager,
        "enable_prefix_caching": how.prefix_caching,
        "generation_config": "vllm",  # the model's own sampling settings would mix with what is asked for
        "trust_remote_code": False,
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": max(LEAST_LOGPROBS, 3 * len(DIGITS)),
        **_given(
            kv_cache_memory_bytes=round(how.kv_cache_gib * 2**30),
            max_num_seqs=how.max_num_seqs,
            block_size=how.block_size,
        ),
        **({} if adapter is None else {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank(adapter)}),
    }


def _given(**settings: Any) -> dict[str, Any]:
    """The arguments that are set; vLLM chooses the others."""
    return {name: value for name, value in settings.items() if value}


def _rank(adapter: Path) -> int:
    """The smallest max_lora_rank that fits the adapter.

    Raises:
        ModelError: its config cannot be read, or its rank is too large for vLLM.
    """
    file = adapter / "adapter_config.json"
    try:
        rank = int(json.loads(file.read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{file}: {error}. Rerun the round's train stage.") from error
    if holds_rows(adapter):
        raise ModelError(
            f"{file}: the adapter also trains embedding rows, which vLLM cannot load."
            ' Set the backend to "hf", or merge it with `middo-tui export-model … --merged`.'
        )
    room = next((size for size in LORA_RANKS if size >= rank), None)
    if room is None:
        raise ModelError(
            f"{file}: rank {rank}, but vLLM supports at most {LORA_RANKS[-1]}."
            ' Set [judge] backend = "hf", or lower [train] lora_r.'
        )
    return room


def _start(args: dict[str, Any], copies: int) -> Running:
    if copies == 1:
        return OneCopy(args)
    from engine.backends.vllm_copies import Copies

    return Copies(args | {"data_parallel_size": copies})


def _refused(waiting: _Waiting, error: Exception) -> Rating | Generation:
    reason = f"vLLM rejected the request: {_first_line(error)}"
    return Rating(None, 0.0, reason) if waiting.rating else Generation("", "stop", 0, 0, reason, final=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
