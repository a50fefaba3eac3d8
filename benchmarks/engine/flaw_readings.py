"""What the project's own scoring pass and judge read of single exchanges, cached by content.

Each exchange is measured once however many draws use it. The cache is a file of JSON lines that only grows, so a run
that was killed resumes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.world.planted_flaws import Row
from engine.backends import hf
from engine.chat import prompts
from engine.chat.render import render
from engine.config.schema import Judge, Model
from engine.models.locate import ModelRef, fingerprint
from engine.signals import lenses, ratings
from engine.signals.last_exchange import Chat
from engine.store.rows import SUBJECTS, Message

BATCH = 6
READ = ("loss", "end_of_turn", "without_prompt", "ifd", "worst_window")
JUDGED = ("quality", "digit_mass")
Values = dict[str, float | None]


@dataclass(frozen=True)
class Subject:
    """A model to measure with. ``name``: its key in the cache. ``wording``: a folder of judge prompts of its own.

    ``begins``: its replies to rating requests are begun for it, as the judge stage does where that helps.
    """

    name: str
    folder: Path
    max_length: int
    wording: Path | None = None
    begins: bool = False

    @property
    def how(self) -> Model:
        """[model] as a project would have it."""
        return Model(name=str(self.folder), dtype="float32", device="cpu", threads=1, max_length=self.max_length)

    def key(self, row: Row) -> str:
        """What identifies a measurement: the model's files and the texts."""
        mark = f"{fingerprint(ModelRef(self.folder))}\0{self.max_length}\0{row.prompt}\0{row.answer}"
        return hashlib.blake2b(mark.encode(), digest_size=12).hexdigest()


def chat(row: Row) -> Chat:
    """The exchange as a conversation."""
    return (Message("user", row.prompt), Message("assistant", row.answer))


class Readings:
    """The cache of one model in ``folder``."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{subject.name}.jsonl"
        self.known: dict[str, Values] = {}
        if self.file.exists():
            text = self.file.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # the last line may be half of one, from a run that was killed
            if whole != text:
                self.file.write_text(whole, encoding="utf-8")
            for line in whole.splitlines():
                self._take(json.loads(line))

    def _take(self, line: dict[str, float | str | None]) -> None:
        key = str(line.pop("key"))
        self.known.setdefault(key, {}).update({k: None if v is None else float(v) for k, v in line.items()})

    def of(self, rows: Sequence[Row], judged: bool = False) -> list[Values]:
        """The readings of the rows, measured where they are missing; with ratings if ``judged``."""
        keys = [self.subject.key(row) for row in rows]
        names = JUDGED if judged else READ
        missing = {key: row for key, row in zip(keys, rows, strict=True) if names[0] not in self.known.get(key, {})}
        todo, began = list(missing.items()), time.time()
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            found = (self._rate if judged else self._score)([row for _, row in part])
            with self.file.open("a", encoding="utf-8") as stream:
                for (key, _), values in zip(part, found, strict=True):
                    stream.write(json.dumps({"key": key, **values}) + "\n")
                    self.known.setdefault(key, {}).update(values)
            if start % (10 * BATCH) == 0:
                said = f"{self.subject.name}: {start + len(part)} of {len(todo)}, {time.time() - began:.0f} s\n"
                sys.stderr.write(said)
        return [self.known[key] for key in keys]

    def _score(self, rows: Sequence[Row]) -> list[Values]:
        how, ref = self.subject.how, ModelRef(self.subject.folder)
        tokenizer = hf.load(ref.base, dtype=how.dtype, device=how.device, threads=how.threads).tokenizer
        chats = [chat(row) for row in rows]
        given = [render(tokenizer, one, how.max_length) for one in chats]
        bare = list(lenses.without_prompt(tokenizer, chats, given, how.max_length))
        found = lenses.score(how, ref, (given, bare))
        return [
            {"loss": scored.loss, **{name: getattr(reading, name) for name in READ[1:]}} for scored, reading in found
        ]

    def _rate(self, rows: Sequence[Row]) -> list[Values]:
        how, judge = self.subject.how, Judge(min_digit_mass=0.0)
        opened = hf.load(self.subject.folder, dtype=how.dtype, device=how.device, threads=how.threads)
        wording = {subject: prompts.load(f"judge_{subject}", self.subject.wording) for subject in SUBJECTS}
        begun = opened.beginning if self.subject.begins else ""
        asked = [ratings.judge_prompts(wording, opened, chat(row), begun) for row in rows]
        return [
            {"quality": one.quality, "digit_mass": one.digit_mass} for one in ratings.rate_batch(judge, opened, asked)
        ]
