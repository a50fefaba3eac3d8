"""The doctor says what is missing for [notify]."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.schema import Config, Notify
from engine.doctor.notification import findings


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    assert list(findings(Config(), tmp_path)) == []


@pytest.mark.parametrize(
    ("how", "text", "fix"),
    [
        (Notify(command=("true",), on=("done",)), "command on done", ""),
        (Notify(command=("no-such-program",)), "command on waiting, failed, done, stalled", "install no-such-program"),
        (Notify(webhook_env="HOOK_THAT_IS_UNSET", on=("failed",)), "webhook on failed", "HOOK_THAT_IS_UNSET"),
    ],
)
def test_what_is_missing_is_named_and_fails_no_run(tmp_path: Path, how: Notify, text: str, fix: str) -> None:
    (found,) = findings(Config(notify=how), tmp_path)
    assert (found.text, found.bad, bool(found.fix)) == (text, False, bool(fix))
    assert fix in found.fix


def test_a_script_beside_config_toml_is_found(tmp_path: Path) -> None:
    script = tmp_path / "tell.sh"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o700)
    (found,) = findings(Config(notify=Notify(command=("./tell.sh",))), tmp_path)
    assert found.fix == ""
