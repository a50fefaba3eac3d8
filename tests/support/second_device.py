"""A second device without a GPU: tensors on the CPU that say they lie on ``cuda:0``, and refuse a mix as a GPU would.

What is made for that device, moved to it or computed there is remembered by its storage, so views and parameters
follow. Every operation that torch runs is looked at, those of a backward pass too: the numbers are the CPU's, but one
that gets tensors of both devices fails with torch's own words. As in torch, a number without dimensions may come from
the CPU, and so may the indices of ``x[i]`` and what is copied. Only the thread that entered it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
COPIES = {"copy_", "_to_copy", "to", "_copy_from", "set_", "set_data", "item", "_local_scalar_dense"}
"""Operations that may have tensors of both devices."""
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operations whose indices may lie on the CPU."""
Function = Callable[..., Any]
SAYS: dict[Function, Callable[[torch.device], object]] = {
    torch.Tensor.device.__get__: lambda device: device,
    torch.Tensor.is_cuda.__get__: lambda device: device.type == "cuda",  # type: ignore[attr-defined]
    torch.Tensor.is_cpu.__get__: lambda device: device.type == "cpu",  # type: ignore[attr-defined]
    torch.Tensor.get_device: lambda device: device.index if device.type == "cuda" else -1,
}
"""What a tensor says of its device."""
TO_NUMPY: set[Function] = {torch.Tensor.numpy, torch.Tensor.__array__}
FREE = 1 << 34
"""Bytes of memory that the second device says it has."""


class Ledger:
    """Which tensors lie on the second device."""

    def __init__(self) -> None:
        self.there: dict[int, StorageWeakRef] = {}
        self.around = [CPU]
        """Where what is made without naming a device lies, innermost call last."""

    def device(self, tensor: torch.Tensor) -> torch.device:
        """Where ``tensor`` lies."""
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return tensor.device
        return CUDA if tensor.untyped_storage()._cdata in self.there else CPU

    def place(self, tensor: torch.Tensor, device: torch.device) -> None:
        """Say that ``tensor`` and all that shares its memory lie on ``device``."""
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        if device.type == "cpu":
            self.there.pop(storage._cdata, None)
        elif storage._cdata not in self.there:
            self.there[storage._cdata] = StorageWeakRef(storage)  # which keeps the address from being used again
            if len(self.there) % 4096 == 0:
                self.there = {at: ref for at, ref in self.there.items() if not ref.expired()}

    def common(self, name: str, tensors: Sequence[torch.Tensor]) -> torch.device | None:
        """Where these tensors lie, but for numbers from the CPU.

        Raises:
            RuntimeError: on more than one device.
        """
        found = {self.device(one) for one in tensors if one.dim() or self.device(one) != CPU}
        if len(found) > 1:
            names = " and ".join(sorted(map(str, found)))
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {names}! ({name})"
            )
        return found.pop() if found else (CPU if tensors else None)


def tensors_in(*trees: object) -> list[torch.Tensor]:
    """All tensors among arguments."""
    return [one for one in tree_leaves(trees) if isinstance(one, torch.Tensor)]


class Operations(TorchDispatchMode):
    """Looks at each operation: its tensors lie on one device, and so does what comes out."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.ledger = ledger

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``func``."""
        name = func._schema.name.partition("::")[2]
        if name in COPIES:
            given = tensors_in(args)[:1]
            device = self.ledger.device(given[0]) if given else None
        else:
            looked = (args[0], *args[2:]) if name in INDEXED else args
            device = self.ledger.common(name, tensors_in(looked, kwargs))
            if name in INDEXED and device == CPU:
                device = self.ledger.common(name, tensors_in(args))
        out = func(*args, **(kwargs or {}))
        where = self.ledger.around[-1] if device is None else device
        if where != CPU:
            for one in tensors_in(out):
                self.ledger.place(one, where)
        return out


