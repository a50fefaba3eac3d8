"""Ratings by vLLM or by servers: requests are handed over sample by sample, and a sample's row is saved soon after its
six are there.

The six requests of a sample follow each other and begin alike, so all but the first of each kind find their beginning
in the prefix cache. Seeds of drawn ratings come from sample, rating and try, not from what is computed together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from engine.backends import Call, Generation, Rating
from engine.chat import batches
from engine.config import schema as configs
from engine.errors import Paused
from engine.files import append_log
from engine.models import locate
from engine.plurals import counted
from engine.signals import held_back, judge_asking, ratings, round_models, served_model, spoilt_copies
from engine.signals.last_exchange import Chat
from engine.signals.rating_budget import SPENT, RatingBudget, ask
from engine.signals.rating_rows import first_rating, no_rating, row_of
from engine.signals.ratings import Rated
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import RATING_COLUMNS, content_id
from engine.store.teacher import TeacherCall

if TYPE_CHECKING:
    from engine.backends.endpoint_judge import EndpointJudge
    from engine.backends.server_judge import ServerJudge
    from engine.backends.vllm import Engine

    Rater = Engine | EndpointJudge | ServerJudge

K = TypeVar("K", bound=Hashable)
SIX = len(RATING_COLUMNS)
UNPAID = Rated(None, None, None, SPENT)
REPLY = 8
"""Tokens of an endpoint's reply in which a digit must come."""
GATHER = 16
"""Samples that are saved together: a kill costs at most these and what is in flight."""
GIVE_S = 1.0
"""No longer than this is anything kept back, for fewer samples than that."""


def through_engine(ctx: Ctx, data: Dataset, held: Mapping[int, str], rated: set[int]) -> None:
    """Rate every sample that is neither ``held`` back nor ``rated``."""
    samples = data.without(held)
    pending = [id for id in samples.ids if id not in rated]
    with _opened(ctx, len(pending)) as engine:
        judge_asking.asked_how(ctx, engine, samples)
        held_back.hold_back(ctx, held, rated)
        asker = Asker.of(ctx, engine, ctx.config.judge)
        asker.budget = RatingBudget.of(ctx)
        done = len(samples) - len(pending)
        for part in asker.rate(_chats(samples, pending)):
            done += len(part)
            ctx.save([*(row_of(ctx.round, id, one) for id, one in part), *_calls(ctx, engine)], done)
            _tell(ctx, engine)
        if asker.unpaid:
            again = "Raise it and run with --redo judge to rate them."
            ctx.event(
                f"{asker.unpaid:,} of {counted(len(samples), 'sample')}"
                f" {'was' if asker.unpaid == 1 else 'were'} {SPENT}. {again}",
                "warning",
            )
        spoilt_copies.try_judge(ctx, data, asker.rate_all)
        ctx.save(_calls(ctx, engine))


@contextmanager
def _opened(ctx: Ctx, size: int) -> Iterator[Rater]:
    """What rates ``size`` samples, until the block ends; then the log says what it did, or what a pause gives up."""
    engine = _open(ctx, size)
    try:
        yield engine
        ctx.event(engine.summary())
    except Paused:
        ctx.event(engine.stopping())
        raise
    finally:
        engine.close()
        _tell(ctx, engine)


def _tell(ctx: Ctx, engine: Rater) -> None:
    """What came up while it rated, such as a server that is left out."""
    for note in engine.notes:
        ctx.event(note, "warning")
    engine.notes.clear()


def _open(ctx: Ctx, size: int) -> Rater:
    """What rates: vLLM, or servers, which is said before ``size`` samples' texts are sent to them."""
    how = ctx.config.judge
    if not how.remote:
        return round_models.open_engine(ctx.config, round_models.judge_ref(ctx))
    where = " and ".join((how.url, *how.more_urls))
    whose = "the tuned model" if how.backend == "server" else how.endpoint_model
    ctx.event(f"the texts of {counted(size, 'sample')} are sent to {where} ({whose}) to be rated", "warning")
    if how.backend == "server":
        return served_model.open_judge(ctx)
    from engine.backends.endpoint_judge import EndpointJudge  # the SDK takes long to load

    return EndpointJudge(how, ctx.config.teacher)


def _calls(ctx: Ctx, engine: Rater) -> list[TeacherCall]:
    """What an endpoint was asked since the last time, for the round's books; none for vLLM."""
    if ctx.config.judge.model != "endpoint":
        return []
    name = ctx.config.judge.endpoint_model
    price = ctx.config.teacher.prices.get(name, configs.FREE)
    used, engine.used = engine.used, []  # type: ignore[union-attr]
    return [
        TeacherCall(
            round=ctx.round,
            sample_id=_sample(tag.six.key),
            axis="quality",
            step="judge",
            at=time.time(),
            model=name,
            seconds=0.0,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=price.cost(tokens_in, tokens_out),
            error=error,
        )
        for tag, tokens_in, tokens_out, error in used
    ]


