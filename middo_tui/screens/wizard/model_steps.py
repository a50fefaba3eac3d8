"""The wizard's steps that ask for a model: the one to fine-tune, and its teacher."""

from __future__ import annotations

from functools import cached_property

from msgspec.structs import replace

from engine.backends import roles
from engine.doctor import report
from engine.doctor.finding import Finding
from engine.errors import UsageError
from engine.models import written
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import Draft, Offer
from middo_tui.screens.wizard.steps import EntryStep
from middo_tui.widgets.choices import Item


class ModelNameStep(EntryStep):
    """Asks for a model: a name on the Hub, or a folder."""

    @staticmethod
    def known() -> list[Offer]:
        """Models to offer; those in the Hub's cache among them."""
        raise NotImplementedError

    @cached_property
    def _known(self) -> list[Offer]:
        return self.known()  # looks through the cache: not at every key

    def offers(self, typed: str) -> list[Offer]:
        """Known models with ``typed`` in their names, then folders."""
        known = [offer for offer in self._known if typed.lower() in offer.value.lower()]
        return [*known, *drafts.paths(typed, files=False)]


class ModelStep(ModelNameStep):
    """The model that the data is made better for."""

    TITLE = "model"
    QUESTION = (
        "Which model will you fine-tune? A folder in Hugging Face format, or a name on the Hugging Face Hub"
        " (owner/name), downloaded at the first run."
    )
    PLACEHOLDER = "folder or owner/name"
    known = staticmethod(drafts.base_models)

    def before(self) -> str:
        """The model."""
        return self.draft.model

    def answer(self, value: str) -> Draft:
        """A model with weights, config, tokenizer and template."""
        name = written.model_name(value)
        found = report.model("model", name)
        if found.bad:
            raise UsageError(_sentences(found))
        preset = drafts.fitting_preset(name) if name != self.draft.model else self.draft.preset
        return replace(self.draft, model=name, preset=preset)


class TeacherStep(ModelNameStep):
    """Who rewrites, and which text leaves the machine for it."""

    TITLE = "teacher"
    QUESTION = (
        "Which teacher model? It rewrites the selected samples; a stronger one helps more. A folder or a Hub name"
        " (append vllm to run it in vLLM, which is faster), or a server: URL MODEL, then the variable with its API key."
    )
    PLACEHOLDER = "folder, owner/name, or https://… MODEL VARIABLE"
    known = staticmethod(drafts.teachers)

    def before(self) -> str:
        """The teacher."""
        return self.draft.teacher

    def offers(self, typed: str) -> list[Offer]:
        """The model itself, models that follow instructions, then folders."""
        if typed.startswith("http"):
            return []
        itself = [Offer(Item("the model itself", "no other model needed"), "")]
        return [*([] if typed else itself), *super().offers(typed)]

    def about(self, value: str) -> str:
        """What leaves the machine."""
        return drafts.leaves(value)

    def answer(self, value: str) -> Draft:
        """A model, a server, or none."""
        typed = value.strip()
        if typed:
            settings = written.teacher(typed)
            if settings["backend"] != "openai" and (found := report.model("teacher", settings["model"])).bad:
                raise UsageError(_sentences(found))
            if settings["backend"] == "vllm" and roles.vllm_version() is None:
                raise UsageError(roles.missing(("teacher",)))
        return replace(self.draft, teacher=typed)


def _sentences(found: Finding) -> str:
    """What is wrong, then what to do."""
    fix = found.fix.rstrip(".")
    return f"{found.text.rstrip('.')}. {fix[:1].upper()}{fix[1:]}."