class Move(torch.autograd.Function):
    """A copy on the other device, whose gradient goes back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, ledger: Ledger, device: torch.device) -> torch.Tensor:
        """Copy."""
        ctx.ledger, ctx.device = ledger, ledger.device(tensor)
        return moved(tensor, ledger, device)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Copy back."""
        return moved(gradients[0], ctx.ledger, ctx.device), None, None


def moved(tensor: torch.Tensor, ledger: Ledger, device: torch.device) -> torch.Tensor:
    """A copy of ``tensor`` on ``device``."""
    out = tensor.detach().clone()
    ledger.place(out, device)
    return out


class Calls(TorchFunctionMode):
    """Looks at each call from Python: the device that it names is remembered, and torch gets to see the CPU."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(
        self, func: Function, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``."""
        named = dict(kwargs or {})
        if func in SAYS:
            return SAYS[func](self.ledger.device(args[0]))
        if func in TO_NUMPY and self.ledger.device(args[0]) != CPU:
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy."
                " Use Tensor.cpu() to copy the tensor to host memory first."
            )
        if func is torch.Tensor.backward:
            with self.at(CUDA), self:  # what it calls back is looked at as well
                return torch.autograd.backward(args[0], named.pop("gradient", None), **named)
        if func in (torch.Tensor.cpu, torch.Tensor.cuda):
            func, args, named = torch.Tensor.to, (args[0], CPU if func is torch.Tensor.cpu else CUDA), {}
        asked, args, named = _asked(self.ledger, func, args, named)
        if asked is not None and func is torch.Tensor.to:
            args = (self._moved(args[0], asked), *args[1:])
        around = asked or next((CUDA for one in tensors_in(args, named) if self.ledger.device(one) == CUDA), CPU)
        with self.at(around):
            out = func(*args, **named)
        return out if asked is None else tree_map(lambda one: self._made(one, asked, tensors_in(args)), out)

    @contextmanager
    def at(self, device: torch.device) -> Iterator[None]:
        """What is made without naming a device lies on ``device``."""
        self.ledger.around.append(device)
        try:
            yield
        finally:
            self.ledger.around.pop()

    def _moved(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """``tensor``, or a copy of it on ``device``."""
        if self.ledger.device(tensor) == device or tensor.device.type != "cpu":
            return tensor
        if tensor.requires_grad and torch.is_grad_enabled():
            return Move.apply(tensor, self.ledger, device)  # type: ignore[no-untyped-call, no-any-return]
        return moved(tensor, self.ledger, device)

    def _made(self, one: Any, device: torch.device, given: Sequence[torch.Tensor]) -> Any:
        """What a call has made for ``device``; a copy where it is what it was given."""
        if not isinstance(one, torch.Tensor):
            return one
        if any(one.data_ptr() == other.data_ptr() for other in given):
            return self._moved(one, device)
        self.ledger.place(one, device)
        return one


def _asked(
    ledger: Ledger, func: Function, args: Sequence[Any], named: dict[str, Any]
) -> tuple[torch.device | None, Sequence[Any], dict[str, Any]]:
    """The device that a call names, if any, and its arguments with the CPU in place of the second device."""
    asked: torch.device | None = None

    def read(value: Any) -> Any:
        nonlocal asked
        if isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"):
            value = torch.device(value)
        if isinstance(value, torch.device) and value.type in ("cuda", "cpu"):
            asked = CUDA if value.type == "cuda" else CPU
            return CPU
        return value

    if named.get("device") is not None:
        named["device"] = read(named["device"])
    if func is torch.Tensor.to and len(args) > 1:
        if isinstance(args[1], torch.Tensor):
            asked = ledger.device(args[1])
        else:
            args = (args[0], read(args[1]), *args[2:])
    return asked, args, named


@contextmanager
def second_device() -> Iterator[Ledger]:
    """Within it, ``cuda:0`` is the second device."""
    ledger = Ledger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "set_device", lambda device: None)
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: "second device")
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (FREE, FREE))
        with Operations(ledger), Calls(ledger):
            yield ledger
