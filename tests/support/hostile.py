"""Text that must never reach a terminal as it is. Each entry names what it would do there."""

from __future__ import annotations

CORPUS: dict[str, str] = {
    "osc52 writes the clipboard": "a\x1b]52;c;cm0gLXJmIC8=\x07b",
    "osc0 sets the title": "a\x1b]0;owned\x07b",
    "osc8 makes a link": "a\x1b]8;;http://evil.example\x1b\\b\x1b]8;;\x1b\\",
    "csi clears the screen": "a\x1b[2J\x1b[Hb",
    "csi asks where the cursor is": "a\x1b[6nb",
    "c1 csi": "a\x9b2Jb",
    "c1 osc": "a\x9d0;owned\x9cb",
    "dcs": "a\x1bP1;1|17/ab\x1b\\b",
    "dec private": "a\x1b[?1049lb",
    "backspaces hide what was there": "rm -rf /\x08\x08\x08\x08\x08\x08\x08\x08ls",
    "carriage return": "harmless\revil",
    "bell": "a\x07b",
    "nul": "a\x00b",
    "delete": "a\x7fb",
    "bidi override": "a\u202efdp.exe\u202cb",
    "bidi isolate": "a\u2066b\u2069c",
    "zero width": "a\u200bb\u200dc\u2060d\ufeffe",
    "line separator": "a\u2028b\u2029c",
    "tag characters": "a\U000e0041\U000e0042b",
    "lone surrogate": "a\ud800b",
    "rich markup": "a[red]b[/red][link=http://evil.example]c[/link]",
    "textual markup": "a[@click=app.quit]b[/]",
    "unclosed markup": "a[/b",
    "shift out": "a\x0eb\x0f",
}
"""By name. Markup is in it because it must be shown as it is, not because it is hidden."""

# bytes that the text above would put on the wire if nothing stopped it; none of them is ever written by the app itself
NEVER = (
    b"\x1b]52",
    b"\x1b]0;owned",
    b"\x1b]8;;http",
    b"\x1b[2J",
    b"\x9b2J",
    b"\xc2\x9b",
    b"\xc2\x9d",
    b"\x1bP1",
    b"\x07",
    b"\x00",
    b"\x7f",
    b"\x08",
    b"\x0e",
    b"\xe2\x80\xae",
    b"\xe2\x80\x8b",
    b"\xe2\x81\xa6",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xf3\xa0\x81\x81",
    b"\xed\xa0\x80",
)
ONE_MEGABYTE = "x" * (1 << 20)
