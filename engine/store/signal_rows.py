"""What a round measures of each sample, as rows; see ``engine.store.rows``, which hands these out too."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

SUBJECTS = ("prompt", "response")
DIMENSIONS = ("clarity", "completeness", "factuality")
RATING_COLUMNS = tuple(f"{subject}_{dimension}" for subject in SUBJECTS for dimension in DIMENSIONS)


class Row(Struct, frozen=True):
    """Anything ``Ctx.save`` takes."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]


class Losses(Row, frozen=True):
    """The score stage's part of a signal row. Losses are mean nats per token of the last answer; None with
    ``score_error``.

    ``conversation_before``, ``conversation_after``: the means over the tokens of all answers; None where there is one.
    """

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id")
    round: int
    sample_id: int
    loss_before: float | None
    loss_after: float | None
    prompt_tokens: int
    response_tokens: int
    score_error: str | None = None
    conversation_before: float | None = None
    conversation_after: float | None = None


class Neighbourhood(Row, frozen=True):
    """Mean cosine similarity to the k nearest other samples, and who they are (JSON list of sample ids, nearest
    first).

    ``cluster``: a number that the cluster has in all rounds; -1: in none; None: clusters are off. ``outlier``: GLOSH
    score, 0 (as dense as its cluster gets) to 1.
    """

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id")
    round: int
    sample_id: int
    similarity: float
    neighbours: str
    cluster: int | None = None
    outlier: float | None = None


class Cluster(Row, frozen=True):
    """A cluster of one round, and what became of it since the round before.

    ``change``: born, kept, grew, shrank, split, merged or died (then ``size`` is 0 and ``cluster`` -2 minus the number
    it had). ``previous``: the cluster it goes back to. ``exemplar``: the id of its most typical sample; of a cluster
    that died, the last one.
    """

    TABLE: ClassVar[str] = "cluster"
    KEY: ClassVar[tuple[str, ...]] = ("round", "cluster")
    round: int
    cluster: int
    size: int
    exemplar: int | None
    change: str
    previous: int | None
    previous_size: int | None


class Ratings(Row, frozen=True):
    """The judge stage's part of a signal row: six expected ratings (0-9), their mean, the least digit mass seen."""

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id")
    round: int
    sample_id: int
    prompt_clarity: float | None
    prompt_completeness: float | None
    prompt_factuality: float | None
    response_clarity: float | None
    response_completeness: float | None
    response_factuality: float | None
    quality: float | None
    digit_mass: float | None
    judge_error: str | None = None


class Lenses(Row, frozen=True):
    """What the base model's token losses tell of a sample's last answer: the score stage's part of a signal row.

    ``end_of_turn``: the loss of the token that ends the answer; None where it has none. The others are of the text
    before it and None where there is no text. ``without_prompt``: its mean loss when the user says nothing. ``ifd``:
    its mean loss with the prompt, divided by that. ``worst_window``: the highest mean loss of 16 consecutive tokens;
    ``window_begin``, ``window_end``: their characters in the answer's content. Losses are in nats per token.
    """

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id")
    round: int
    sample_id: int
    end_of_turn: float | None
    without_prompt: float | None
    ifd: float | None
    worst_window: float | None
    window_begin: int | None
    window_end: int | None


class Flaw(Row, frozen=True):
    """How flawed a sample looks, a rank from 0 to 1, and the lens that looks worst; 1 and the sign
    (``engine.signals.text_signs``) where the text alone shows one.
    """

    TABLE: ClassVar[str] = "signal"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id")
    round: int
    sample_id: int
    flaw: float
    flaw_lens: str


class CachedLoss(Row, frozen=True):
    """A loss under a model that does not change (the base), keyed by content and the model's fingerprint: of the last
    answer, and of all where there are more (``conversation``). Under the base also what ``Lenses`` holds.
    """

    TABLE: ClassVar[str] = "loss_cache"
    KEY: ClassVar[tuple[str, ...]] = ("model", "sample_id")
    model: str
    sample_id: int
    loss: float
    conversation: float | None = None
    end_of_turn: float | None = None
    without_prompt: float | None = None
    ifd: float | None = None
    worst_window: float | None = None
    window_begin: int | None = None
    window_end: int | None = None

    @property
    def has_lenses(self) -> bool:
        """Whether the lenses were computed: an answer has an end, a text, or both."""
        return self.end_of_turn is not None or self.worst_window is not None
