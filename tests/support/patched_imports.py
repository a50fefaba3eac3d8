"""Changes modules of a child process as it imports them: for a sitecustomize, which may import nothing large itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Patches = dict[str, Callable[[ModuleType], None]]
"""By the name of a module: what is done to it once it has run. Each is used once, and taken out."""


class _Finder:
    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if (patch := self._patches.pop(name, None)) is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def patched(module: ModuleType) -> None:
            run(module)
            patch(module)

        spec.loader.exec_module = patched  # type: ignore[method-assign]
        return spec


def patch_on_import(patches: Patches) -> None:
    """From now on."""
    sys.meta_path.insert(0, _Finder(patches))
