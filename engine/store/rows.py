"""The store's rows as frozen structs: what stages hand over and screens read.

A class with ``TABLE`` can be saved by ``Ctx.save``: its fields are columns, ``KEY`` is the primary key, and saving
again overwrites only the columns that the class has. So the score and judge stages fill one wide signal row each.
Structs and not dataclasses, whose methods Python would compile anew in every process: the app loads all of these.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec.structs import replace

from engine.store.conversation import Message as Message
from engine.store.conversation import Sample as Sample
from engine.store.conversation import content_id as content_id
from engine.store.conversation import content_id_of as content_id_of
from engine.store.conversation import distinct as distinct
from engine.store.conversation import dump_messages as dump_messages
from engine.store.conversation import load_messages as load_messages
from engine.store.conversation import unwritable as unwritable
from engine.store.run_state import Event as Event
from engine.store.run_state import Gauge as Gauge
from engine.store.run_state import Job as Job
from engine.store.run_state import Plan as Plan
from engine.store.run_state import RoundFacts as RoundFacts
from engine.store.run_state import Worker as Worker
from engine.store.signal_rows import DIMENSIONS as DIMENSIONS
from engine.store.signal_rows import RATING_COLUMNS as RATING_COLUMNS
from engine.store.signal_rows import SUBJECTS as SUBJECTS
from engine.store.signal_rows import CachedLoss as CachedLoss
from engine.store.signal_rows import Cluster as Cluster
from engine.store.signal_rows import Flaw as Flaw
from engine.store.signal_rows import Lenses as Lenses
from engine.store.signal_rows import Losses as Losses
from engine.store.signal_rows import Neighbourhood as Neighbourhood
from engine.store.signal_rows import Ratings as Ratings
from engine.store.signal_rows import Row as Row

Axis = Literal["complexity", "diversity", "quality"]
AXES: tuple[Axis, ...] = ("complexity", "diversity", "quality")
REWRITTEN = ("proposed", "accepted", "rejected")  # states of a rewrite whose text is there


class Overlap(Row, frozen=True):
    """Sample ``sample_id`` is trained on although its prompt is that of the held-out ``item``: [data] allow_overlap, or
    a project of an older version.
    """

    TABLE: ClassVar[str] = "overlap"
    KEY: ClassVar[tuple[str, ...]] = ("sample_id", "item")
    sample_id: int
    item: int


class Selection(Row, frozen=True):
    """Sample ``sample_id`` was selected on ``axis``: its ``value`` lies beyond ``threshold``."""

    TABLE: ClassVar[str] = "selection"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id", "axis")
    round: int
    sample_id: int
    axis: str
    value: float
    threshold: float


class Threshold(Row, frozen=True):
    """The cut of one signal in one round and the floor it was held against.

    ``signal`` is ``loss_before``, ``loss_after``, ``similarity`` or ``quality`` (complexity has two). ``rule`` is
    ``sigma`` or ``mixture``; then ``detail`` (a JSON object) tells what was found, its ``verdict`` in words, and a cut
    that selects nothing is infinite.
    """

    TABLE: ClassVar[str] = "threshold"
    KEY: ClassVar[tuple[str, ...]] = ("round", "signal")
    round: int
    signal: str
    axis: str
    mean: float
    sigma: float
    m: float
    cut: float
    floor: float | None
    rule: str = "sigma"
    detail: str | None = None


AGAIN = -1
"""``Rewrite.draw`` of what a round asks a second time."""


class Rewrite(Row, frozen=True):
    """One teacher rewrite of ``sample_id`` in ``round``.

    States: owed -> prompted (new prompt is there) -> proposed (answer is there) -> accepted | rejected; or failed
    (malformed replies up to the attempt limit; ``raw`` keeps the last one). What is accepted once its round is merged
    is part of the next dataset: no row says so twice.
    ``messages`` is the new conversation (canonical JSON) once proposed. ``attempts`` counts the calls for the prompt,
    ``answer_attempts`` those for the answer. ``original`` is the teacher's conversation, when a person has edited it.
    ``probe``: its prompt is the sample's own, and its state becomes ``kept`` when the answer agrees with the sample's
    (``agreement``: how alike they are); ``control``: the sample was drawn at random. ``batch`` numbers what is added to
    a round while its rewrites are made.
    ``draws``: the answers (a JSON list) of which verify keeps one, if several are drawn ([teacher] best_of).
    ``draw`` numbers the waves in which a person sends rewrites back to the teacher; 0 is the round's own, and ``AGAIN``
    what the round itself asks a second time (``first_answer``: what the teacher said the first time). ``first_calls``:
    how many calls a probe's first answer took, once it was compared; ``answer_attempts`` may go on after it. The column
    ``note`` is a person's alone and no part of this row, so that no stage can write over it.
    """

    TABLE: ClassVar[str] = "rewrite"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id", "axis")
    round: int
    sample_id: int
    axis: str
    state: str
    attempts: int = 0
    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    raw: str | None = None
    reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    answer_attempts: int = 0
    original: str | None = None
    draw: int = 0
    probe: bool = False
    control: bool = False
    batch: int = 0
    agreement: float | None = None
    first_answer: str | None = None
    draws: str | None = None
    first_calls: int = 0

    @property
    def is_evidence(self) -> bool:
        """Whether it is the teacher's answer to the sample's own prompt, and none that a person sent back."""
        return self.probe and self.draw <= 0

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from the round's other rewrites: the sample and the axis."""
        return self.sample_id, self.axis