def _sample(key: Any) -> int:
    """The sample that is rated, spoilt or rewritten: see the callers' keys."""
    if isinstance(key, int):
        return key
    return int(key[1] if key[0] == "spoilt" else key[0][0])


def _chats(samples: Dataset, ids: Sequence[int]) -> Iterator[tuple[int, Chat]]:
    rest = iter(ids)
    while part := list(islice(rest, GATHER)):
        yield from ((sample.id, sample.messages) for sample in samples.take(part))


def ahead(ctx: Ctx, how: configs.Judge, folder: Path, chats: Sequence[tuple[Key, Chat]], done: int) -> dict[Key, Rated]:
    """Ratings of candidates, all before any of them is scored: vLLM must have left the GPU by then.

    They have no row until they are scored, so what is rated is kept in a file in ``folder`` that a resumed run reads.
    What the caps leave unrated is not: they may be raised.

    Raises:
        Waiting: see ``rating_budget.ask``.
    """
    kept = _Kept.open(ctx, how, folder)
    marked = [(key, chat, content_id(chat)) for key, chat in chats]
    pending = [((key, mark), chat) for key, chat, mark in marked if (key, mark) not in kept.rows]
    if pending:
        with _opened(ctx, len(pending)) as engine:
            asker = Asker.of(ctx, engine, how)
            asker.budget = RatingBudget.of(ctx)
            for part in asker.rate(pending):
                kept.add(one for one in part if one[1].error != SPENT)
                ctx.save(_calls(ctx, engine))
                _tell(ctx, engine)
                ctx.progress(done)
        if asker.unpaid:
            ask(ctx, asker.unpaid, len(chats))
    return {key: kept.rows.get((key, mark), UNPAID) for key, _, mark in marked}


Key = tuple[int, str]
Marked = tuple[Key, int]
"""A candidate's key and its text's content id: an edited one is another text."""


@dataclass(slots=True)
class _Kept:
    """Ratings on disk, a line each; those of another model or way to rate are dropped."""

    path: Path
    rows: dict[Marked, Rated] = field(default_factory=dict)

    @classmethod
    def open(cls, ctx: Ctx, how: configs.Judge, folder: Path) -> _Kept:
        """What a run before this one has rated."""
        settings = configs.slice_hash(ctx.config, ("judge", "model", "vllm.max_model_len", "vllm.quantization"))
        labels = [template.hash for template in ratings.judge_templates(ctx.project).values()]
        start = judge_asking.begun(ctx)
        endpoint = how.model == "endpoint"
        model = how.url + how.endpoint_model if endpoint else locate.fingerprint(round_models.judge_ref(ctx))
        text = ":".join([model, how.mode, settings, start, *labels])
        name = blake2b(text.encode(), digest_size=8).hexdigest()
        out = cls(folder / f"{name}.jsonl")
        out.rows.update(map(_read, append_log.whole(out.path)))
        return out

    def add(self, part: Iterable[tuple[Marked, Rated]]) -> None:
        """Keep these too."""
        part = list(part)
        self.rows.update(part)
        append_log.append(self.path, (json.dumps([*key, mark, asdict(one)]) for (key, mark), one in part))


def _read(line: str) -> tuple[Marked, Rated]:
    sample, axis, mark, one = json.loads(line)
    ratings = None if one["ratings"] is None else tuple(one["ratings"])
    return ((sample, axis), mark), Rated(ratings, one["quality"], one["digit_mass"], one["error"])


@dataclass(eq=False, slots=True)
class _Six(Generic[K]):
    """A sample whose requests are in the engine. ``chats``: what is asked again when a reply holds no rating."""

    key: K
    chats: Sequence[Chat] = ()
    found: dict[int, Rating] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Tag:
    """Which of six requests a result answers, and the how manieth try it is."""

    six: _Six[Any]
    column: int
    attempt: int = 0


