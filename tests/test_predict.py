"""Scoring unlabelled files with a saved model: a tiny VGG16 with random weights stands for a trained one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan
from fabricated_run import make_record
from test_promises_writes import left_by_a_kill

from bonescan_utils import cli
from bonescan_utils.dicom import write_dicom
from bonescan_utils.files import read_csv, write_csv, write_json
from bonescan_utils.predict import NOTICE, predict_files, send_results
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import hash_files
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
    manifest = make_record()["manifest"] | {"sha256": "ab" * 32}
    write_json(folder / "run.json", make_record(manifest=manifest, files=hash_files(folder)))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a two-view scan, an anterior-only scan, a text file, a cut scan, and a hidden file."""
    both = make_scan(seed=3, hot=True)
    anterior = Scan("one", both.anterior, None)
    for name, scan in (("both", both), ("DOE^JANE one view", anterior)):
        write_dicom(tmp_path / "in" / f"{name}.dcm", scan, patient_id="P", sex="F", age=60, study_seed=name)
    (tmp_path / "in" / "notes.txt").write_text("a letter")
    (tmp_path / "in" / "cut.dcm").write_bytes((tmp_path / "in" / "both.dcm").read_bytes()[:3000])
    (tmp_path / "in" / ".hidden").write_text("x")
    return tmp_path / "in"


def id_of(path: Path) -> str:
    """Returns the pseudonym that a file's results should have."""
    return f"scan-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Returns the content and the time of change of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_every_usable_file_gets_a_score_a_record_and_a_picture(run: Path, folder: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "out", snapshot(folder)
    summary = predict_files([folder, folder / "both.dcm"], run=run, arm="proposed", out=out)
    status = dict(zip(summary["file"], summary["status"], strict=True))
    assert status == {
        "both.dcm": "scored", "DOE^JANE one view.dcm": "scored", "notes.txt": "unusable", "cut.dcm": "unusable",
    }  # fmt: skip
    assert summary["scan_id"].is_unique and summary.loc[summary["status"] == "unusable", "reason"].all()
    both, one = id_of(folder / "both.dcm"), id_of(folder / "DOE^JANE one view.dcm")
    record = json.loads((out / f"{both}.json").read_text())
    assert 0 < record["y_score"] < 1 and record["notice"] == NOTICE
    assert set(record["views"]) == {"anterior", "posterior"} and record["missing_views"] == []
    assert record["threshold"] == pytest.approx(0.4) and record["y_pred"] == int(record["y_score"] >= 0.4)
    assert json.loads((out / f"{one}.json").read_text())["missing_views"] == ["posterior"]
    assert (out / f"{both}.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["summary.csv", *(f"{name}.{suffix}" for name in (both, one) for suffix in ("json", "pdf", "png"))]
    )
    assert read_csv(out / "summary.csv")["scan_id"].tolist() == summary["scan_id"].tolist()
    assert str(tmp_path) not in (out / "summary.csv").read_text() and snapshot(folder) == before
    assert not any("DOE" in path.name or "DOE" in path.read_text() for path in out.glob("*.json"))