class Verdict(Row, frozen=True):
    """The verify stage's part of a rewrite row: the same signals, now of the rewrite, and whether they are better.

    ``on_topic``: the share of random samples that have less to do with the original. ``usual_similarity``: what
    three of four samples that nobody selected lie below, for diversity. ``new_end_of_turn`` to ``new_window_end``: see
    ``Lenses``. ``new_flaw``: the flaw score that the rewrite would have among the round's samples.
    """

    TABLE: ClassVar[str] = "rewrite"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id", "axis")
    round: int
    sample_id: int
    axis: str
    new_loss_before: float | None
    new_loss_after: float | None
    new_similarity: float | None
    new_quality: float | None
    new_ratings: str | None
    improved: bool | None
    verdict: str | None
    on_topic: float | None = None
    usual_similarity: float | None = None
    new_end_of_turn: float | None = None
    new_without_prompt: float | None = None
    new_ifd: float | None = None
    new_worst_window: float | None = None
    new_window_begin: int | None = None
    new_window_end: int | None = None
    new_flaw: float | None = None
    new_flaw_lens: str | None = None


class Decision(Row, frozen=True):
    """A decision on one rewrite: part of the rewrite row. ``reason`` stays None when it was accepted."""

    TABLE: ClassVar[str] = "rewrite"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id", "axis")
    round: int
    sample_id: int
    axis: str
    state: str
    reason: str | None = None


class Override(Row, frozen=True):
    """What a person wants of a sample, whatever its signals say: ``drop``, ``protect`` or ``rewrite`` on ``axis``.
    ``met_round``: the one that selected it because of that, which ends the request; None before.
    """

    TABLE: ClassVar[str] = "override"
    KEY: ClassVar[tuple[str, ...]] = ("sample_id",)
    sample_id: int
    action: str
    axis: str | None
    at: float
    met_round: int | None = None

    def same(self, other: Override | None) -> bool:
        """Whether ``other`` asks for the same and still holds, whenever it was asked for."""
        return other is not None and (self.action, self.axis, None) == (other.action, other.axis, other.met_round)


class Retirement(Row, frozen=True):
    """Why a sample left the dataset before ``round``, and which one stays for it: an exact ``copy``, or its ``near``est
    neighbour. A sample that a person ``dropped`` has itself for ``kept``, and so has one that is ``flawed``.
    """

    TABLE: ClassVar[str] = "retirement"
    KEY: ClassVar[tuple[str, ...]] = ("sample_id",)
    sample_id: int
    round: int
    reason: str
    kept: int


def error_of_unanimous(n: int) -> float:
    """Standard error of a share of ``n`` items that all say the same: how far Wilson's interval for one standard error
    reaches from 0 or 1 (E. B. Wilson, Probable inference, 1927; z = 1).
    """
    return 1 / (n + 1)


class EvalScore(Row, frozen=True):
    """One evaluation figure of one round's model, e.g. ``heldout_loss``, ``accuracy`` or ``gsm8k_cot``.

    ``metric``: which of lm-eval's figures it is (``exact_match,strict-match``); those that do not stand for their task
    are called ``task:metric``. ``higher``: more is better. ``source``: what was run, and a hash of how.
    """

    TABLE: ClassVar[str] = "score"
    KEY: ClassVar[tuple[str, ...]] = ("round", "task")
    round: int
    task: str
    value: float
    stderr: float | None
    n: int
    metric: str = ""
    higher: bool = True
    source: str = ""

    @property
    def main(self) -> bool:
        """Whether it stands for its task."""
        return not (self.metric and self.task.endswith(f":{self.metric}"))

    def with_error(self) -> EvalScore:
        """The same with a standard error that is true of a share where all items are wrong, or all are right: the
        formula gives 0 there, as if another draw of questions could not differ.
        """
        bound = self.higher and self.value in (0, 1) and self.stderr == 0 and self.n > 0
        return replace(self, stderr=error_of_unanimous(self.n)) if bound else self

    @property
    def better(self) -> float:
        """The value with the sign that makes more better."""
        return self.value if self.higher else -self.value

    def comparable(self, other: EvalScore) -> bool:
        """Whether both were measured in the same way."""
        return (self.task, self.metric, self.source) == (other.task, other.metric, other.source)


class TaskItem(Row, frozen=True):
    """What one question of a task scored under one round's model; ``item`` is a hash of the question, so that rounds
    can be compared question by question.
    """

    TABLE: ClassVar[str] = "task_item"
    KEY: ClassVar[tuple[str, ...]] = ("round", "task", "item")
    round: int
    task: str
    item: int
    value: float


class EvalItem(Row, frozen=True):
    """One held-out item's outcome under one round's model, so that an evaluation resumes and can be looked into."""

    TABLE: ClassVar[str] = "eval_item"
    KEY: ClassVar[tuple[str, ...]] = ("round", "item")
    round: int
    item: int
    loss: float | None
    tokens: int
    reply: str | None = None
    correct: bool | None = None


class Metric(Row, frozen=True):
    """One logged training step."""

    TABLE: ClassVar[str] = "metric"
    KEY: ClassVar[tuple[str, ...]] = ("round", "step")
    round: int
    step: int
    at: float
    epoch: float
    loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens_per_s: float | None


class Artifact(Row, frozen=True):
    """A file or folder beside the database that counts once this row exists (it is written last)."""

    TABLE: ClassVar[str] = "artifact"
    KEY: ClassVar[tuple[str, ...]] = ("round", "name")
    round: int
    name: str
    path: str
    meta: str = "{}"


PREVIEW = "preview"
"""An artifact that only makes the Thresholds screen open sooner: nothing is lost with it."""
