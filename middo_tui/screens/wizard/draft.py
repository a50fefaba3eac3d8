"""What the wizard has been told so far, and what it can offer: no widgets here, so it can be tested without a screen.

Nothing in this file writes; what lists folders may block and belongs in a thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from engine.config import defaults
from engine.config import schema as configs
from engine.formats import Source, source_of
from engine.models import written
from engine.plurals import counted
from middo_tui.feed.home import is_project, project_around
from middo_tui.terminal import guard
from middo_tui.widgets.choices import Item

if TYPE_CHECKING:
    from engine.doctor.report import Keep

LISTED = 200
DATA_ENDS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz", ".zst")


class Offer(NamedTuple):
    """A row to choose and what choosing it puts in; ``open``: a folder to look into, not yet an answer."""

    item: Item
    value: str
    open: bool = False


class Draft(Struct, frozen=True):
    """``demo``: the embedded demo instead of everything else. ``format`` auto and ``columns`` empty: as detected.

    ``encodings``: those that a file may have which is not UTF-8; it is read in the first.

    ``fetched``: what ``data`` is when it is a hub's dataset; None for a path.

    ``allow_overlap``: rows whose prompts are held out are trained on as well.

    ``keep``: keeps in the project how fast the doctor found the models.

    ``teacher`` empty: the model itself; else a folder, a hub name, or ``URL MODEL [VARIABLE]`` of a server.
    """

    demo: bool = False
    data: str = ""
    fetched: Source | None = None
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    encodings: tuple[str, ...] = ()
    model: str = ""
    teacher: str = ""
    preset: str = ""
    folder: str = ""
    allow_overlap: bool = False
    keep: Keep | None = None

    @property
    def source(self) -> Source:
        """The data, as its rows are read."""
        return self.fetched or source_of(Path(self.data).expanduser())

    @property
    def place(self) -> Path:
        """Where the project will be."""
        return Path(self.folder).expanduser()

    def reading(self) -> configs.Data:
        """How the data is read."""
        return configs.parse(defaults.render({"data": self._data() | {"columns": self.columns}}), "data").data

    def _data(self) -> dict[str, Any]:
        return {"format": self.format, **({"encoding": self.encodings[0]} if self.encodings else {})}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Everything that is not the default, by section.

        Raises:
            UsageError: the teacher cannot be meant.
            ConfigError: there is no such preset.
        """
        found: dict[str, dict[str, Any]] = {}
        if self.preset:
            found = {section: dict(keys) for section, keys in defaults.preset(self.preset).items()}
        found.setdefault("model", {})["name"] = self.model
        found["data"] = self._data() | ({"columns": self.columns} if self.columns else {})
        found["data"] |= {"allow_overlap": True} if self.allow_overlap else {}
        if self.teacher:
            found["teacher"] = written.teacher(self.teacher)
        return found


def leaves(typed: str) -> str:
    """Which text would leave the machine with this teacher."""
    if not typed.startswith(written.ENDPOINT):
        return "No text leaves this machine."
    host = configs.Teacher(backend="openai", url=typed.split()[0]).sent_to
    if not host:
        return "No text leaves this machine: the server runs locally."
    return f"Prompts, responses and neighbours of selected samples will be sent to {guard.one_line(host)}."


# ------------------------------------------------------------------------------------------- offers


def paths(typed: str, files: bool) -> list[Offer]:
    """What begins as was typed: folders, and with ``files`` dataset files too; hidden ones when asked for."""
    whole = Path(typed).expanduser() if typed else Path(".")
    folder, start = (whole, "") if typed.endswith("/") or not typed else (whole.parent, whole.name)
    before = typed[: len(typed) - len(start)] if start else typed
    found = []
    if files and project_around(folder.resolve()):  # what a project holds is no dataset to begin another with
        return []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                fits = entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
                if fits and (offer := _offer(entry, before, files)):
                    found.append(offer)
    except OSError:
        return []
    found.sort(key=lambda offer: (offer.open, offer.value))
    return found[:LISTED]


def _offer(entry: os.DirEntry[str], before: str, files: bool) -> Offer | None:
    name = guard.one_line(entry.name)
    try:
        if entry.is_dir():
            place = Path(entry.path)
            kind = "model" if (place / "config.json").is_file() else ""
            if files and is_project(place):
                return None
            if files and any((place / file).is_file() for file in ("state.json", "dataset_dict.json")):
                return Offer(Item(f"{name}/", "saved by `datasets`"), before + entry.name)
            if kind and not files:
                return Offer(Item(f"{name}/", "a model"), before + entry.name)
            return Offer(Item(f"{name}/", "folder"), f"{before}{entry.name}/", open=True)
        if files and entry.name.lower().endswith(DATA_ENDS):
            return Offer(Item(name, size(entry.stat().st_size)), before + entry.name)
    except OSError:
        return None
    return None


