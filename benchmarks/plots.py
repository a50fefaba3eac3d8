"""A benchmark's plot beside its page, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def saved(document: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> None:
    """Draw a figure of ``size`` inches and write it as .svg and .png beside the page; the same figures, the same file.

    Without matplotlib there is no plot, and a line says so: the page's table has all figures.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        print("No plot: matplotlib is not installed (pip install -e '.[plots]').")
        return
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = document.stem
    figure = plt.figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(document.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(document.with_suffix(".png"), dpi=110)
    plt.close(figure)
