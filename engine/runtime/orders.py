"""What the worker and its prepared process say to each other."""

from __future__ import annotations

import msgspec

MOST_BYTES = 1 << 16


class ForkOrder(msgspec.Struct, frozen=True):
    """Fork for this group of stages.

    ``argv``: as ``run_stage``'s, without the death pipe. ``imports``, ``unused``: as ``imports.load``'s.
    """

    argv: list[str]
    imports: list[str]
    unused: list[str]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``pid``: of the fork, which waits for a byte. ``code``: how it ended, negative for a signal. ``refused``: why
    there is none.
    """

    pid: int | None = None
    code: int | None = None
    refused: str | None = None
