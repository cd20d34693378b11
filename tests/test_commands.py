"""Commands that others do not test: what they print, and what they end with."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_plan import COSTS

from bonescan_utils import cli, plan
from bonescan_utils.backbones import BACKBONES
from bonescan_utils.files import read_csv
from bonescan_utils.manifest import read_manifest


def test_doctor_has_a_line_for_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "note") for line in lines), lines
    text = "\n".join(lines).lower()
    assert all(word in text for word in ("python", "tensorflow", "jpeg lossless", *BACKBONES))


def test_doctor_fails_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert cli.main(["doctor", "--out", str(tmp_path / "file")]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_plan_prints_the_table_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measured_costs", lambda config, arms, kept: COSTS)
    table = tmp_path / "plan.csv"
    arms = "vgg16_multilevel,vgg16_finetuned"
    assert cli.main(["plan", "--n", "10000", "--arms", arms, "--folds", "5", "--csv", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "10,000 scans, 2 arms, 5 folds, 1 seed(s)." in shown and "nan" not in shown.lower()
    assert (read_csv(table)["stage"] == "all").sum() == 1


def test_phantom_writes_scans_and_says_where_the_manifest_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["phantom", "--out", str(tmp_path / "few"), "--n", "2", "--seed", "3", "--jobs", "1"]) == 0
    path = Path(capsys.readouterr().out.split("2 phantom scans: ")[1].strip())
    rows = read_manifest(path)
    assert sorted(rows["metastasis"]) == [0, 1] and all((path.parent / name).is_file() for name in rows["anterior"])
