"""Is a new prompt worth an answer? What its text tells as soon as it is there, before its answer is paid for.

A copy of a prompt that there is already can never be merged, nor can one that gives a held-out sample away; of the
demo's rewrites for diversity three of five were such copies, each with an answer. The verify stage looks at the whole
rewrite again, by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.store import prompt_keys
from engine.store.dataset import Dataset
from engine.store.rows import Sample
from engine.verification import text_checks
from engine.verification.corpus import Corpus, DatasetPrompts
from engine.verification.text_checks import Exchange, HeldOut, Rejection


@dataclass(slots=True)
class NewPrompts:
    """What new prompts are held against: the dataset's and the round's other ones, and the held-out set.

    known: n-grams of the held-out set that the dataset holds anyway.
    """

    corpus: Corpus
    held: HeldOut
    items: Mapping[prompt_keys.Key, int]
    known: set[str]
    data: Dataset

    @classmethod
    def of(cls, data: Dataset, heldout: Sequence[Sample], ngram: int) -> NewPrompts:
        """Of a dataset and the held-out samples. ``ngram``: words in a row; 0: off."""
        held = HeldOut.of([Exchange(s.prompt, s.response) for s in heldout], ngram)
        known: set[str] = set()
        for sample in data if held.grams else ():
            known |= held.overlap(Exchange(sample.prompt, sample.response))
        items = {prompt_keys.key(s.messages): s.id for s in heldout}
        return cls(Corpus.of(DatasetPrompts(data)), held, items, known, data)

    def add(self, number: int, prompt: str) -> None:
        """One more prompt of this round's, ``number`` among them."""
        self.corpus.add(-1 - number, prompt)

    def refuse(self, new: Sample, original: Sample, axis: str) -> Rejection | None:
        """Why the prompt of ``new`` is worth no answer; None when nothing speaks against it.

        ``new`` has the prompt in its context and any answer that is not the teacher's, which is not looked at.
        """
        exchange = Exchange(new.prompt, original.response)
        return (
            text_checks.inspect_prompt(exchange, Exchange(original.prompt, original.response))
            or held_out_prompt(new, self.items)
            or text_checks.evaluation_overlap(Exchange(new.prompt, ""), self.held, self.known)
            or copied(self.corpus, new.prompt, own_of(axis, original.id), self.data)
        )


def own_of(axis: str, original: int) -> tuple[int, ...]:
    """The samples whose prompt a rewrite may have: its original, when it replaces that."""
    return () if axis == "diversity" else (original,)


def held_out_prompt(new: Sample, items: Mapping[prompt_keys.Key, int]) -> Rejection | None:
    """Whether the prompt, in its context or alone, is a held-out sample's. ``items``: their ids by their prompts."""
    item = prompt_keys.item(new.messages, items)
    return None if item is None else Rejection("evaluation", f"the prompt is item {item} of the held-out set")


def copied(corpus: Corpus, prompt: str, own: Sequence[int], data: Dataset) -> Rejection | None:
    """Whether a prompt is a near copy of a sample's or of another rewrite's. ``own``: samples that do not count."""
    near = corpus.near(prompt, but=own)
    if near is None:
        return None
    whom = "another rewrite of this round" if near[0] in corpus.added else f"#{data.take([near[0]])[0].seq}"
    how = "the same as" if near[1] == 1 else f"nearly the same as ({near[1]:.0%} shared)"
    return Rejection("duplicate", f"the prompt is {how} that of {whom}")
