"""Scoring unlabelled files with a saved model: a tiny VGG16 with random weights stands for a trained one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan

from bonescan_utils.dicom import write_dicom
from bonescan_utils.files import read_csv, write_csv, write_json
from bonescan_utils.predict import NOTICE, predict_files
from bonescan_utils.profiles import StudyError
from bonescan_utils.scan import Scan


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one model (frozen VGG16, 64 x 64, random weights) and its tuning scores."""
    from bonescan_utils.arms import Arm
    from bonescan_utils.models import assemble, save_model
    from bonescan_utils.transfer import Fitted, _logistic_model
    from bonescan_utils.weights import WeightsSource

    folder = tmp_path_factory.mktemp("run")
    head = _logistic_model(np.linspace(-1, 1, 512), 0.1)
    source = WeightsSource("vgg16", "random", None, "", "random initialisation", 1)
    fitted = Fitted(Arm(name="proposed", backbone="vgg16"), source, (64, 64, 3), 1, head, pd.DataFrame(), 1)
    save_model(assemble(fitted), folder / "models" / "proposed.keras", fitted)
    labels, scores = [0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9]
    names = [f"t{i}" for i in range(4)]
    tuning = pd.DataFrame({"scan_id": names, "partition": "tuning", "y_true": labels, "y_score": scores})
    write_csv(folder / "arms" / "proposed" / "predictions.csv", tuning)
    write_json(folder / "steps" / "02_preprocessing.json", {"notes": {"layout": "side_by_side"}})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a two-view scan, an anterior-only scan, a text file, a cut scan, and a hidden file."""
    both = make_scan(seed=3, hot=True)
    anterior = Scan("one", both.anterior, None)
    for name, scan in (("both", both), ("one view", anterior)):
        write_dicom(tmp_path / "in" / f"{name}.dcm", scan, patient_id="P", sex="F", age=60, study_seed=name)
    (tmp_path / "in" / "notes.txt").write_text("a letter")
    (tmp_path / "in" / "cut.dcm").write_bytes((tmp_path / "in" / "both.dcm").read_bytes()[:3000])
    (tmp_path / "in" / ".hidden").write_text("x")
    return tmp_path / "in"


def test_every_usable_file_gets_a_score_a_record_and_a_picture(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = predict_files([folder, folder / "both.dcm"], run=run, arm="proposed", out=out)
    status = dict(zip(summary["file"], summary["status"], strict=True))
    assert status == {
        "both.dcm": "scored", "one view.dcm": "scored", "notes.txt": "unusable", "cut.dcm": "unusable",
    }  # fmt: skip
    assert summary["scan_id"].is_unique and summary.loc[summary["status"] == "unusable", "reason"].all()
    record = json.loads((out / "both.json").read_text())
    assert (
        0 < record["y_score"] < 1 and record["notice"] == NOTICE and set(record["views"]) == {"anterior", "posterior"}
    )
    assert record["y_pred"] == int(record["y_score"] >= record["threshold"]) and record["threshold"] == pytest.approx(
        0.4
    )
    assert record["model"]["weights"]["weights"] == "random"
    assert set(json.loads((out / "one_view.json").read_text())["views"]) == {"anterior"}
    assert (out / "both.png").read_bytes().startswith(b"\x89PNG")
    read = read_csv(out / "summary.csv")
    assert read["scan_id"].tolist() == summary["scan_id"].tolist()
    assert str(tmp_path) not in (out / "summary.csv").read_text()


def test_the_same_scan_gets_the_same_score_alone_or_among_others(run: Path, folder: Path, tmp_path: Path) -> None:
    among = predict_files([folder], run=run, arm="proposed", out=tmp_path / "a").set_index("file")["y_score"]
    alone = predict_files([folder / "both.dcm"], run=run, arm="proposed", out=tmp_path / "b")["y_score"]
    assert float(alone.iloc[0]) == pytest.approx(float(among["both.dcm"]), abs=1e-5)


def test_equal_names_in_two_folders_do_not_meet(run: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_dicom(tmp_path / name / "a.dcm", make_scan(), patient_id="P", sex="F", age=60, study_seed=name)
    summary = predict_files([tmp_path / "x", tmp_path / "y"], run=run, arm="proposed", out=tmp_path / "out")
    assert summary["scan_id"].tolist() == ["a", "a_2"] and (tmp_path / "out" / "a_2.json").exists()


def test_a_missing_input_is_told_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"absent\.dcm: no such file"):
        predict_files([tmp_path / "absent.dcm"], run=run, arm="proposed", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tampered_model_is_not_loaded(run: Path, folder: Path, tmp_path: Path) -> None:
    from bonescan_utils.models import ModelError

    model = run / "models" / "proposed.keras"
    good = model.read_bytes()
    try:
        model.write_bytes(good[:-1] + b"x")
        with pytest.raises(ModelError, match="sha256"):
            predict_files([folder / "both.dcm"], run=run, arm="proposed", out=tmp_path / "out")
    finally:
        model.write_bytes(good)


def test_nm1_the_real_scan_is_scored(run: Path, tmp_path: Path) -> None:
    files = pytest.importorskip("pydicom.data")
    path = files.get_testdata_file("JPEG-LL.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    summary = predict_files([Path(path)], run=run, arm="proposed", out=tmp_path / "out")
    assert summary["status"].tolist() == ["scored"] and summary["views"].tolist() == ["anterior"]
    text = (tmp_path / "out" / "JPEG-LL.json").read_text()
    assert "assumed" in text or "frame_order" in text, "the view is an assumption, and said to be one"
