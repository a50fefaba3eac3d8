"""``middo-tui label``: the CSV file out and in, what is refused, and the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.store.rows import Flaw, Losses
from middo_tui.cli.commands import main
from tests.support import rounds, tiny


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Forty scored samples; the flaw score grows with the place, the base loss falls."""
    out = rounds.project(tmp_path / "P", 40)
    (out.folder / "config.toml").write_text("", encoding="utf-8")
    ids = [s.id for s in rounds.dataset(out)]
    out.ctx("score").save([Losses(0, id, 9.0 - i / 10, 1.0, 3, 4) for i, id in enumerate(ids)])
    out.ctx("score").save([Flaw(0, id, (i + 0.5) / 40, "ifd") for i, id in enumerate(ids)])
    return out


def filled(path: Path, label: str = "") -> Path:
    """The file with every label filled in: the upper half is flawed."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = label or ("flawed" if int(row["sample"]) >= 20 else "good")
        row["kind"] = "Cut off" if int(row["sample"]) >= 30 else ""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.DictWriter(file, list(rows[0]))
        write.writeheader()
        write.writerows(rows)
    return path


def test_labels_go_out_and_in_and_rate_the_signals(made: tiny.Project, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    said = run("label", made.folder, "--draw", 20, "--out", out)
    assert said.exit_code == 0, said.output
    assert "20 samples drawn" in said.output
    assert out.read_text(encoding="utf-8").startswith("sample,prompt,response,label,kind")
    assert "0.0125" not in out.read_text(encoding="utf-8")  # blind: no signal is in it
    assert "No labels yet; 20 drawn samples pending." in run("label", made.folder).output
    said = run("label", made.folder, "--read", filled(out))
    assert "20 labels changed\n20 labels: 10 flawed, 10 good\n" in said.output
    assert "flawed in the whole dataset: 50% (95% interval: " in said.output
    assert "  flaw score       1.00  (" in said.output
    assert "  base loss        0.00  (" in said.output
    assert "kinds: cut off 5" in said.output
    found = json.loads(run("label", made.folder, "--json").output)
    assert (found["labelled"], found["share"], found["kinds"]) == (20, pytest.approx(0.5), {"cut off": 5})
    assert run("label", made.folder, "--read", out).output.startswith("0 labels changed")
    blank = filled(out, label=" ")
    assert run("label", made.folder, "--read", blank).output.startswith("0 labels changed")
    assert "the file exists" in run("label", made.folder, "--out", out).output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no column label and sample"),
        ("sample,label\n999,good\n", "line 2: sample '999' was not drawn"),
        ("sample,label\n{first},maybe\n", "line 2: label 'maybe' is neither good nor flawed"),
        ("sample,label,kind\n{first},flawed,ugly\n", "line 2: kind 'ugly' is unknown"),
        ("sample,label\n{first},\ud800\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_and_changes_nothing(made: tiny.Project, tmp_path: Path, text: str, said: str) -> None:
    out = tmp_path / "labels.csv"
    assert run("label", made.folder, "--draw", 10, "--out", out).exit_code == 0
    first = out.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    bad = tmp_path / "bad.csv"
    bad.write_bytes(text.replace("{first}", first).encode("utf-8", "surrogatepass"))
    found = run("label", made.folder, "--read", bad)
    assert found.exit_code == 2
    assert said in found.output
    assert json.loads(run("label", made.folder, "--json").output)["labelled"] == 0


def test_a_text_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    from middo_tui.cli.label import _cell

    assert [_cell(text) for text in ("=1+1", "-x", "@a", "plain", "")] == ["'=1+1", "'-x", "'@a", "plain", ""]
