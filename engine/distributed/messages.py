"""Authenticated messages between the processes of a launch: only what one of them wrote is unpickled.

Unpickling can run arbitrary code, and the bytes may have come over a network. So a header of fixed size, which holds
the length, precedes every message, and both carry an HMAC-SHA256 with a key that only this launch knows. The HMAC
covers sender and sequence number as well, so a dropped, repeated or reflected message fails the check.

torch's ``broadcast_object_list`` and ``gather_object`` unpickle without any check.
"""

from __future__ import annotations

import copyreg
import hashlib
import hmac
import io
import pickle
import struct
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import msgspec
import torch
from torch import distributed

from engine.config.named_templates import TEMPLATES, template_text
from engine.config.schema import Model
from engine.distributed import shared_paths
from engine.distributed.world import World
from engine.errors import StageError

HEAD = struct.Struct("!Q")
"""The header: the length of the body, in bytes."""
MAC = hashlib.sha256().digest_size
FIRST = 0
"""The rank that gives orders."""


class Messages:
    """Sends and receives. Every process has one, and all take part in the same messages in the same order.

    Args:
        group: a gloo process group of all ranks.
    """

    def __init__(self, world: World, rank: int, group: Any) -> None:
        self._key = world.secret("messages")
        self._host = world.host
        self._rank = rank
        self._size = world.size
        self._group = group
        self._count = 0

    def order(self, what: object) -> None:
        """Rank 0: send ``what`` to all others."""
        self._count += 1
        for part in self._signed(FIRST, encode(what)):
            distributed.broadcast(part, FIRST, group=self._group)

    def hear(self) -> Any:
        """Other ranks: the next order.

        Raises:
            StageError: rank 0 did not write it.
        """
        self._count += 1
        head = torch.empty(HEAD.size + MAC, dtype=torch.uint8)
        distributed.broadcast(head, FIRST, group=self._group)
        body = torch.empty(self._length(FIRST, head) + MAC, dtype=torch.uint8)
        distributed.broadcast(body, FIRST, group=self._group)
        return decode(self._opened(FIRST, b"body", body))

    def answer(self, what: object) -> None:
        """Other ranks: send ``what`` to rank 0."""
        self._count += 1
        for part in self._signed(self._rank, encode(what)):
            distributed.send(part, FIRST, group=self._group)

    def answers(self, mine: object) -> list[Any]:
        """Rank 0: its own answer and those of all others, by rank.

        Raises:
            StageError: one of them was not written by its rank.
        """
        self._count += 1
        found = [mine]
        for rank in range(1, self._size):
            head = torch.empty(HEAD.size + MAC, dtype=torch.uint8)
            distributed.recv(head, rank, group=self._group)
            body = torch.empty(self._length(rank, head) + MAC, dtype=torch.uint8)
            distributed.recv(body, rank, group=self._group)
            found.append(decode(self._opened(rank, b"body", body)))
        return found

    def _signed(self, sender: int, body: bytes) -> list[torch.Tensor]:
        """Header and body with their HMACs, as uint8 tensors."""
        head = HEAD.pack(len(body))
        parts = (bytearray(head + self._mac(sender, b"head", head)), bytearray(body + self._mac(sender, b"body", body)))
        return [torch.frombuffer(part, dtype=torch.uint8) for part in parts]

    def _length(self, sender: int, head: torch.Tensor) -> int:
        """The length of the body that follows ``head``."""
        length: int = HEAD.unpack(self._opened(sender, b"head", head))[0]
        return length

    def _opened(self, sender: int, part: bytes, signed: torch.Tensor) -> memoryview:
        """The bytes without their HMAC.

        Raises:
            StageError: the HMAC is wrong.
        """
        said = memoryview(signed.numpy().data)
        text, mac = said[:-MAC], said[-MAC:]
        if not hmac.compare_digest(mac, self._mac(sender, part, text)):
            raise StageError(
                f"a message of rank {sender} does not bear this launch's signature, so somebody else writes to"
                f" {self._host}. It was discarded. Use a network that strangers cannot reach, then run again."
            )
        return text

    def _mac(self, sender: int, part: bytes, text: bytes | memoryview) -> bytes:
        made = hmac.new(self._key, b"%s %d %d " % (part, sender, self._count), hashlib.sha256)
        made.update(text)
        return made.digest()


class _Pickler(pickle.Pickler):
    """Writes paths so that they hold on the receiving machine (``engine.distributed.shared_paths``)."""

    dispatch_table = copyreg.dispatch_table.copy()


def _of_path(path: PurePath) -> tuple[Any, ...]:
    return shared_paths.here, shared_paths.named(path)


def _of_model(model: Model) -> tuple[Any, ...]:
    own = bool(model.chat_template) and model.chat_template not in TEMPLATES
    text = template_text(model.chat_template) if own else None
    return shared_paths.with_template, (msgspec.structs.asdict(model), text)


_Pickler.dispatch_table[Model] = _of_model
_Pickler.dispatch_table.update(dict.fromkeys((type(Path()), PurePosixPath, PureWindowsPath), _of_path))


def encode(what: object) -> bytes:
    """``what`` pickled, with paths that hold on every machine of the launch."""
    out = io.BytesIO()
    _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(what)
    return out.getvalue()


def decode(text: bytes | memoryview) -> Any:
    """The inverse of ``encode``. Only for bytes whose HMAC was checked."""
    return pickle.loads(text)  # noqa: S301 - its HMAC was right
