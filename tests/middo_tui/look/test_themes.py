"""The themes: readable by figures, every meaning told apart, switched everywhere, chosen by file or terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from math import dist
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color

from engine.errors import ConfigError
from middo_tui.app import MiddoApp
from middo_tui.look import preferences, theme
from middo_tui.look.palettes import ANSI, COLOURLESS
from middo_tui.look.preferences import Preferences
from tests.support import stores
from tests.support.terminal import Terminal

PAINTED = ("middo", "middo-light", "middo-contrast", "middo-colourblind")
TEXT = frozenset(theme.MEANS) - {"faint", "series-0", "series-1", "series-2", "series-3"}
MEANINGS = ("", "dim", "strong", "key", "decide", "bad", "complexity", "diversity", "quality", "cursor")
SERIES = ("series-0", "series-1", "series-2", "series-3")


@pytest.fixture(autouse=True)
def _usual_roles() -> Iterator[None]:
    yield
    theme.use(theme.DEFAULT)


def luminance(color: Color) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    light, dark = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colours(name: str, style: Style) -> tuple[str, str]:
    """Foreground and background of a role on the theme's background."""
    palette = theme.PALETTES[name]
    fore = style.color.name if style.color else palette["foreground"]
    back = style.bgcolor.name if style.bgcolor else palette["background"]
    return fore, back


@pytest.mark.parametrize("name", PAINTED)
def test_every_text_can_be_read(name: str) -> None:
    least = 7.0 if name == "middo-contrast" else 4.5
    found = {role: contrast(*colours(name, style)) for role, style in theme.styles(theme.PALETTES[name]).items()}
    assert {role: round(ratio, 2) for role, ratio in found.items() if role in TEXT and ratio < least} == {}


@pytest.mark.parametrize("name", PAINTED)
def test_curves_and_rules_can_be_seen_and_older_curves_step_back(name: str) -> None:
    styles = theme.styles(theme.PALETTES[name])
    steps = [contrast(*colours(name, styles[role])) for role in SERIES]
    assert steps == sorted(steps, reverse=True)
    assert min(*steps, contrast(*colours(name, styles["faint"]))) >= (3.0 if name == "middo-contrast" else 1.6)


