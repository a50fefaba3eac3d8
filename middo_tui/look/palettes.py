"""What every theme's colours are, by name. ``theme.ROLES`` is made of them; nothing else here names a colour.

A value is a style in Rich's words: mostly a colour, in the 16-colour and the colourless theme also an attribute. Tests
hold the contrasts: text 4.5:1 in dark and light, 7:1 in high contrast. The 16-colour theme uses the terminal's own
palette and default colours, whatever they are: no white, no black and no bright black, which are the background of
somebody's terminal.
"""

from __future__ import annotations

from collections.abc import Mapping

Palette = Mapping[str, str]

DARK: Palette = {
    "background": "#11151c",
    "foreground": "#d3d8df",
    "muted": "#7f8894",
    "faint": "#4a525e",
    "complexity": "#ff9d5c",
    "diversity": "#4fc8e0",
    "quality": "#8fd16f",
    "active": "#7fb4ff",
    "decide": "#cfa5ff",
    "bad": "#ff6b6b",
    "older": "#77808c",
    "old": "#565e69",
    "oldest": "#414953",
    "raised": "on #273040",
}
LIGHT: Palette = {
    "background": "#fbfaf7",
    "foreground": "#1d2127",
    "muted": "#5d6570",
    "faint": "#b9bec6",
    "complexity": "#a64b00",
    "diversity": "#006a80",
    "quality": "#2f6d10",
    "active": "#1c54b8",
    "decide": "#7a35b8",
    "bad": "#b91c1c",
    "older": "#767d88",
    "old": "#9aa0a9",
    "oldest": "#b4b9c1",
    "raised": "on #e2e6ec",
}
CONTRAST: Palette = {
    "background": "#000000",
    "foreground": "#ffffff",
    "muted": "#c6c6c6",
    "faint": "#8c8c8c",
    "complexity": "#ffb84d",
    "diversity": "#5fe3ff",
    "quality": "#9dff6b",
    "active": "#8ec5ff",
    "decide": "#e5b3ff",
    "bad": "#ff8f8f",
    "older": "#b8b8b8",
    "old": "#a2a2a2",
    "oldest": "#868686",
    "raised": "on #303030",
}
COLOURBLIND: Palette = {
    "background": "#11151c",
    "foreground": "#d3d8df",
    "muted": "#828b96",
    "faint": "#4a525e",
    "complexity": "#ce8115",
    "diversity": "#34a8f0",
    "quality": "#e8d743",
    "active": "#9ecbff",
    "decide": "#a9719c",
    "bad": "#ed655e",
    "older": "#77808c",
    "old": "#565e69",
    "oldest": "#414953",
    "raised": "on #273040",
}
"""No meaning by red against green: told apart with any one kind of cones missing (a test holds the distances)."""
ANSI: Palette = {
    "background": "ansi_default",
    "foreground": "ansi_default",
    "muted": "dim",
    "faint": "dim",
    "complexity": "yellow",
    "diversity": "cyan",
    "quality": "green",
    "active": "bright_blue",
    "decide": "magenta",
    "bad": "red",
    "older": "dim",
    "old": "dim blue",
    "oldest": "dim cyan",
    "raised": "reverse",
}
COLOURLESS: Palette = {
    "background": "ansi_default",
    "foreground": "ansi_default",
    "muted": "dim",
    "faint": "dim",
    "complexity": "",
    "diversity": "",
    "quality": "",
    "active": "",
    "decide": "",
    "bad": "",
    "older": "dim",
    "old": "dim",
    "oldest": "dim",
    "raised": "reverse",
}
"""Under NO_COLOR: attributes only. Marks, letters and words carry what colours carry elsewhere."""
