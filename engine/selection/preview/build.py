"""Prepares a round for ``engine.selection.preview.counts``: everything that needs numpy, in a process of its own.

``python -m engine.selection.preview.build round PROJECT ROUND BELIEVED OUT`` and ``python -m
engine.selection.preview.build mixture GIVEN IN OUT`` write to file descriptors that the caller has opened. An array
library and a round's arrays would stay in the app's memory as long as it lives (80 MB at half a million samples); here
they go with the process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from msgspec.structs import asdict
from numpy.typing import NDArray

from engine.config import schema as configs
from engine.errors import MiddoError, StoreError
from engine.files import mapped_file
from engine.files.mapped_file import Sections
from engine.selection import choose
from engine.selection.choose import Earlier, Signal
from engine.selection.preview.build_process import FORM, Given
from engine.selection.preview.round_arrays import Round, read_round
from engine.signals.nearest import Bools, Floats
from engine.store.rows import AXES, Threshold
from engine.teacher import forecast

Parts = dict[str, bytes]
Numbers = NDArray[np.int64]

# Of the Roaring bitmaps' portable format: its first word, samples per part, and the longest list.
ROARING, PART, LISTED = 12346, 1 << 16, 4096


def prepare(data: Round, believed: bool, asked: str, out: BinaryIO) -> None:
    """Write all that the preview of a round needs of its signals.

    Args:
        believed: with the quality axis. asked: what requests depend on (``engine.teacher.forecast.asked_with``).
    """
    ids = np.asarray(data.ids, dtype=np.int64)
    by_id = np.argsort(ids, kind="stable")
    parts: Parts = {"ids": ids.tobytes(), "sorted ids": ids[by_id].tobytes()}
    parts["order ids"] = by_id.astype(np.int32).tobytes()
    plain: dict[str, Threshold] = {}
    for s in choose.SIGNALS:
        if (mark := choose.sigma_cut(s, data.values[s.name], 0.0, Earlier({}), data.round)) is not None:
            plain[s.name] = mark
        _column(s, data.values[s.name], parts)
    for name, tokens in zip(("prompt", "response"), data.tokens, strict=True):
        parts |= _planes(name, np.asarray(tokens, dtype=np.int64))
    if data.unwritable is not None:
        parts["unwritable"] = members(data.unwritable)
    parts |= _ranked(data.values, plain)
    head = {
        "form": FORM,
        "round": data.round,
        "size": len(ids),
        "believed": believed,
        "plain": {name: asdict(mark) for name, mark in plain.items()},
        "requests": data.requests,
        "asked": asked,
    }
    mapped_file.write(out, head, parts)


def mixtures(prepared: Sections, given: Given, out: BinaryIO) -> None:
    """Write where the mixture rule cuts a prepared round, and who is worst by it."""
    earlier = Earlier({}, given.frozen)
    size = prepared.head["size"]
    values: dict[str, Floats] = {}
    marks: dict[str, Threshold] = {}
    for s in choose.SIGNALS:
        ordered = np.frombuffer(prepared.part(f"sorted {s.name}"), dtype=np.float64)
        values[s.name] = np.full(size, np.nan)
        values[s.name][np.frombuffer(prepared.part(f"order {s.name}"), dtype=np.int32)] = ordered
        if s.name in given.plain:
            marks[s.name] = choose.mixture_cut(s, ordered, given.plain[s.name], earlier)
    mapped_file.write(out, {"marks": {name: asdict(mark) for name, mark in marks.items()}}, _ranked(values, marks))


def _column(s: Signal, values: Floats, parts: Parts) -> None:
    """One signal: its known values sorted, whose they are, and everybody's place among them (-1: no value)."""
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    place = np.full(len(values), -1, dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    parts[f"sorted {s.name}"] = np.asarray(values[order], dtype=np.float64).tobytes()
    parts[f"order {s.name}"] = order.astype(np.int32).tobytes()
    parts[f"place {s.name}"] = place.tobytes()
    parts[f"known {s.name}"] = members(place >= 0)
    parts |= _planes(f"place {s.name}", np.maximum(place, 0).astype(np.int64))


def _ranked(values: choose.Values, marks: Mapping[str, Threshold]) -> Parts:
    """Everybody's place on every axis, the worst of all first: what a cap goes by."""
    ranks = choose.ranked(choose.badness(values, marks))
    planes = max(1, (3 * len(ranks[AXES[0]])).bit_length())
    parts: Parts = {}
    for axis in AXES:
        parts |= _planes(f"rank {axis}", ranks[axis].astype(np.int64), planes)
    return parts


def _planes(name: str, numbers: Numbers, planes: int = 0) -> Parts:
    """The bit planes of ``numbers`` (see ``engine.selection.preview.bitplanes``), the lowest first."""
    planes = planes or max(1, int(numbers.max(initial=0)).bit_length())
    return {f"plane {at} {name}": members((numbers >> at & 1) == 0) for at in range(planes)}


def members(mask: Bools) -> bytes:
    """The samples of a set, as ``engine.selection.preview.sorted_signal.members`` reads them: the portable format of
    Roaring bitmaps, written here because packing bits is ten times as fast as adding half of all samples to a bitmap
    one by one.

    Samples are split by their upper 16 bits; the lower ones of a part are a list, or 65,536 bits where that is shorter.
    """
    parts = np.zeros((-(-len(mask) // PART), PART), dtype=np.bool_)
    parts.reshape(-1)[: len(mask)] = mask
    sizes = parts.sum(axis=1)
    keys = np.flatnonzero(sizes)
    held = [
        np.packbits(part, bitorder="little").tobytes()
        if size > LISTED
        else np.flatnonzero(part).astype("<u2").tobytes()
        for part, size in zip(parts[keys], sizes[keys], strict=True)
    ]
    described = np.stack([keys, sizes[keys] - 1], axis=1).astype("<u2").tobytes()
    begin = 8 + 8 * len(keys) + np.cumsum([0, *map(len, held)])[:-1]
    return (
        np.array([ROARING, len(keys)], dtype="<u4").tobytes()
        + described
        + begin.astype("<u4").tobytes()
        + b"".join(held)
    )


def main(arguments: list[str]) -> int:
    """What is asked for on the command line; what goes wrong is a line of JSON."""
    try:
        if arguments[0] == "round":
            project, believed = Path(arguments[1]), arguments[3] == "True"
            config = configs.load(project)
            data = read_round(project, int(arguments[2]), believed, config)
            with os.fdopen(int(arguments[4]), "wb") as out:
                prepare(data, believed, forecast.asked_with(config, project, data.flagged), out)
        else:
            with os.fdopen(int(arguments[2]), "rb") as prepared, os.fdopen(int(arguments[3]), "wb") as out:
                mixtures(Sections(prepared), Given.of(arguments[1]), out)
    except MiddoError as error:
        return _report_error(error)
    except OSError as error:
        return _report_error(
            StoreError(f"cannot prepare the round's signals for the preview: {error}. Free some disk space.")
        )
    return 0


def _report_error(error: MiddoError) -> int:
    told: dict[str, Any] = {"kind": type(error).__name__, "text": str(error)}
    sys.stdout.write(json.dumps(told))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
