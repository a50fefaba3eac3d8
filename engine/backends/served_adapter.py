"""A LoRA adapter on a vLLM server that loads and unloads adapters while it runs.

The server reads the adapter's files itself, so it must see the project's folder, at the same path or at the one that
[judge] adapter_root names. The adapter's name is made of the project's location, the round and the weights, so it never
refers to another project's adapter or to other weights, not even in the server's prefix cache.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import openai

from engine.backends.chat import Chat
from engine.backends.openai import UNREADABLE
from engine.errors import EndpointError, ModelError
from engine.models import locate
from engine.models.locate import ModelRef

UNLOAD_S = 10.0
MOST_SHOWN = 100
"""Maximum characters shown of a model's name as a server reports it."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's --max-lora-rank accepts."""
GONE = (*UNREADABLE, TypeError, AttributeError, TimeoutError)
FLAGS = "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter as it is described to a server.

    ``owner``: the prefix of the names of all adapters of its project. ``path``: its folder as the server sees it.
    ``rank``: the largest rank of its layers.
    """

    name: str
    owner: str
    path: str
    rank: int


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that a server lists. ``parent``: an adapter's base model; None for a base model.
    ``positions``: the context length in tokens; None: not reported.
    """

    name: str
    parent: str | None
    root: str
    positions: int | None


def served(project: Path, round: int, model: ModelRef, root: str) -> ServedAdapter:
    """The adapter of ``round``. ``root``: the project's folder as servers see it; "": at the same path.

    Raises:
        ModelError: ``model`` has no adapter that vLLM could load.
    """
    if model.adapter is None:
        raise ModelError(
            f'{model.base}: the round\'s model is no LoRA adapter, but [judge] backend = "server" needs one.'
            ' Set [train] method = "lora" and train again, or set [judge] backend = "hf" or "vllm".'
        )
    if locate.holds_rows(model.adapter):
        raise ModelError(
            f"{model.adapter}: the adapter also trains embedding rows, which vLLM cannot load."
            ' Set [judge] backend = "hf".'
        )
    owner = owner_of(project)
    name = f"{owner}r{round}-{locate.fingerprint(model)}"
    return ServedAdapter(name, owner, seen_path(model.adapter, project, root), _rank(model.adapter))


def owner_of(project: Path) -> str:
    """The prefix of the names of a project's adapters. Two copies of a project differ by host and path."""
    where = f"{socket.gethostname()}:{project.resolve()}"
    return f"middo-{blake2b(where.encode('utf-8', 'surrogateescape'), digest_size=6).hexdigest()}-"


def seen_path(folder: Path, project: Path, root: str) -> str:
    """The path of ``folder``, which lies in the project, as servers see it."""
    if not root:
        return str(folder.resolve())
    return str(PurePosixPath(root) / folder.resolve().relative_to(project.resolve()).as_posix())


def _rank(adapter: Path) -> int:
    file = adapter / "adapter_config.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return max(int(told["r"]), *(int(rank) for rank in (told.get("rank_pattern") or {}).values()), 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: {error}. Rerun the round's train stage.") from error


async def load(chat: Chat, adapter: ServedAdapter) -> int | None:
    """Have a server load ``adapter`` unless it has it, and unload other adapters of the same project.

    Returns the smallest context length that the server reports, in tokens; None: it reports none.

    Raises:
        EndpointError: the server did not load it; says why.
    """
    offered = await listed(chat)
    old = [one for one in offered if one.parent is not None and one.name.startswith(adapter.owner)]
    there = [one for one in old if one.name == adapter.name and one.root == adapter.path]
    for one in old:
        if one not in there and (said := await unload(chat, one.name)):
            chat.notes.append(said)
    if not there:
        try:
            async with asyncio.timeout(chat.timeout_s):
                await _post(chat, "/load_lora_adapter", {"lora_name": adapter.name, "lora_path": adapter.path})
        except (openai.APIError, TimeoutError, *GONE) as error:
            raise _refusal(chat, adapter, error) from None
    return min((one.positions for one in offered if one.positions), default=None)


async def unload(chat: Chat, name: str) -> str:
    """Have a server unload an adapter if it has it. Returns why the adapter may still be loaded; "": it is not."""
    try:
        async with asyncio.timeout(UNLOAD_S):
            await _post(chat, "/unload_lora_adapter", {"lora_name": name})
    except openai.NotFoundError:
        return ""
    except (openai.APIError, TimeoutError, *GONE) as error:
        return f"{chat.url}: the adapter {name} may still be loaded ({chat.why(error)})"
    return ""


async def listed(chat: Chat) -> list[OfferedModel]:
    """The models that a server lists. The reply is checked, as servers are not trusted.

    Raises:
        EndpointError: the server cannot be reached, refuses, or returns no list of models.
    """
    try:
        async with asyncio.timeout(chat.timeout_s):
            return [_offered(model.id, model.model_extra or {}) async for model in chat.client.models.list()]
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise EndpointError(chat.fatal(error), error.status_code) from None
    except openai.APIStatusError as error:
        raise EndpointError(
            f"{chat.url}: answered {error.status_code} to the request for its models."
            " Check [judge] url, which usually ends in /v1.",
            error.status_code,
        ) from None
    except (openai.APIConnectionError, TimeoutError) as error:
        raise EndpointError(f"{chat.url}: {chat.why(error)}. Check that the server is running.", 0) from None
    except GONE:
        raise EndpointError(f"{chat.url}: did not return a list of models.", 200) from None


def _offered(name: Any, more: dict[str, Any]) -> OfferedModel:
    parent, root, positions = more.get("parent"), more.get("root"), more.get("max_model_len")
    if not isinstance(name, str):
        raise TypeError("a model without a name")
    return OfferedModel(
        name,
        parent if isinstance(parent, str) else None,
        root if isinstance(root, str) else "",
        positions if isinstance(positions, int) and positions > 1 else None,
    )


async def _post(chat: Chat, path: str, body: dict[str, str]) -> None:
    await chat.client.post(path, cast_to=str, body=body)


def _refusal(chat: Chat, adapter: ServedAdapter, error: BaseException) -> EndpointError:
    """Why a server did not load ``adapter``, and the fix."""
    status = getattr(error, "status_code", 0)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return EndpointError(chat.fatal(error), status)
    said = chat.why(error)
    if status in (404, 405, 501) and "adapter" not in said:
        return EndpointError(f"{chat.url}: loads no adapters while it runs. Start vLLM with {FLAGS}.", status)
    return EndpointError(f"{chat.url}: {_reason(said, adapter)}", status)


def _reason(said: str, adapter: ServedAdapter) -> str:
    if "LoRA is not enabled" in said:
        return f"takes no adapters. Start vLLM with {FLAGS}."
    if "max_lora_rank" in said:
        room = next((size for size in RANKS if size >= adapter.rank), None)
        start = f"Start vLLM with --max-lora-rank {room}, or lower [train] lora_r." if room else "Lower [train] lora_r."
        return f"the adapter has rank {adapter.rank}, which is more than this server allows. {start}"
    if any(word in said for word in ("No adapter found", "No such file", "Permission denied")):
        return (
            f"cannot read {adapter.path}. Share the project's folder with the server's machine and user; if it lies"
            " under another path there, set [judge] adapter_root to that."
        )
    return f"did not load the adapter ({said}). Check that it serves the base model that [model] names."


def bases(offered: Iterable[OfferedModel]) -> str:
    """The names of the first three base models among ``offered``, as text."""
    names = [one.name[:MOST_SHOWN] for one in offered if one.parent is None]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