@dataclass(slots=True)
class Asker:
    """Has an engine rate conversations, as [judge] says; ``room``: so many requests are handed over ahead. ``budget``:
    what they may take, None: anything. ``unpaid``: how many were not rated for that.
    """

    engine: Rater
    templates: ratings.Templates
    how: configs.Judge
    room: int
    seed: tuple[int, int]
    begun: str = ""
    budget: RatingBudget | None = None
    unpaid: int = 0

    @classmethod
    def of(cls, ctx: Ctx, engine: Rater, how: configs.Judge) -> Asker:
        """For the round that ``ctx`` works on."""
        seed = ctx.config.project.seed, ctx.round
        room, start = ctx.config.vllm.in_flight * how.servers, judge_asking.begun(ctx)
        return cls(engine, ratings.judge_templates(ctx.project), how, room, seed, start)

    def rate_all(self, items: Sequence[tuple[K, Chat]]) -> list[Rated]:
        """Ratings of all items, in their order."""
        found = {key: one for part in self.rate(items) for key, one in part}
        return [found[key] for key, _ in items]

    def rate(self, items: Iterable[tuple[K, Chat]]) -> Iterator[list[tuple[K, Rated]]]:
        """Ratings of the items by their keys, some at a time, in the order in which they are done.

        None at all now and then while they take long: who waits may be asked to stop.
        """
        rest, more, open = iter(items), True, 0
        given = time.monotonic()
        done: list[tuple[K, Rated]] = []
        while more or open:
            while more and self.engine.in_flight < self.room:
                item = next(rest, None)
                if item is None:
                    more = False
                elif (failed := self._begin(*item)) is None:
                    open += 1
                else:
                    done.append((item[0], failed))
            for tag, result in self._take() if open else ():
                six = self._note(tag if isinstance(tag, _Tag) else tag.tag, result)
                if len(six.found) == SIX:
                    open -= 1
                    if self.budget is not None:
                        self.budget.free(six.key)
                    done.append((six.key, self._rated(six)))
            if len(done) >= GATHER or not (more or open) or time.monotonic() - given >= GIVE_S:
                yield done
                done = []
                given = time.monotonic()

    def _take(self) -> list[tuple[Any, Any]]:
        """What came back, counted where it is paid for."""
        if self.budget is None:
            return list(self.engine.take())
        used = cast("EndpointJudge", self.engine).used
        before = len(used)
        found = list(self.engine.take())
        self.budget.book((tokens_in, tokens_out) for _, tokens_in, tokens_out, _ in used[before:])
        return found

    def _pays(self, key: K, chat: Chat) -> bool:
        """Whether the budget does for the six requests of a sample, of which each may be asked again."""
        if self.budget is None:
            return True
        sampled = self.how.mode == "sampled"
        chats = ratings.judge_chats(self.templates, chat) * (self.how.attempts if sampled else 1)
        return self.budget.afford(key, chats, self.how.max_new_tokens if sampled else REPLY)

    def _begin(self, key: K, chat: Chat) -> Rated | None:
        """Hand over six requests, or say why not."""
        if not self._pays(key, chat):
            self.unpaid += 1
            return UNPAID
        if self.how.mode == "sampled":
            six = _Six(key, ratings.judge_chats(self.templates, chat))
            for column in range(SIX):
                self._draw(_Tag(six, column))
            return None
        if self.how.model == "endpoint":
            whole: _Six[K] = _Six(key)
            for column, asked in enumerate(ratings.judge_chats(self.templates, chat)):
                cast("EndpointJudge", self.engine).ask_chat(_Tag(whole, column), asked)
            return None
        prompts = ratings.judge_prompts(self.templates, self.engine, chat, self.begun)
        if not all(prompts):
            return ratings.too_long(self.engine)
        six = _Six(key)
        tags = [_Tag(six, column) for column in range(SIX)]
        if self.how.backend == "server":
            cast("ServerJudge", self.engine).ask_together(tags, prompts)
            return None
        for tag, prompt in zip(tags, prompts, strict=True):
            cast("Engine", self.engine).ask(tag, prompt)
        return None

    def _draw(self, tag: _Tag) -> None:
        how = self.how
        seed = batches.seed(*self.seed, "judge", tag.six.key, tag.column, tag.attempt)
        chat = tuple(tag.six.chats[tag.column])
        call = Call(tag, chat, how.max_new_tokens, how.temperature, how.top_p, seed, begun=self.begun)
        self.engine.submit(call, top_k=how.top_k, constrain=how.constrain)

    def _note(self, tag: _Tag, result: Rating | Generation) -> _Six[Any]:
        """Take down a result; a reply without a rating is asked for again, judge.attempts times."""
        if isinstance(result, Generation):
            value = None if result.error else first_rating(result.text)
            if value is None and result.error is None and tag.attempt + 1 < self.how.attempts:
                self._draw(_Tag(tag.six, tag.column, tag.attempt + 1))
                return tag.six
            result = Rating(value, 0.0, (result.error or no_rating(result.text)) if value is None else None)
        tag.six.found[tag.column] = result
        return tag.six

    def _rated(self, six: _Six[Any]) -> Rated:
        found = [six.found[column] for column in range(SIX)]
        if self.how.mode == "expected":
            return ratings.read_six(self.how, found)
        values = tuple(r.value for r in found if r.value is not None)
        if len(values) < SIX:
            return Rated(None, None, None, next(r.error for r in found if r.value is None))
        return Rated(values, sum(values) / SIX, None)