def test_the_record_says_from_what_it_was_made(run: Path, folder: Path, tmp_path: Path) -> None:
    path = folder / "both.dcm"
    predict_files([path], run=run, arm="proposed", out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / f"{id_of(path)}.json").read_text())
    model = hashlib.sha256((run / "models" / "proposed.keras").read_bytes()).hexdigest()
    assert (record["model"]["sha256"], record["model"]["arm"]) == (model, "proposed")
    assert record["data"]["input_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["data"]["manifest"]["sha256"] == "ab" * 32
    assert record["probability"] is None and "no tables/recalibration.csv" in record["calibration"]["reason"]
    assert "no tables/metrics.csv" in record["operating_point"]["reason"]


def test_a_second_run_keeps_what_is_whole_and_repeats_what_is_not(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bonescan_utils import explanation

    out, scored = tmp_path / "out", []
    plain = explanation.explain

    def counting(model: Path, scans: Any, **options: Any) -> Any:
        scored.append([scan.scan_id for scan in scans])
        return plain(model, scans, **options)

    monkeypatch.setattr(explanation, "explain", counting)
    first = predict_files([folder], run=run, arm="proposed", out=out)
    before = snapshot(out)
    second = predict_files([folder], run=None, arm=str(run / "models" / "proposed.keras"), out=out)
    both = id_of(folder / "both.dcm")
    assert len(scored) == 1 and second.loc[second["status"] == "scored", "kept"].all() and not first["kept"].any()
    assert second.drop(columns="kept").equals(first.drop(columns="kept"))
    (out / f"{both}.png").write_bytes(b"cut short")
    third = predict_files([folder], run=run, arm="proposed", out=out)
    assert scored[1:] == [[both]] and int(third["kept"].sum()) == 1
    after = snapshot(out)
    assert {name: after[name][0] for name in after} == {name: after[name][0] for name in before} | {
        name: before[name][0] for name in before if name != "summary.csv"
    }, "a repeated scan gives the same bytes, its time of creation among them"


def test_p18_what_a_killed_call_left_is_removed(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    left = [left_by_a_kill(path) for path in (out / "scan-1.png", tmp_path / "results.links.csv")]
    predict_files([folder / "notes.txt"], run=run, arm="proposed", out=out)
    assert not any(path.exists() for path in left)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "results", "results.links.csv"]


def test_a_new_threshold_or_dicom_makes_a_result_stale(run: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    out, path = tmp_path / "out", folder / "both.dcm"
    predict_files([path], run=run, arm="proposed", out=out)
    with_dicom = predict_files([path], run=run, arm="proposed", out=out, dicom=True)
    assert with_dicom["kept"].tolist() == [False] and with_dicom["dicom"].tolist() == ["written"]
    kept = predict_files([path], run=run, arm="proposed", out=out)
    assert kept["kept"].tolist() == [True], "DICOM objects that are there and not asked for do no harm"
    scores = run / "arms" / "proposed" / "predictions.csv"
    good = scores.read_bytes()
    try:
        scores.write_bytes(good.replace(b"0.5", b"0.6"))
        again = predict_files([path], run=run, arm="proposed", out=out)
    finally:
        scores.write_bytes(good)
    assert again["kept"].tolist() == [False] and again["threshold"].iloc[0] == pytest.approx(0.45)
    assert not list(out.glob("*.dcm")), "no object of the old threshold is left beside the new score"


def test_dicom_objects_conform_and_reference_their_source(run: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from dicom_rules import faults
    from pydicom import dcmread

    np.save(folder / "plain.npy", make_scan(seed=5).views[0].counts)
    summary = predict_files([folder], run=run, arm="proposed", out=tmp_path / "out", dicom=True).set_index("file")
    assert summary.loc["both.dcm", "dicom"] == "written" and summary.loc["notes.txt", "status"] == "unusable"
    assert "no DICOM file" in summary.loc["plain.npy", "dicom"] and summary.loc["plain.npy", "status"] == "scored"
    objects = {path.name: dcmread(path) for path in (tmp_path / "out").glob("*.dcm")}
    both, one = id_of(folder / "both.dcm"), id_of(folder / "DOE^JANE one view.dcm")
    assert sorted(objects) == sorted(
        [
            f"{both}_sc_anterior.dcm",
            f"{both}_sc_posterior.dcm",
            f"{both}_sr.dcm",
            f"{one}_sc_anterior.dcm",
            f"{one}_sr.dcm",
        ]
    )
    assert [fault for ds in objects.values() for fault in faults(ds)] == []
    source = dcmread(folder / "both.dcm")
    for name, ds in objects.items():
        assert name.startswith(one) or ds.StudyInstanceUID == source.StudyInstanceUID


def test_results_are_sent_and_the_summary_says_so(run: Path, folder: Path, tmp_path: Path) -> None:
    pynetdicom = pytest.importorskip("pynetdicom")
    from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage

    from bonescan_utils.pacs.store import Node, StoreError

    out, received, answers = tmp_path / "out", [], [0, 0, 0, 0xA700, 0, 0]
    predict_files([folder / "both.dcm", folder / "notes.txt"], run=run, arm="proposed", out=out, dicom=True)

    def on_store(event: Any) -> int:
        received.append(event.dataset.SOPInstanceUID)
        return answers[len(received) - 1]

    scp = pynetdicom.AE()
    for kind in (SecondaryCaptureImageStorage, ComprehensiveSRStorage):
        scp.add_supported_context(kind)
    server = scp.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, on_store)])
    node = Node("127.0.0.1", server.server_address[1])
    try:
        assert send_results(out, node)["sent"].tolist() == ["stored", ""]
        with pytest.raises(StoreError, match=r"1 of 3 objects were not stored by .*0xA700.*files are kept in"):
            send_results(out, node)
        assert "0xA700" in read_csv(out / "summary.csv")["sent"].iloc[0]
    finally:
        server.shutdown()
    assert received[:3] == received[3:], "sent again with the same UIDs"
    before = snapshot(out)
    with pytest.raises(StoreError, match=r"does not answer.*files are kept in .*the same command sends them again"):
        send_results(out, node)
    assert snapshot(out) == before


def test_the_same_scan_gets_the_same_score_alone_or_among_others(run: Path, folder: Path, tmp_path: Path) -> None:
    among = predict_files([folder], run=run, arm="proposed", out=tmp_path / "a").set_index("file")["y_score"]
    alone = predict_files([folder / "both.dcm"], run=run, arm="proposed", out=tmp_path / "b")["y_score"]
    assert float(alone.iloc[0]) == pytest.approx(float(among["both.dcm"]), abs=1e-5)


def test_equal_names_do_not_meet_and_equal_bytes_are_one_scan(run: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_dicom(tmp_path / name / "a.dcm", make_scan(), patient_id="P", sex="F", age=60, study_seed=name)
    (tmp_path / "y" / "copy.dcm").write_bytes((tmp_path / "x" / "a.dcm").read_bytes())
    summary = predict_files([tmp_path / "x", tmp_path / "y"], run=run, arm="proposed", out=tmp_path / "out")
    assert summary["file"].tolist() == ["a.dcm", "a.dcm", "copy.dcm"] and (summary["status"] == "scored").all()
    first, second, copy = summary["scan_id"]
    assert first == copy != second and len(list((tmp_path / "out").glob("*.json"))) == 2


def test_a_missing_input_is_told_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"absent\.dcm: no such file"):
        predict_files([tmp_path / "absent.dcm"], run=run, arm="proposed", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["in", "in/results"])
def test_nothing_is_written_among_the_scans(run: Path, folder: Path, where: str) -> None:
    before = snapshot(folder)
    with pytest.raises(StudyError, match="lies in the folder of the scans, in; nothing is written there"):
        predict_files([folder], run=run, arm="proposed", out=folder.parent / where)
    with pytest.raises(StudyError, match="lies in the folder of the scans"):
        predict_files([folder / "both.dcm"], run=run, arm="proposed", out=folder)
    assert snapshot(folder) == before and not (folder / "results").exists()


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    places = [tmp_path / "file" / "out"] + [locked / "out"] * (os.geteuid() != 0)  # root may write anywhere
    for out in places:
        with pytest.raises(StudyError, match=r"--out .*: cannot be written to \(.+\); name another folder"):
            predict_files([folder], run=run, arm="proposed", out=out)


def test_scans_of_other_sizes_are_scored_and_a_spot_view_is_not(run: Path, tmp_path: Path) -> None:
    for rows, columns in ((256, 64), (300, 120), (1024, 256)):
        scan = make_scan(rows=rows, columns=columns)
        path = tmp_path / "in" / f"{rows}.dcm"
        write_dicom(path, scan, patient_id="P", sex="F", age=60, study_seed=str(rows))
    np.save(tmp_path / "in" / "spot.npy", np.full((128, 128), 5, np.uint16))
    summary = predict_files([tmp_path / "in"], run=run, arm="proposed", out=tmp_path / "out", dicom=True)
    found = summary.set_index("file")
    assert found["status"].to_dict() == {
        "1024.dcm": "scored", "256.dcm": "scored", "300.dcm": "scored", "spot.npy": "unusable",
    }  # fmt: skip
    assert (found.loc[found["status"] == "scored", "dicom"] == "written").all()
    assert "128 rows x 128 columns" in found.loc["spot.npy", "reason"]


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
    summary = predict_files([Path(path)], run=run, arm="proposed", out=tmp_path / "out", dicom=True)
    assert summary["status"].tolist() == ["scored"] and summary["views"].tolist() == ["anterior"]
    assert summary["dicom"].tolist() == ["written"]
    record = json.loads((tmp_path / "out" / f"{id_of(Path(path))}.json").read_text())
    assert record["missing_views"] == ["posterior"] and record["dicom"]["files"][0].endswith("_sc_anterior.dcm")
    assert any("assumed" in text for text in record["warnings"]), "the view is an assumption, and said to be one"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "of which run? Name it: --run NAME"),
        (["--run", "RUN", "--send", "nowhere"], "--send: node 'nowhere': expected HOST:PORT"),
        (
            ["--run", "RUN", "--send", "h:104", "--called-ae", "x" * 17],
            "AE title 'xxxxxxxxxxxxxxxxx': expected 1 to 16",
        ),
    ],
)
def test_bad_options_are_told_in_one_line(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    given = [str(run) if option == "RUN" else option for option in options]
    assert cli.main(["predict", str(folder), "--out", str(tmp_path / "out"), *given]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and not (tmp_path / "out").exists()


def test_without_the_extra_dicom_is_refused_before_any_work(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bonescan_utils import pacs

    monkeypatch.setattr(pacs, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"--dicom needs highdicom, of the extra 'pacs'"):
        predict_files([folder], run=run, arm="proposed", out=tmp_path / "out", dicom=True)
    assert not (tmp_path / "out").exists()


def test_the_command_sends_and_a_dead_node_leaves_the_files(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pynetdicom")
    out = tmp_path / "out"
    model = str(run / "models" / "proposed.keras")
    code = cli.main(["predict", str(folder / "both.dcm"), "--arm", model, "--out", str(out), "--send", "127.0.0.1:1"])
    said = capsys.readouterr()
    assert code == 2 and "does not answer" in said.err and "fault of the program" not in said.err
    assert "1 scored (0 of them before), 0 unusable" in said.out and len(list(out.glob("*.dcm"))) == 3
