"""A prompt and a response in a person's own editor: written to a private file, read back whole or not at all."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from shutil import which

from engine.errors import UsageError
from middo_tui.keys.tables import press

USUAL = ("sensible-editor", "nano", "vi")
PROMPT = "======== PROMPT (do not change this line) ========"
RESPONSE = "======== RESPONSE (do not change this line) ========"


def command() -> list[str]:
    """What ``$VISUAL`` or ``$EDITOR`` says; where neither is set, an editor that is there.

    Raises:
        UsageError: there is none, or what is set cannot be read.
    """
    said = os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(which, USUAL), "")
    try:
        words = shlex.split(said)
    except ValueError as error:
        raise UsageError(f"$EDITOR is not a valid command ({error}): {said}") from None
    if not words:
        here = f"Press {press('review.edit')} to edit here."
        raise UsageError(f"$EDITOR is not set, and none of {', '.join(USUAL)} is installed. {here}")
    return words


def edited(words: list[str], prompt: str, response: str) -> tuple[str, str] | None:
    """What the person made of both texts; None when nothing was changed. Blocks until the editor ends.

    Raises:
        UsageError: the editor cannot be started or failed, or the two marking lines are gone. Nothing is changed then.
    """
    with tempfile.TemporaryDirectory(prefix="middo-") as folder:
        path = Path(folder) / "rewrite.md"
        before = _file(prompt, response)
        path.write_text(before, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            code = subprocess.run([*words, str(path)], check=False).returncode
            after = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            raise UsageError(f"{words[0]}: {error.strerror or error}. Nothing was changed.") from None
    if code:
        raise UsageError(f"{words[0]} failed with exit code {code}. Nothing was changed.")
    return None if after == before else _texts(after, (prompt, response))


def _file(prompt: str, response: str) -> str:
    return f"{PROMPT}\n{prompt}\n{RESPONSE}\n{response}\n"


def _texts(text: str, before: tuple[str, str]) -> tuple[str, str] | None:
    head, found, rest = text.partition(f"{PROMPT}\n")
    prompt, found_too, response = rest.partition(f"\n{RESPONSE}\n")
    if not found or not found_too or head.strip():
        raise UsageError("The marker lines for prompt and response were changed. Nothing was saved.")
    now = (prompt, response.removesuffix("\n"))
    return None if now == before else now
