"""The rewrite and judge prompts as text files beside this one; a project may override any in
PROJECT/prompts/NAME.txt.

A template is plain text with placeholders such as ``{prompt}``. They are replaced in one pass over the
template, so data that holds braces is never read as a placeholder. A first line ``# version: N`` names the
template's version and is not sent; the hash covers the text that is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError

HERE = Path(__file__).parent

# By template: the placeholders it must have, and those it may have.
PLACEHOLDERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "simplify": (frozenset({"prompt"}), frozenset({"prompt", "response"})),
    "diversify": (frozenset({"prompt"}), frozenset({"prompt", "hints", "response"})),
    "improve": (frozenset({"prompt"}), frozenset({"prompt", "response"})),
    "answer": (frozenset({"prompt"}), frozenset({"prompt"})),
    "judge_prompt": (frozenset({"prompt", "dimension"}), frozenset({"prompt", "response", "dimension"})),
    "judge_response": (frozenset({"response", "dimension"}), frozenset({"prompt", "response", "dimension"})),
}

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_VERSION = re.compile(r"# version: (\S+)\n")

# What a reply must not carry into a sample: tags and headings of the request itself, and chat markup.
SCAFFOLDING = re.compile(
    r"</?prompt>|</?think>|\{(?:prompt|response|hints|dimension)\}"
    r"|^\W{0,4}(?:the )?(?:rewritten|simplified|improved|new|core|original) prompt\W{0,4}:"
    r"|<\|[a-z_]+\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE | re.MULTILINE,
)
OPENING, CLOSING = "<prompt>", "</prompt>"
_TAG = re.compile(r"</?prompt>", re.IGNORECASE)
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A prompt template: where it lies, its version and its text."""

    name: str
    path: Path
    version: str
    text: str

    @property
    def hash(self) -> str:
        """Twelve hex digits of the text: which wording a result came from."""
        return hashlib.blake2b(self.text.encode(), digest_size=6).hexdigest()

    @property
    def label(self) -> str:
        """Name, version and hash, as a stage records which prompt it used."""
        return f"{self.name} v{self.version} ({self.hash})"

    def fill(self, **values: str) -> str:
        """The text with every placeholder replaced.

        Raises:
            ConfigError: a placeholder that ``values`` does not have; names the file.
        """

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ConfigError(f"{self.path}: {match[0]} has no value here. There are {_braced(values)}.")
            return values[match[1]]

        return _PLACEHOLDER.sub(value, self.text)


def load(name: str, project: Path | None = None) -> PromptTemplate:
    """Template ``name``: the project's own where it has one, else ours.

    Raises:
        ConfigError: not UTF-8, empty, a placeholder that is unknown or one that is missing; names the file.
    """
    required, allowed = PLACEHOLDERS[name]
    own = project / "prompts" / f"{name}.txt" if project else None
    path = own if own and own.is_file() else HERE / f"{name}.txt"
    version, text = _read(path)
    there = set(_PLACEHOLDER.findall(text))
    if unknown := there - allowed:
        raise ConfigError(f"{path}: unknown placeholder {_braced(unknown)}. {name}.txt may have {_braced(allowed)}.")
    if missing := required - there:
        raise ConfigError(f"{path}: placeholder {_braced(missing)} is missing. Put it where the text belongs.")
    return PromptTemplate(name, path, version, text)


def _read(path: Path) -> tuple[str, str]:
    """Version and text of a template file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    version = "0"
    if found := _VERSION.match(text):
        version, text = found[1], text[found.end() :]
    if not text.strip():
        raise ConfigError(f"{path}: empty. Remove the file to use the built-in prompt.")
    return version, text.removesuffix("\n")


def _braced(names: Iterable[str]) -> str:
    return ", ".join(sorted("{" + name + "}" for name in names))


def spoken(reply: str) -> str:
    """A reply without the thinking that a reasoning model puts before it, stripped."""
    thought = _THOUGHT.match(reply)
    return reply[thought.end() if thought else 0 :].strip()


def tagged(text: str) -> list[str]:
    """What stands between each <prompt> and the next </prompt>, in one pass whatever a reply repeats."""
    out, start = [], None
    for tag in _TAG.finditer(text):
        closing = tag[0].startswith("</")
        if closing and start is not None:
            out.append(text[start : tag.start()])
        start = None if closing else tag.end() if start is None else start
    return out


def scaffolding(text: str, original: str) -> str | None:
    """The first piece of scaffolding in ``text`` that ``original`` does not hold itself, or None."""
    known = original.lower()
    pieces = dict.fromkeys(match[0].strip() for match in SCAFFOLDING.finditer(text))  # each looked for once
    return next((piece for piece in pieces if piece.lower() not in known), None)


MALFORMED = ("the reply is empty", "expected exactly one ", "the text between ", "the new prompt holds scaffolding ")
"""What the reasons begin with why a reply holds no new prompt."""


def parse_prompt(reply: str, original: str = "") -> tuple[str | None, str | None]:
    """The new prompt of a rewriter's reply, or the reason why the reply is malformed (the other one is None).

    ``original`` is the text that was rewritten: what looks like scaffolding there is content.
    """
    text = spoken(reply)
    if not text:
        return None, "the reply is empty"
    found = tagged(text)
    if len(_TAG.findall(text)) != 2 or len(found) != 1:
        return None, f"expected exactly one <prompt>…</prompt>, found {len(found)}"
    prompt = found[0].strip()
    if not prompt:
        return None, "the text between <prompt> and </prompt> is empty"
    if left := scaffolding(prompt, original):
        return None, f"the new prompt holds scaffolding of the request: {left!r}"
    return prompt, None
