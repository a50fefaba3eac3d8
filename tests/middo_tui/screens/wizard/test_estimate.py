"""How long a run will take is measured in the wizard's check, and kept in the project that it creates."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from msgspec.structs import replace

import engine.demo
from engine.config import defaults
from engine.config import schema as configs
from engine.doctor.model_check_process import ModelCheckResult
from engine.doctor.timing import TriedModels, keep
from middo_tui.screens.wizard.draft import Draft
from middo_tui.screens.wizard.last_step import make
from middo_tui.text import status

BASE = Path(engine.demo.__file__).parent / "base"


def test_the_wizards_trial_is_kept_in_the_project(tmp_path: Path) -> None:
    data = tmp_path / "cats.json"
    rows = [{"instruction": f"Name {n} cats", "input": "", "output": f"cat {n}"} for n in range(12)]
    data.write_text(json.dumps(rows), encoding="utf-8")
    draft = Draft(data=str(data), model=str(BASE), folder=str(tmp_path / "P"))
    speeds = dict.fromkeys(("learned", "read", "predicted", "written", "asked", "replied", "rated"), 1e-4)
    tried = TriedModels({"model": ModelCheckResult(speeds=speeds)})
    config = configs.parse(defaults.render(draft.settings()), "the settings")
    said: list[str] = []
    made = make(replace(draft, keep=partial(keep, config=config, tried=tried)), said.append)
    assert not any("could not be kept" in text for text in said)
    assert status.gather(made)["estimate"]["stages"], "status and run tell it without another trial"
