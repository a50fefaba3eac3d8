"""``middo-tui join``: this machine works for a run on another one."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType

import click

from engine.errors import UsageError
from middo_tui.terminal.console import say

INTERRUPTED = 130
WAIT_S = 600.0


def address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``.

    Raises:
        UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{text}: not HOST:PORT. It is [launch] rendezvous of the first machine, e.g. 10.0.0.1:29400.")
    return host, int(port)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.argument("rendezvous", metavar="HOST:PORT")
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="The model's folder, where it is not at the same path as on the first machine.",
)
@click.option(
    "--token-env",
    default="MIDDO_JOIN_TOKEN",
    show_default=True,
    metavar="NAME",
    help="The environment variable with the token that every machine must know.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for a first machine that is not up yet.",
)
@click.option("--stay", is_flag=True, help="When a run has ended, wait for the next one, until Ctrl-C.")
def join(rendezvous: str, model: Path | None, token_env: str, wait_s: float, stay: bool) -> None:
    """Work for a run on another machine.

    There, [launch] in config.toml says nodes = 2 or more and where it waits. Needed here: the same release of
    middo-tui, the model, and the token. No project: samples and checkpoints come over the network. Ends with the run.
    """
    from engine.runtime.joining import Joining, Where

    host, port = address(rendezvous)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _stop)
    try:
        code = Joining(Where(host, port, token_env, model), partial(say, wrap=True)).run(wait_s, stay)
    except KeyboardInterrupt:
        say("\nleft the run")
        code = INTERRUPTED
    sys.exit(code)