def common(values: list[str]) -> str:
    """What all of them begin with."""
    if not values:
        return ""
    low, high = min(values), max(values)
    same = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same]


def size(count: int) -> str:
    """Bytes for a person."""
    for limit, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return counted(count, "byte")


def presets() -> list[Offer]:
    """None at all, then every preset with its one line."""
    none = Offer(Item("none", "default settings: LoRA, learning rate 2e-4, for a first look"), "")
    return [none, *(Offer(Item(name, summary(name)), name) for name in defaults.presets())]


def summary(preset: str) -> str:
    """The first line of the preset's file, without the model's name."""
    line = (defaults.PRESETS / f"{preset}.toml").read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").partition(": ")[2] or line.removeprefix("# ")


def preset_models() -> list[Offer]:
    """The models that there are presets for."""
    found: dict[str, str] = {}
    for name in defaults.presets():
        found.setdefault(str(defaults.preset(name).get("model", {}).get("name", "")), name)
    return [Offer(Item(model, f"Hub · preset {name}"), model) for model, name in found.items() if model]


def hub_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The Hugging Face Hub's cache, as huggingface_hub finds it (which would take a second to import)."""
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def cached_models() -> list[Offer]:
    """Language models that are in the Hub's cache: nothing need be downloaded for them."""
    found = []
    try:
        for entry in sorted(hub_cache().glob("models--*--*")):
            name = "/".join(entry.name.split("--")[1:3])
            here = any(entry.glob("snapshots/*/config.json")) and any(entry.glob("snapshots/*/tokenizer*"))
            if here and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
                found.append(Offer(Item(name, "on this machine (Hub cache)"), name))
    except OSError:  # not ours to read: then nothing of it is offered
        return []
    return found[:LISTED]


CHAT = re.compile(r"instruct|chat|-it$|-it-", re.IGNORECASE)
"""Names of models that follow instructions."""


def _first_here(offers: list[Offer], fits: Callable[[str], object] = bool) -> list[Offer]:
    """What is on this machine first, as far as its name ``fits``; each model once, with what is known about it."""
    here = {offer.value: offer for offer in cached_models() if fits(offer.value)}
    known = {offer.value: offer for offer in offers}
    both = [offer._replace(item=offer.item._replace(aside="downloaded")) for offer in offers if offer.value in here]
    only = [offer for value, offer in here.items() if value not in known]
    return [*both, *only, *(offer for offer in offers if offer.value not in here)]


DEMO_FOLDER = "middo-demo"
DEMO_MODEL = "built in; knows only the demo's data"


def base_models() -> list[Offer]:
    """What can be fine-tuned without a folder of one's own."""
    return [*_first_here(preset_models()), Offer(Item("demo:base", DEMO_MODEL), "demo:base")]


INSTRUCT = (
    ("Qwen/Qwen2.5-7B-Instruct", "15 GB of weights"),
    ("Qwen/Qwen2.5-14B-Instruct", "30 GB of weights"),
    ("Qwen/Qwen2.5-3B-Instruct", "6 GB of weights"),
    ("meta-llama/Llama-3.1-8B-Instruct", "16 GB of weights; accept the licence"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "15 GB of weights"),
    ("demo:teacher", DEMO_MODEL),
)
"""Models that follow instructions, which a teacher must; with a word about each."""


def teachers() -> list[Offer]:
    """Models that can rewrite."""
    return _first_here([Offer(Item(name, text), name) for name, text in INSTRUCT], CHAT.search)


def fitting_preset(model: str) -> str:
    """The preset made for ``model``, by the end of its name; empty when there is none."""
    last = model.rstrip("/").rpartition("/")[2].lower()
    for name in defaults.presets():
        known = str(defaults.preset(name).get("model", {}).get("name", "")).rpartition("/")[2].lower()
        if known and last.startswith(known):
            return name
    return ""


def folder_for(data: str) -> str:
    """A folder's name for a project on this data that is not taken."""
    stem = re.sub(r"[^\w-]+", "-", Path(data).name.split(".")[0]).strip("-") or "data"
    name, number = f"middo-{stem}", 2
    while Path(name).exists():
        name, number = f"middo-{stem}-{number}", number + 1
    return f"./{name}"
