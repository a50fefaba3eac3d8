"""The messages between the worker and its prepared process."""

from __future__ import annotations

import msgspec

MOST_BYTES = 1 << 16


class ForkOrder(msgspec.Struct, frozen=True):
    """Fork for this group of stages.

    ``argv``: of ``run_stage``, without the death pipe. ``imports``, ``unused``: the arguments of ``imports.load``.
    """

    argv: list[str]
    imports: list[str]
    unused: list[str]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``pid``: of the fork, which waits for a byte. ``code``: the exit code of a fork that ended, negative for a
    signal. ``refused``: why there is no fork.
    """

    pid: int | None = None
    code: int | None = None
    refused: str | None = None
