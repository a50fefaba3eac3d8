"""Cases from seeds: bytes are changed, cut, doubled and spliced, JSON values are replaced by unlikely ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

WORDS = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\x1b]52;c;aGk=\x07",
    b"\xe2\x80\xae",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"[" * 2000,
    b'{"a":' * 500,
    b"\\ud800",
    b"\\u0000",
    b'""',
    b"null",
    b"true",
    b"\r\n",
    b"\r",
    b"<prompt>",
    b"</prompt>",
    b"<think>",
    b"</think>",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"PAR1",
    b"'",
    b'"',
    b",",
    b"${x}",
    b"{{ x }}",
    b"../../etc/passwd",
    b"2147483648",
    b"9223372036854775808",
    b"A" * 3000,
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    2**63,
    10**300,
    "",
    "a",
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    [{}],
    {"": None},
    "user",
    "assistant",
    [1, "a", None],
    {"role": 1},
    {"content": [{"type": "text"}]},
    "x" * 2000,
    float("nan"),
    float("inf"),
)


def mutate(chance: random.Random, seed: bytes, others: Sequence[bytes]) -> bytes:
    """One case: up to four changes of ``seed``."""
    case = seed
    if chance.random() < 0.4 and (changed := _json(chance, case)) is not None:
        case = changed
        if chance.random() < 0.6:
            return case
    for _ in range(chance.randint(1, 4)):
        case = _bytes(chance, case, others)
    return case[:200_000]


def _bytes(chance: random.Random, case: bytes, others: Sequence[bytes]) -> bytes:
    at, end = sorted((chance.randint(0, len(case)), chance.randint(0, len(case))))
    how = chance.randrange(7)
    if how == 0:
        return case[:at]
    if how == 1:
        return case[:at] + case[end:]
    if how == 2:
        return case[:at] + case[at:end] * 2 + case[end:]
    if how == 3:
        return case[:at] + chance.choice(WORDS) + case[at:]
    if how == 4:
        return case[:at] + chance.choice(WORDS) + case[end:]
    if how == 5 and case:
        place = chance.randrange(len(case))
        return case[:place] + bytes([case[place] ^ 1 << chance.randrange(8)]) + case[place + 1 :]
    other = chance.choice(others)
    return case[:at] + other[chance.randint(0, len(other)) :]


def _json(chance: random.Random, case: bytes) -> bytes | None:
    """A JSON text, or one line of several, with a value or a key replaced; None when it is no JSON."""
    lines = case.splitlines()
    at = chance.randrange(len(lines)) if lines else 0
    for text, before, after in (
        (case, b"", b""),
        *((lines[at], b"\n".join(lines[:at]), b"\n".join(lines[at + 1 :])),) * bool(lines),
    ):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(_replaced(chance, value)).encode("utf-8", "surrogatepass")
        return b"\n".join(part for part in (before, changed, after) if part)
    return None


def _replaced(chance: random.Random, value: Any, depth: int = 0) -> Any:
    if not isinstance(value, list | dict) or not value or chance.random() < 0.15 * depth:
        return chance.choice(VALUES)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value[:at] + value[at + 1 :]
        return [_replaced(chance, one, depth + 1) if i == at else one for i, one in enumerate(value)]
    key = chance.choice(list(value))
    if chance.random() < 0.15:
        return {(str(chance.choice(VALUES))[:50] if name == key else name): one for name, one in value.items()}
    return {name: _replaced(chance, one, depth + 1) if name == key else one for name, one in value.items()}
