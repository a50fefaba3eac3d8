"""A real HTTP server on this machine that loads LoRA adapters while it runs and answers with a real model's
probabilities, as vLLM's does: the same paths, bodies, statuses and words. It can be told to lack what some lack.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from copy import deepcopy
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.chat_server import Server

RAISED = "Call to add_lora method failed: Worker failed with error '{}', please check the stack trace above"


class AdapterServer(Server):
    """Serves the model in folder ``base`` as ``base``.

    dynamic: whether adapters can be loaded while it runs. enabled: whether it takes any. rank: the largest that it
    takes. log: the names that were loaded and unloaded, in order. told: what it makes of a token's log-probability.
    garbled: its list of models is none.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.dynamic = self.enabled = True
        self.rank = 16
        self.adapters: dict[str, str] = {}
        self.log: list[str] = []
        self.told: Callable[[float], float] = lambda logprob: logprob
        self.positions: Any = 512
        self.garbled = False
        self._base = self._read(base)
        self._models: dict[str, Any] = {}
        self._busy = threading.Lock()
        super().__init__()

    @staticmethod
    def _read(folder: Path) -> Any:
        """The model in ``folder``. Not in a server's thread: while it reads one, transformers takes functions out of
        its classes, and of two that do so at once the later puts back what it found, which is nothing.
        """
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers the requests."""
        return _handler(self)

    def refusal(self, path: str, body: dict[str, Any]) -> tuple[int, str] | None:
        """Status and message with which an adapter is not loaded."""
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters:
            return 400, f"The lora adapter '{name}' has already been loaded."
        if not self.enabled:
            return 500, RAISED.format("LoRA is not enabled. Use --enable-lora to enable LoRA.")
        if not folder.is_dir():
            return 404, f"Loading lora {name} failed: No adapter found for <path>"
        if (rank := json.loads((folder / "adapter_config.json").read_text())["r"]) > self.rank:
            return 500, RAISED.format(f"LoRA rank {rank} is greater than max_lora_rank {self.rank}.")
        return None

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request for one token."""
        with self._busy:
            return self._complete(body)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = [self._choice(place, ids, body) for place, ids in enumerate(body["prompt"])]
        size = sum(map(len, body["prompt"]))
        usage = {"prompt_tokens": size, "completion_tokens": 1, "total_tokens": size + 1}
        facts = {"id": "x", "object": "text_completion", "created": 0, "model": body["model"]}
        return {**facts, "choices": choices[::-1], "usage": usage}  # as they are done, in no order

    def _choice(self, place: int, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            chances = torch.log_softmax(self._model(self.adapters[body["model"]])(torch.tensor([ids])).logits[0], -1)
        first = int(chances[-1].argmax())
        choice: dict[str, Any] = {"index": place, "text": "x", "finish_reason": "length", "logprobs": None}
        if "prompt_logprobs" in body:
            places = [
                {str(id): {"logprob": self.told(float(row[id]))}} for row, id in zip(chances, ids[1:], strict=False)
            ]
            choice["prompt_logprobs"] = [None, *places]
        if "logprob_token_ids" in body:
            wanted = {first, *body["logprob_token_ids"]}
            top = {f"token_id:{id}": self.told(float(chances[-1][id])) for id in wanted}
            choice["logprobs"] = {"tokens": [f"token_id:{first}"], "token_logprobs": [0.0], "top_logprobs": [top]}
        return choice

    def _model(self, adapter: str) -> Any:
        """The base under an adapter, read from its folder."""
        from peft import PeftModel

        if adapter not in self._models:
            self._models[adapter] = PeftModel.from_pretrained(deepcopy(self._base), adapter).eval()
        return self._models[adapter]


def _handler(server: AdapterServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

        def do_GET(self) -> None:
            if server.garbled:
                self._send(200, {"object": "list", "data": [{"id": 7}, None]})
                return
            base = {"id": "base", "object": "model", "created": 0, "owned_by": "vllm", "root": str(server.base)}
            own = {**base, "parent": None, "max_model_len": server.positions}
            more = [
                {**base, "id": name, "root": path, "parent": "base", "max_model_len": None}
                for name, path in server.adapters.items()
            ]
            self._send(200, {"object": "list", "data": [own, *more]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
                self._error(401, "Unauthorized")
            elif self.path == "/v1/completions":
                self._complete(body)
            elif not server.dynamic or self.path not in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
                self._send(404, {"detail": "Not Found"})
            elif self.path == "/v1/load_lora_adapter":
                if (refused := server.refusal(self.path, body)) is not None:
                    self._error(*refused)
                    return
                server.adapters[body["lora_name"]] = body["lora_path"]
                server.log.append(f"+{body['lora_name']}")
                self._text(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")
            elif server.adapters.pop(body["lora_name"], None) is None:
                self._error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
            else:
                server.log.append(f"-{body['lora_name']}")
                self._text(f"Success: LoRA adapter '{body['lora_name']}' removed successfully.")

        def _complete(self, body: dict[str, Any]) -> None:
            if body["model"] not in server.adapters:
                self._error(404, f"The model `{body['model']}` does not exist.")
                return
            server.came(body["model"], body)
            try:
                self._send(200, server.complete(body))
            finally:
                server.went()

        def _error(self, status: int, message: str) -> None:
            self._send(status, {"error": {"message": message, "type": "x", "param": None, "code": status}})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            self._raw(status, json.dumps(body).encode(), "application/json")

        def _text(self, text: str) -> None:
            self._raw(200, text.encode(), "text/plain")

        def _raw(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
