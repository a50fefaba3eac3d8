"""The wizard's step of columns: which is which, told by names or by a person."""

from __future__ import annotations

import json
from pathlib import Path

from engine.config import defaults
from engine.config import schema as configs
from middo_tui.screens.wizard.screen import Wizard, WizardScreen
from tests.middo_tui.screens.wizard.test_screen import at_step, typed
from tests.middo_tui.screens.wizard.test_screen import here as here  # a fixture
from tests.support.screens import screen_text, until


async def test_unknown_columns_are_given_their_parts(here: Path) -> None:
    rows = "".join(json.dumps({"frage": f"What is {i}+1?", "antwort": str(i + 1)}) + "\n" for i in range(9))
    (here / "odd.jsonl").write_text(rows, encoding="utf-8")
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed("odd.jsonl"), "enter")
        await at_step(pilot, "columns")
        await until(pilot, "Columns: frage, antwort.")
        await pilot.press("enter")
        await until(pilot, "No known columns.")
        await pilot.press("right")
        await until(pilot, "required")
        await pilot.press("down", "right", "down", "right")
        await until(pilot, "frage cannot be both instruction and output")
        await pilot.press("right")
        await until(pilot, "9 rows, all usable")
        assert "What is 0+1?" in screen_text(app)
        await pilot.press("enter")
        await at_step(pilot, "model")
        await pilot.press("escape")
        await at_step(pilot, "columns")
        await until(pilot, "9 rows, all usable")  # what was chosen is still chosen
        screen = app.screen
        assert isinstance(screen, WizardScreen)
        assert screen.draft.columns == {"instruction": "frage", "output": "antwort"}
    text = defaults.render(screen.draft.settings())
    assert configs.parse(text, "x").data.columns == screen.draft.columns


async def test_columns_with_telling_names_are_mapped_and_said(here: Path) -> None:
    rows = [{"instruction": f"Sum {i}?", "context": "Use 1.", "response": f"{i}", "category": "x"} for i in range(9)]
    (here / "dolly.json").write_text(json.dumps(rows), encoding="utf-8")
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed("dolly.json"), "enter")
        await at_step(pilot, "columns")
        await until(pilot, "Columns were mapped by name.")
        await until(pilot, "9 rows, all usable")
        screen = app.screen
        assert isinstance(screen, WizardScreen)
        await pilot.press("enter")
        await at_step(pilot, "model")
        assert screen.draft.columns == {"input": "context", "output": "response"}


async def test_a_file_that_is_not_utf_8_is_shown_in_its_likely_encodings(here: Path) -> None:
    rows = "".join(f"请用一句话描述天气{i},今天天气很好{i}\n" for i in range(9))
    (here / "gbk.csv").write_bytes(("instruction,output\n" + rows).encode("gbk"))
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed("gbk.csv"), "enter")
        await at_step(pilot, "columns")
        await until(pilot, "The file is not UTF-8")
        await until(pilot, "今天天气很好0")
        await until(pilot, "gb18030")
        await pilot.press("down", "right")
        await until(pilot, "euc_jp")
        await pilot.press("left")
        await until(pilot, "今天天气很好0")
        await until(pilot, "9 rows, all usable")
        await pilot.press("enter")
        await at_step(pilot, "model")
        screen = app.screen
        assert isinstance(screen, WizardScreen)
        assert screen.draft.settings()["data"]["encoding"] == "gb18030"
