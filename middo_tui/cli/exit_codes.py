"""What the exit codes of every command mean: for ``--help``, the reference and the man page."""

from __future__ import annotations

COMMON = {
    0: "success",
    1: "a run, check or file failed; the message says why",
    2: "wrong usage or an invalid config.toml",
}
"""Of every command."""
STATES = {
    3: "status: the run is in progress; wait: timeout",
    4: "status, run --wait and wait: the run is waiting for you",
    5: "status: the run failed or was interrupted",
}
"""Of the commands that report the state of the run."""
EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code}  {meaning}" for code, meaning in {**COMMON, **STATES}.items())
"""For ``--help``: a paragraph that click does not wrap."""