# Machado, Oliveira and Fernandes 2009: how colours are seen without one kind of cones (linear RGB).
MISSING = {
    "none": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "long": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "medium": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "short": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
SEEN = ("complexity", "diversity", "quality", "decide", "bad", "foreground")


def lab(colour: str, missing: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in Color.parse(colour).normalized]
    red, green, blue = (
        max(0.0, min(1.0, sum(m * c for m, c in zip(row, linear, strict=True)))) for row in MISSING[missing]
    )
    white = (
        (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047,
        0.2126729 * red + 0.7151522 * green + 0.0721750 * blue,
        (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in white)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("missing", MISSING)
def test_the_colour_blind_theme_is_told_apart_whatever_cones_are_missing(missing: str) -> None:
    palette = theme.PALETTES["middo-colourblind"]
    seen = {name: lab(palette[name], missing) for name in SEEN}
    distances = {(a, b): dist(seen[a], seen[b]) for a, b in combinations(SEEN, 2)}
    assert min(distances.values()) > 20, sorted(distances.items(), key=lambda pair: pair[1])[0]


@pytest.mark.parametrize("name", theme.PALETTES)
def test_every_meaning_has_a_look_of_its_own(name: str) -> None:
    styles = theme.styles(theme.PALETTES[name])
    for group in (MEANINGS, SERIES):
        same = [(one, other) for one, other in combinations(group, 2) if styles[one] == styles[other]]
        assert same == []


def test_without_colour_what_needs_a_person_is_still_marked() -> None:
    styles = theme.styles(COLOURLESS)
    assert all(style.color is None and style.bgcolor is None for style in styles.values())
    assert len({styles[role] for role in ("", "dim", "strong", "cursor")}) == 4
    assert styles["decide"].bold
    assert styles["bad"].bold


def test_sixteen_colours_are_never_black_white_or_a_shade_of_them() -> None:
    names = {style.color.name for style in theme.styles(ANSI).values() if style.color}
    assert not {name for name in names if "black" in name or "white" in name or name.startswith("#")}


def test_every_role_is_in_every_theme() -> None:
    for name in theme.PALETTES:
        theme.use(name)
        assert set(theme.ROLES) == set(theme.MEANS)


async def test_changing_the_theme_repaints_everything(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for name in (*PAINTED[1:], PAINTED[0]):
            app.wear(name)
            await pilot.pause()
            palette = theme.PALETTES[name]
            strips = app.screen._compositor.render_strips()
            backs = {s.style.bgcolor.name for strip in strips for s in strip if s.style and s.style.bgcolor}
            fores = {s.style.color.name for strip in strips for s in strip if s.style and s.style.color}
            assert backs == {palette["background"]}
            assert {palette["active"], palette["muted"], palette["complexity"]} <= fores
            others = {p[key] for n, p in theme.PALETTES.items() if n != name for key in ("active", "muted")}
            assert not fores & others


# ---------------------------------------------------------------------------------------- choosing


def test_the_terminal_decides_where_nobody_did() -> None:
    assert preferences.fitting({"TERM": "xterm-256color"}) == theme.DEFAULT
    assert preferences.fitting({"TERM": "xterm", "COLORTERM": "truecolor"}) == theme.DEFAULT
    for term in ("linux", "xterm", "screen", "xterm-16color", "vt220"):
        assert preferences.fitting({"TERM": term}) == theme.SIXTEEN


def write(place: Path, text: str) -> dict[str, str]:
    (place / "middo-tui").mkdir(exist_ok=True)
    (place / "middo-tui" / "config.toml").write_text(text, encoding="utf-8")
    return {"XDG_CONFIG_HOME": str(place), "TERM": "xterm-256color"}


def test_the_file_decides_and_the_environment_before_it(tmp_path: Path) -> None:
    environ = write(tmp_path, '[app]\ntheme = "middo-light"\nmouse = false\n')
    assert preferences.load(environ) == Preferences("middo-light", mouse=False)
    assert preferences.load({**environ, "MIDDO_THEME": "contrast"}).theme == "middo-contrast"
    assert preferences.load({"TERM": "linux", "XDG_CONFIG_HOME": str(tmp_path / "none")}) == Preferences(theme.SIXTEEN)


@pytest.mark.parametrize(("text", "says"), [
    ('[app]\ntheme = "midd-light"', "Did you mean middo-light?"),
    ('[app]\nmouse = "no"', "mouse must be true or false, not 'no'"),
    ("[app]\ncolour = 1", "unknown key 'colour' in [app]"),
    ("[app", "not valid TOML: line 1, [app]: the ] of the section is missing."),
    ("[app]\nmouse = true\n[app]\nbell = true", "line 3, [app]: the section is there twice (first on line 1)."),
    ("[app]\ntheme = " + "[" * 9999, "nested too deeply"),
    ("app = 3", "must be a table"),
    ("[keys]", "unknown table 'keys'"),
])  # fmt: skip
def test_a_mistake_in_the_file_is_said_and_the_rest_is_used(tmp_path: Path, text: str, says: str) -> None:
    found = preferences.load(write(tmp_path, text))
    assert found.theme == theme.DEFAULT
    assert len(found.warnings) == 1
    assert says in found.warnings[0]
    assert str(tmp_path) in found.warnings[0]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "middo-tui" / "config.toml").mkdir(parents=True)
    assert (
        "Is a directory" in preferences.load({"XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color"}).warnings[0]
    )


@pytest.mark.parametrize(("before", "after"), [
    ("", '[app]\ntheme = "middo-light"\n'),
    ("# mine\n[app]\nmouse = true # yes\n", '# mine\n[app]\ntheme = "middo-light"\nmouse = true # yes\n'),
    ('[app]\n# dark\ntheme = "middo"\nmouse = true\n', '[app]\n# dark\ntheme = "middo-light"\nmouse = true\n'),
    ('[x]\ntheme = "a"\n', '[x]\ntheme = "a"\n\n[app]\ntheme = "middo-light"\n'),
])  # fmt: skip
def test_a_chosen_theme_is_remembered_and_the_rest_of_the_file_stays(tmp_path: Path, before: str, after: str) -> None:
    environ = write(tmp_path, before)
    place = preferences.remember_theme("middo-light", environ)
    assert place.read_text(encoding="utf-8") == after
    assert preferences.load(environ).theme == "middo-light"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    environ = write(tmp_path, "\ufeff[app]\nmouse = false\n")
    assert preferences.load(environ) == Preferences(mouse=False)
    assert preferences.remember_theme("middo-light", environ)
    assert preferences.load(environ) == Preferences("middo-light", mouse=False)


@pytest.mark.parametrize(
    "text", ["app = 3\n", "[app]\n[app]\n", "[app]\nx = " + "[" * 9999, '[app]\n"theme" = "middo"\n']
)
def test_a_file_that_a_theme_cannot_be_written_into_stays(tmp_path: Path, text: str) -> None:
    environ = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"config\.toml: "):
        preferences.remember_theme("middo-light", environ)
    assert (tmp_path / "middo-tui" / "config.toml").read_text(encoding="utf-8") == text


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    environ = write(tmp_path, "[app\n")
    with pytest.raises(ConfigError, match="lasts until you quit"):
        preferences.remember_theme("middo-light", environ)
    assert (tmp_path / "middo-tui" / "config.toml").read_text(encoding="utf-8") == "[app\n"


# ------------------------------------------------------------------------------- at a real terminal


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens the app as the command line does; ends what a failing test left behind."""
    terminals: list[Terminal] = []

    def open_one(project: Path, *options: str, **env: str) -> Terminal:
        home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
        terminals.append(Terminal([sys.executable, "-m", "middo_tui.cli", *options, str(project)], env={**home, **env}))
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.close()


def colour_codes(seen: bytes) -> set[str]:
    """Every parameter of every SGR sequence."""
    return {p for found in re.findall(rb"\x1b\[([0-9;]*)m", seen) for p in found.decode().split(";")}


def test_a_terminal_of_sixteen_colours_gets_its_own(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p", TERM="linux", COLORTERM="")
    terminal.wait_for("quit (run continues)")
    terminal.send(b"q")
    assert terminal.wait() == 0
    codes = colour_codes(terminal.seen)
    assert not codes & {"38", "48", "30", "40", "90", "37", "97"}  # no other palette, no black, no white
    assert {"33", "36", "32", "94"} <= codes
    assert "49" in codes or not {c for c in codes if c.startswith("4") and len(c) == 2}


def mouse_sequences(seen: bytes) -> int:
    return len(re.findall(rb"\x1b\[\?(?:9|1000|1001|1002|1003|1005|1006|1015|1016)[hl]", seen))


@pytest.mark.parametrize(("options", "file", "wanted"), [
    ((), "", True), ((), "[app]\nmouse = false\n", False), (("--no-mouse",), "", False),
])  # fmt: skip
def test_without_the_mouse_nothing_about_it_is_sent(
    tmp_path: Path, opened: Callable[..., Terminal], options: tuple[str, ...], file: str, wanted: bool
) -> None:
    (tmp_path / "config").mkdir()
    write(tmp_path / "config", file)
    stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p", *options)
    terminal.wait_for("quit (run continues)")
    terminal.send(b"q")
    terminal.wait()
    assert (mouse_sequences(terminal.seen) > 0) is wanted


def test_the_tests_do_not_read_the_files_of_whoever_runs_them() -> None:
    assert MiddoApp(Path(os.devnull)).preferences == Preferences()
