"""``middo-tui --version``: the program's version and those of the libraries that it runs on. Imports none of them."""

from __future__ import annotations

import platform
from collections.abc import Callable

import click

from middo_tui.terminal.console import say

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm-eval", "textual")
EXTRAS = ("vllm", "bitsandbytes", "liger-kernel", "deepspeed")
NONE = "not installed"


def show(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    """The callback of ``--version``: print all versions, then exit."""
    if wanted and not ctx.resilient_parsing:
        say(text())
        ctx.exit()


def text(installed: Callable[[str], str] | None = None) -> str:
    """One line for the program and one for each library. ``installed``: as ``importlib.metadata.version``, and that by
    default.
    """
    from importlib import metadata  # its imports are no other command's

    installed = installed or metadata.version
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    names = (*LIBRARIES, *EXTRAS)
    wide = max(map(len, names))
    lines = [f"middo-tui {_version('middo-tui', installed)} ({python})"]
    return "\n".join([*lines, *(f"  {name:<{wide}}  {_version(name, installed)}" for name in names)])


def _version(name: str, installed: Callable[[str], str]) -> str:
    from importlib.metadata import PackageNotFoundError

    if name == "vllm":
        from engine.backends import roles  # its distribution has two names

        return roles.vllm_version() or NONE
    try:
        return installed(name)
    except PackageNotFoundError:
        return NONE
