"""Generates replies with a loaded model: with fewer rows if memory is short, resumable after a pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from engine.backends import Generation, ReplyProgress, left_padding, paused_replies
from engine.backends.continuous_batching import GenerationRequest, Watch, Writer, Writing, can_refill
from engine.backends.loaded_model import LoadedModel
from engine.backends.model_loading import give_back, positions
from engine.backends.sampling import Sampling
from engine.backends.stop_strings import ended
from engine.chat import batches
from engine.errors import Paused
from engine.processes.exit_reason import NO_MEMORY, ran_out_of_memory

NO_ROOM = "not enough disk space to keep unfinished replies; they will be generated again"
ALONE = "it does not fit into memory even alone; lower model.max_length"
KEEP_EVERY_S, SMALL = 120.0, 1 << 30
"""How often replies on their way are kept in case the process is killed, as long as they take no more bytes."""


def written(
    loaded: LoadedModel,
    asked: Sequence[GenerationRequest],
    how: Sampling,
    rows: int,
    watch: Callable[[ReplyProgress], None],
    keep: Path | None,
) -> list[Generation]:
    """The replies to what is ``asked``, in order. ``keep``: the file for those on their way; None: they are short.

    Raises:
        Paused: from ``watch``; the same call goes on from what was kept.
    """
    if loaded.refills is None:
        loaded.refills = can_refill(loaded.model, loaded.device)
    key = str(batches.seed(*loaded.key, loaded.device, torch.__version__, torch.get_num_threads(), asked, how, rows))
    work = (paused_replies.taken(keep, key, asked, loaded.device) if keep else None) or Writing.begin(asked)
    try:
        _write(loaded, work, how, rows, _Watched(loaded, keep, key, work.tokens, watch))
    except Paused:
        if keep is not None and not paused_replies.keep(work, keep, key):
            loaded.notes.append(NO_ROOM)
        raise
    if keep is not None:
        keep.unlink(missing_ok=True)
    return [_read(loaded, work, number) for number in range(len(asked))]


def _write(loaded: LoadedModel, work: Writing, how: Sampling, rows: int, watch: Watch) -> None:
    """Generate all replies, halving the number of rows after each out-of-memory error."""
    while True:
        pad = loaded.tokenizer.pad_token_id
        writer = Writer(loaded.model, loaded.device, loaded.stops, pad, rows, partial(_text, loaded))
        try:
            return (
                writer.write(work, how, watch)
                if loaded.refills
                else writer.write_whole(work, how, watch, together(loaded))
            )
        except NO_MEMORY as error:
            alone = rows == 1
            if not ran_out_of_memory(error) or (alone and not work.fail(ALONE)):
                raise  # also where no reply can be blamed: the next try would end here as well
        work.start_again()
        rows = max(1, rows // 2)
        give_back()


def together(loaded: LoadedModel) -> left_padding.Together:
    """Which prompts can share a batch; tested once per model."""
    if loaded.together is None:
        pad, most = loaded.tokenizer.pad_token_id, positions(loaded.model.config)
        loaded.together = left_padding.together(loaded.model, pad, most, loaded.device)
    return loaded.together


class _Watched:
    """Reports progress, and saves unfinished replies at intervals."""

    def __init__(
        self, loaded: LoadedModel, path: Path | None, key: str, before: int, watch: Callable[[ReplyProgress], None]
    ) -> None:
        self.loaded, self.path, self.key, self.before, self.watch = loaded, path, key, before, watch
        self.kept_at = time.monotonic()

    def __call__(self, work: Writing) -> None:
        """After every forward."""
        if self.path is not None and time.monotonic() - self.kept_at >= KEEP_EVERY_S:
            if work.slots is not None and work.slots.nbytes <= SMALL:
                paused_replies.keep(work, self.path, self.key)
            self.kept_at = time.monotonic()
        open = [n for n in work.open if n >= 0 and not work.ended[n]]
        longest = max(open, key=lambda n: (len(work.written[n]), -n), default=0)
        decode = self.loaded.tokenizer.decode
        self.watch(
            ReplyProgress(
                work.done,
                len(work.asked),
                work.tokens,
                sum(len(own) for own, ended in zip(work.written, work.ended, strict=True) if ended),
                self.before,
                len(open),
                work.read_s / max(1, work.read),
                work.step_s,
                lambda: str(decode(work.written[longest], skip_special_tokens=True)),
                lambda: [_read(self.loaded, work, n) for n, ended in enumerate(work.ended) if ended],
            )
        )


def _read(loaded: LoadedModel, work: Writing, number: int) -> Generation:
    """Decode a finished reply."""
    if number in work.errors:
        return Generation("", "stop", 0, 0, work.errors[number])
    ids, asked = work.written[number], work.asked[number]
    turn = bool(ids) and ids[-1] in loaded.stops
    text, how = ended(_text(loaded, ids[:-1] if turn else ids), asked.ends, turn)
    return Generation(asked.begun + text, how, len(asked.ids), len(ids), seconds=work.seconds[number])


def _text(loaded: LoadedModel, ids: Sequence[int]) -> str:
    return str(loaded.tokenizer.decode(ids, skip_special_tokens=True))
