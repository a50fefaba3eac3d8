"""Loads a tokenizer and checks its chat template; replies must have an end that can be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from engine.chat.template import special_pattern, template_of
from engine.chat.template_inputs import forms
from engine.chat.turn_layout import end_text, layout, tail_text
from engine.config.named_templates import TEMPLATES, template_text
from engine.errors import ModelError
from engine.store.rows import Message

WITHOUT_BOS = ("alpaca", "chatml")
"""Those that say nothing of a beginning of text, because not every tokenizer has one."""
PLAIN = (Message("user", "U"), Message("assistant", "A"))

_notes: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def load_tokenizer(path: str | Path, chat_template: str = "") -> Any:
    """The tokenizer in ``path``, with a chat template that works and a padding token.

    ``chat_template`` names one of ours (``TEMPLATES``) or a file, to be used instead of the tokenizer's own.

    Raises:
        ModelError: unreadable, not a fast tokenizer, no chat template, or one that cannot be followed or ended.
        ConfigError: there is no such template.
    """
    from transformers import AutoTokenizer

    local = Path(path).is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=local)
        tokenizer.encode("one two")
    except Exception as error:  # what libraries raise on files that are not as they expect has no bounds
        raise _unusable(path, error) from error
    if not tokenizer.is_fast:
        raise ModelError(f"{path}: only a slow tokenizer, which has no offsets. Add its tokenizer.json.")
    if _loses_spaces(tokenizer):
        tokenizer = _as_written(path)
    if chat_template:
        tokenizer.chat_template = template_text(chat_template)
    elif isinstance(tokenizer.chat_template, dict):
        if "default" not in tokenizer.chat_template:
            raise ModelError(
                f"{path}: the tokenizer has chat templates named {', '.join(sorted(tokenizer.chat_template))}, and no"
                " default. Save one as a file and set [model] chat_template to it."
            )
        tokenizer.chat_template = tokenizer.chat_template["default"]
    if not tokenizer.chat_template:
        raise ModelError(
            f"{path}: the tokenizer has no chat template. Set one in config.toml ([model] chat_template = "
            f"{', '.join(TEMPLATES)} or a file), or use an instruction-tuned model."
        )
    if chat_template in WITHOUT_BOS and _begins_with_bos(tokenizer):
        tokenizer.chat_template = "{{- bos_token -}}\n" + tokenizer.chat_template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    template, ways = template_of(tokenizer), forms(PLAIN, "", lambda _: False)
    if all(layout(template, form, thinking=False) is None for form in ways):
        raise ModelError(
            f"{path}: the chat template changes the text of a user or assistant turn. "
            "Set another in config.toml ([model] chat_template)."
        )
    _give_an_end(tokenizer, path)
    return tokenizer


def _unusable(path: str | Path, error: Exception) -> ModelError:
    """The error for unusable tokenizer files, with the fix."""
    if Path(path).is_dir() and not (Path(path) / "tokenizer.json").exists():
        return ModelError(
            f"{path}: its tokenizer has no tokenizer.json, and cannot be read otherwise here ({_first_line(error)})."
            " Where sentencepiece and tiktoken are installed, AutoTokenizer.from_pretrained(…).save_pretrained(…)"
            " writes one."
        )
    return ModelError(
        f"{path}: no usable tokenizer here ({_first_line(error)}). "
        "Use a model with tokenizer.json and tokenizer_config.json."
    )


def _loses_spaces(tokenizer: Any) -> bool:
    """Whether words with and without spaces give the same tokens."""
    spaced, joined = (tokenizer.encode(text, add_special_tokens=False) for text in ("one two six", "onetwosix"))
    return bool(spaced == joined)


def _as_written(path: str | Path) -> Any:
    """The tokenizer as its tokenizer.json says, not as transformers builds it for the class that its config names.

    A Llama tokenizer class around a byte-level tokenizer.json (DeepSeek's models have that) loses all spaces.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=Path(path).is_dir())
    if _loses_spaces(tokenizer):
        raise ModelError(f"{path}: the tokenizer loses the spaces between words. Use the model's own tokenizer.json.")
    return tokenizer


def note(tokenizer: Any) -> str:
    """A note on what ``load_tokenizer`` changed in the chat template; "" if nothing."""
    return _notes.get(tokenizer, "")


def end_of_turn(tokenizer: Any) -> int | None:
    """The id of the token that ends an assistant turn in the chat template; None if there is none."""
    template = template_of(tokenizer)
    text = end_text(template)
    if special_pattern(template.special_texts).fullmatch(text):
        return int(tokenizer.convert_tokens_to_ids(text))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return int(ids[0]) if len(ids) == 1 else None


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer adds a BOS token by itself."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _give_an_end(tokenizer: Any, path: str | Path) -> None:
    """Have turns end with the tokenizer's end of text where the template's end of turn is no token of it.

    As several ordinary tokens, an end of turn would be learned as a part of every answer, and generation would not
    stop there. What is saved with the tokenizer is the changed template, so that turns end elsewhere as they do here.
    """
    template = template_of(tokenizer)
    if end_of_turn(tokenizer) is not None:
        return
    if tokenizer.eos_token is None:
        raise ModelError(
            f"{path}: the tokenizer knows no end of text, nor the chat template's end of turn: no reply would end. "
            "Set eos_token in tokenizer_config.json, or name another [model] chat_template."
        )
    text = tail_text(template).strip()
    if text and text in template.source and _marks(text):
        tokenizer.chat_template = template.source.replace(text, tokenizer.eos_token)
        _notes[tokenizer] = (
            f"the tokenizer has no {text}, which ends the chat template's turns: they end with {tokenizer.eos_token}"
        )


def _marks(text: str) -> bool:
    """Whether a text looks like markup rather than words."""
    return text[0] in "<[{" and text[-1] in ">]}" and not any(c.isspace() for c in text)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
