"""The last training step as label and value: values right-aligned under each other."""

from __future__ import annotations

from middo_tui.feed.view import Training
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, justified


def training_facts(training: Training | None, width: int) -> list[Line]:
    """Loss, tokens per second, learning rate, epoch and gradient norm; only what is known."""
    if training is None:
        return []
    rate = training.learning_rate
    rows = (
        ("loss", None if training.loss is None else f"{training.loss:.4f}"),
        ("tok/s", None if training.tokens_per_s is None else f"{training.tokens_per_s:,.0f}"),
        ("lr", None if rate is None else f"{rate:.2e}"),
        ("epoch", f"{training.epoch:.2f} / {number_format.short(training.epochs)}"),
        ("grad", None if training.grad_norm is None else f"{training.grad_norm:.3f}"),
    )
    return [justified((Run(label, "dim"),), (Run(value),), width) for label, value in rows if value is not None]


class TrainingFacts(Lines[Training | None]):
    """``training_facts`` as a widget."""

    DEFAULT_CSS = """
    TrainingFacts { height: auto; }
    """

    def draw(self, data: Training | None, width: int, height: int) -> list[Line]:
        """A row per fact."""
        return training_facts(data, width)
