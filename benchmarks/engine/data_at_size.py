"""What ``init`` and ``export`` cost at size: CPU seconds, bytes written, peak memory.

``python -m benchmarks.engine.data_at_size [--sizes 50000,500000] [--formats alpaca,parquet]
[--out docs/benchmarks/data.md]``: every command is a process of its own. The rows are those of a JSON array in
``MIDDO_TEST_DATA``, again and again with a variation; without it, invented ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measured import machine, table
from benchmarks.world import texts

SOURCE = "alpaca_9k.json"
POLL_S = 0.05
HEAD = ("rows", "what", "CPU seconds", "seconds", "written", "peak memory")


def rows(count: int) -> Iterator[dict[str, str]]:
    """``count`` rows of Alpaca's columns; no two are the same."""
    rng = random.Random(0)
    folder = os.environ.get("MIDDO_TEST_DATA")
    known = json.loads((Path(folder) / SOURCE).read_text(encoding="utf-8")) if folder else None
    for i in range(count):
        if known is None:
            *_, asked, said = texts.conversation(rng, i % len(texts.TOPICS), flawed=False)
            row = {"instruction": asked.content, "input": "", "output": said.content}
        else:
            row = dict(known[i % len(known)])
        row["instruction"] += f" (variation {i})"
        yield row


def write_rows(path: Path, count: int) -> None:
    """A JSON array, as Alpaca's files are written."""
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows(count)):
            file.write((",\n" if number else "[\n") + json.dumps(row, indent=2))
        file.write("\n]\n")


def measure(count: int, what: str, command: list[str]) -> list[str]:
    """Run a command; its line of the table."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    written, peak = [0], [0]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "middo_tui.cli", *command], env=environment)
    watch = threading.Thread(target=_watch, args=(process.pid, written, peak))
    watch.start()
    _, status, used = os.wait4(process.pid, 0)
    watch.join()
    if status:
        raise SystemExit(f"{what}: ended with {status}")
    cpu = used.ru_utime + used.ru_stime
    seconds, memory = time.monotonic() - began, peak[0] / 1024
    line = [f"{count:,}", what, f"{cpu:.1f}", f"{seconds:.0f}", f"{written[0] / 1e6:,.0f} MB", f"{memory:.0f} MiB"]
    sys.stderr.write(" | ".join(line) + "\n")
    return line


def _watch(pid: int, written: list[int], peak: list[int]) -> None:
    """What the kernel says that a process has written so far, and its peak memory in KiB, until it is gone. (What
    ``wait4`` says of memory begins with that of the process that started it.)
    """
    while True:
        try:
            found = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:
            return
        lines = dict(line.split(": ") for line in found.splitlines())
        written[0] = max(written[0], int(lines.get("write_bytes", 0)))
        high = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        peak[0] = max(peak[0], int(high))
        time.sleep(POLL_S)


def measure_size(folder: Path, count: int, formats: list[str]) -> list[list[str]]:
    """The lines of one size."""
    data, project = folder / f"{count}.json", folder / f"project-{count}"
    write_rows(data, count)
    size = data.stat().st_size / 1e6
    lines = [measure(count, f"`init`, {size:,.0f} MB of JSON", ["init", str(project), "--data", str(data)])]
    for format in formats:
        out = folder / f"out-{count}.{format}"
        lines.append(measure(count, f"`export` as {format}", ["export", str(project), str(out), "--format", format]))
    return lines


def main() -> None:
    """Measure and write the page, again after every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="50000,500000")
    parser.add_argument("--formats", default="alpaca,parquet")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for size in map(int, asked.sizes.split(",")):
            lines += measure_size(Path(folder), size, asked.formats.split(","))
            if asked.out:
                asked.out.write_text(
                    PAGE.format(machine=machine(), table=table(HEAD, lines), load=os.getloadavg()[2]), encoding="utf-8"
                )


PAGE = """# Data at size

What a dataset costs on its way in and out, every command in a process of its own ({machine}):
`python -m benchmarks.engine.data_at_size --out docs/benchmarks/data.md`. Rows are those of an Alpaca file, again and
again with a variation. Other work ran on the machine, so go by the CPU seconds: the clock's are an upper bound.

{table}

Before rows were read one by one and written once, `init` of 500,000 rows took 106 CPU seconds, wrote 16.5 GB and had
807 MB in memory at its peak; the exports took 11 and 12 CPU seconds, 874 and 1,407 MB.

At the end {load:.0f} processes wanted to run; with 14 on the two cores, the CPU seconds are twice those of a quiet
machine, also of the exports. In pairs of the same minutes there, `init` of 20,000 rows took 4.8 CPU seconds
instead of 7.4 (ratio .63 to .67 in three pairs) once the look for prompt injection ([injection.md](injection.md))
began with the words of a text, which took 41 µs a row instead of 161 there. Of 199 µs for a row of 100,000, 149 are
reading, checking and searching it, 19 writing it, 29 the search index.

Rows wait in a nameless file and enter the table in the order of their ids, so every page is
written once, and the index of words is built at the end. A new project is made aside and moved into place: killed at
any moment, there is none. A table is written from two looks at the samples, the first of which asks SQLite for the
unusual ones.
"""

if __name__ == "__main__":
    main()
