"""What the select stage keeps for the preview: used while it is true, whole and of the same judge; else read anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.files.mapped_file import Sections
from engine.project import fork
from engine.selection.preview import build_process
from engine.selection.preview.counts import Preview
from engine.selection.preview.sorted_signal import members
from engine.stages import select
from engine.store import overrides, write
from engine.store.rows import AXES, PREVIEW, Losses, Message, Rewrite, dump_messages, unwritable
from engine.upkeep import artifact_files, backup
from tests.support import previews, tiny
from tests.support import rounds as stored
from tests.support.rounds import Signals

HARD: Signals = (9.0, 9.0, 0.8, 6.0)
POOR: Signals = (1.0, 0.5, 0.8, 1.0)


@pytest.fixture
def selected(tmp_path: Path) -> tiny.Project:
    """A round of 30 samples that has selected; one is hard."""
    made = stored.project(tmp_path / "p", 30)
    settings(made)
    stored.signal(made, stored.usual(30, s3=HARD))
    select.run(made.ctx("select"))
    return made


@pytest.fixture
def read_anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the signals were read by another process."""
    told: list[str] = []

    def prepared(folder: Path, *what: str, passing: tuple[int, ...] = ()) -> Sections:
        told.append(what[0])
        return previews.in_this_process(folder, *what, passing=passing)

    monkeypatch.setattr(build_process, "prepared", prepared)
    return told


def settings(made: tiny.Project, more: str = "") -> None:
    text = f'[model]\nname = "{made.config.model.name}"\n{more}'
    (made.folder / "config.toml").write_text(text, encoding="utf-8")


def kept_file(made: tiny.Project) -> Path:
    found = made.ctx("select").artifact(PREVIEW)
    assert found is not None
    return found


def test_no_process_and_no_array_library_is_needed(selected: tiny.Project) -> None:
    code = (
        "import subprocess, sys; from pathlib import Path; from engine.selection.preview.counts import Preview;"
        f"subprocess.run = None; found = Preview.load(Path({str(selected.folder)!r}), 0);"
        "assert found.counts(found.configured).selected['complexity'] == 1;"
        "sys.exit(any(heavy in sys.modules for heavy in ('numpy', 'torch', 'huggingface_hub', 'tokenizers')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_kept_is_what_is_read_anew(selected: tiny.Project) -> None:
    """Also of rows without a figure or without tokens, and of what a rewrite would lose something of."""
    ids = [sample.id for sample in stored.dataset(selected)]
    bare = Losses(0, ids[1], None, None, 0, 0, "no answer is left")
    selected.ctx("score").save([bare, *(Losses(0, id, 1.0, 0.5, 20 + at, 7) for at, id in enumerate(ids[2:]))])
    call = (Message("user", "call it"), Message("assistant", "{}", "function_call"), Message("assistant", "called"))
    selected.db.execute("UPDATE sample SET messages=? WHERE id=?", (dump_messages(call), ids[4]))
    selected.db.execute("UPDATE sample SET unwritable=? WHERE id=?", (unwritable(call), ids[4]))
    write.reset(selected.db, 0, ["select"])
    select.run(selected.ctx("select"))
    anew = previews.in_this_process(selected.folder, "round", str(selected.folder), "0", "True")
    assert list(members(anew, "unwritable")) == [4]
    anew.file.seek(0)
    assert kept_file(selected).read_bytes() == anew.file.read()


def test_what_a_person_wants_now_counts(selected: tiny.Project, read_anew: list[str]) -> None:
    hard = stored.dataset(selected)[3].id
    overrides.set_overrides(selected.folder, [hard], "protect")
    settings(selected, "[select]\nm_quality = 2.5\n")
    found = Preview.load(selected.folder, 0)
    assert found.configured["quality"] == 2.5
    assert found.counts(dict.fromkeys(AXES, 2.0)).beyond["complexity"] == 0
    assert not read_anew


@pytest.mark.parametrize("stage", ["score", "judge"])
def test_signals_that_are_made_anew_are_read_anew(selected: tiny.Project, read_anew: list[str], stage: str) -> None:
    write.reset(selected.db, 0, [stage])
    assert selected.ctx("select").artifact(PREVIEW) is None
    stored.signal(selected, stored.usual(30, s4=POOR))
    found = Preview.load(selected.folder, 0)
    assert read_anew == ["round"]
    count = found.counts(dict.fromkeys(AXES, 2.0))
    assert (count.selected["complexity"], count.selected["quality"]) == (0, 1)


def test_another_word_on_the_judge_is_read_anew(selected: tiny.Project, read_anew: list[str]) -> None:
    settings(selected, '[select]\nquality = "off"\n')
    assert Preview.load(selected.folder, 0).missing == ("quality",)
    assert read_anew == ["round"]


def test_another_prompt_is_counted_anew_until_rewrites_tell_more(selected: tiny.Project, read_anew: list[str]) -> None:
    before = Preview.load(selected.folder, 0).counts(dict.fromkeys(AXES, 2.0)).teacher
    (selected.folder / "prompts").mkdir()
    (selected.folder / "prompts" / "simplify.txt").write_text(f"{'Make it simple. ' * 99}{{prompt}}", encoding="utf-8")
    after = Preview.load(selected.folder, 0).counts(dict.fromkeys(AXES, 2.0)).teacher
    assert after.tokens_in > before.tokens_in + 100
    assert read_anew == ["round"]
    made = replace(selected.ctx("select").rows(Rewrite)[0], state="proposed", attempts=1, tokens_in=7, tokens_out=5)
    selected.ctx("rewrite").save([made])
    assert Preview.load(selected.folder, 0).counts(dict.fromkeys(AXES, 2.0)).teacher.tokens_in == 7
    assert read_anew == ["round"]


@pytest.mark.parametrize("size", [0, 40, -9, None])
def test_a_file_that_is_cut_off_or_gone_is_a_note_and_read_anew(
    selected: tiny.Project, read_anew: list[str], size: int | None
) -> None:
    file = kept_file(selected)
    if size is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:size])
    assert Preview.load(selected.folder, 0).counts(dict.fromkeys(AXES, 2.0)).selected["complexity"] == 1
    assert read_anew == ["round"]
    (fault,) = artifact_files.faults(selected.db, selected.folder)
    assert (fault.path, fault.leftover) == (str(file.relative_to(selected.folder)), True)
    assert "Nothing needs it" in fault.mend
    assert not fault.mend.startswith("Run")


def test_a_fork_and_a_backup_do_without_a_file_that_is_gone(selected: tiny.Project, tmp_path: Path) -> None:
    with selected.db:
        selected.db.execute("UPDATE job SET state='done' WHERE stage IN ('score', 'judge', 'evaluate')")
    kept_file(selected).unlink()
    fork.fork(selected.folder, tmp_path / "copy", 0, {})
    backup.restore(backup_of(selected, tmp_path / "backup"), tmp_path / "restored")
    for project in ("copy", "restored"):
        assert Preview.load(tmp_path / project, 0).size == 30


def backup_of(made: tiny.Project, out: Path) -> Path:
    backup.backup(made.folder, out)
    return out
