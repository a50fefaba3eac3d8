"""Maps roles to those a chat template supports: many have no system or tool role, or require alternation."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from engine.store.rows import Message

FOLDED = "folded:"
"""The kind of a user turn that begins with the system prompt, with the length of that in characters."""

Turns = tuple[Message, ...]


def mappings(turns: Turns) -> Iterator[Turns]:
    """The turns unchanged, then with increasingly strong changes of roles."""
    yield turns
    as_user = tuple(structs.replace(t, role="user") if t.role == "tool" else t for t in turns)
    yield as_user
    yield _fold_system(turns)
    yield _fold_system(as_user)
    yield _fold_runs(as_user)
    yield _fold_runs(_fold_system(as_user))


def _fold_system(turns: Turns) -> Turns:
    """System turns merged into the first user turn."""
    system = [t.content for t in turns if t.role == "system"]
    rest = [t for t in turns if t.role != "system"]
    first = next((i for i, t in enumerate(rest) if t.role == "user"), None)
    if not system or first is None:
        return turns
    head = "\n\n".join(system)
    rest[first] = structs.replace(rest[first], content=f"{head}\n\n{rest[first].content}", kind=f"{FOLDED}{len(head)}")
    return tuple(rest)


def _fold_runs(turns: Turns) -> Turns:
    """Merge adjacent turns of one role, for templates that require alternation."""
    out: list[Message] = []
    for turn in turns:
        if out and out[-1].role == turn.role and out[-1].train == turn.train:
            out[-1] = structs.replace(out[-1], content=f"{out[-1].content}\n\n{turn.content}")
        else:
            out.append(turn)
    return tuple(out)
