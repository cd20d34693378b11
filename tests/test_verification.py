"""Verification and rerun: whatever is done to a finished run is found; a repetition is compared number by number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated_run import make_record, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation import make_predictions

from bonescan_utils import cli
from bonescan_utils.files import read_csv, sha256_file, write_csv, write_json
from bonescan_utils.profiles import StudyError
from bonescan_utils.rerun import compare_runs, differences, require_free, rerun_config
from bonescan_utils.run_record import read_record, seal_record
from bonescan_utils.verification import kind_of, verify_run
from bonescan_utils.whereabouts import write_whereabouts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `reports/made_up`, sealed, and `cohort`: its manifest and its scans."""
    base = tmp_path_factory.mktemp("made")
    (base / "cohort").mkdir()
    (base / "cohort" / "m.csv").write_text("scan_id\n")
    for name in ("a.dcm", "b.dcm"):
        (base / "cohort" / name).write_text(name)
    record = make_record()
    record["manifest"]["sha256"] = sha256_file(base / "cohort" / "m.csv")
    folder = make_run(base / "reports" / "made_up", **record)
    write_whereabouts(folder, {"manifest": base / "cohort" / "m.csv"})
    cohort = read_csv(folder / "cohort.csv").head(2)
    write_csv(folder / "cohort.csv", cohort.assign(anterior=["a.dcm", "b.dcm"], posterior=""))
    write_csv(folder / "predictions.csv", make_predictions(20, arms=["proposed"]).assign(partition="test"))
    for name in ("features/x.npy", "store/images.npy", "models/proposed.keras", "notebooks/01.ipynb", "report.html"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    seal_record(folder, record, root=base / "cohort")
    return base


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run to be changed, with its cohort."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made" / "reports" / "made_up"


def test_an_untouched_run_is_clean_also_after_it_was_moved(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify_run(run)
    assert found.differing.empty and set(found.files["status"]) == {"unchanged"}
    kinds = "figures tables models notebooks features images results pages manifest inputs".split()
    assert set(kinds) <= set(found.files["kind"])
    assert cli.main(["verify", str(run)]) == 0
    assert "all files are as recorded" in capsys.readouterr().out


def test_what_was_changed_removed_and_added_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "models" / "proposed.keras").write_text("other")
    (run / "figures" / "montage.png").unlink()
    (run / "tables" / "late.csv").write_text("x\n1\n")
    cohort = run.parents[1] / "cohort"
    (cohort / "m.csv").write_text("scan_id\nx\n")
    (cohort / "b.dcm").unlink()
    found = verify_run(run).differing.set_index("file")["status"].to_dict()
    assert found == {
        "models/proposed.keras": "changed", "figures/montage.png": "missing", "tables/late.csv": "added",
        "m.csv": "changed", "b.dcm": "missing",
    }  # fmt: skip
    summary = verify_run(run).summary().set_index("kind")
    assert summary.loc["models"].to_list() == [1, 0, 1, 0, 0]
    assert summary.loc["inputs"].to_list() == [2, 1, 0, 1, 0] and summary.loc["tables", "added"] == 1
    assert cli.main(["verify", str(run), "--csv", str(tmp_path / "v.csv")]) == 2
    said = capsys.readouterr().out
    assert (
        "changed: models/proposed.keras (was " in said
        and "missing: inputs: b.dcm (was " in said
        and "5 files differ" in said
    )
    assert len(read_csv(tmp_path / "v.csv")) == len(verify_run(run).files)


def test_a_folder_that_was_handed_on_is_checked_without_its_scans(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handed = tmp_path / "elsewhere" / "in" / "made_up"
    shutil.copytree(run, handed)
    found = verify_run(handed)
    assert found.differing.empty and found.unknown == 3 and not {"manifest", "inputs"} & set(found.files["kind"])
    assert cli.main(["verify", str(handed)]) == 0
    assert "Not checked: 3 files of manifest and scans" in capsys.readouterr().out
    assert cli.main(["rerun", str(handed)]) == 2
    said = capsys.readouterr().err
    assert "say where it is with --manifest" in said and said.count("\n") == 1
    cohort = run.parents[1] / "cohort"
    assert verify_run(handed, manifest=str(cohort / "m.csv")).differing.empty
    (cohort / "a.dcm").write_text("changed")
    assert cli.main(["verify", str(handed), "--manifest", str(cohort / "m.csv")]) == 2
    said = capsys.readouterr().out
    assert "changed: inputs: a.dcm" in said and "Not checked" not in said


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_p20_any_one_bit_of_the_record_is_noticed(made: Path, data: Any) -> None:
    path = made / "reports" / "made_up" / "run.json"
    before = path.read_bytes()
    at = data.draw(st.integers(0, before.index(b'"seal"') * 8 - 1))
    after = bytearray(before)
    after[at // 8] ^= 1 << at % 8
    path.write_bytes(bytes(after))
    try:
        with pytest.raises(StudyError, match=r"made_up.*Run the study again"):
            verify_run(path.parent)
    finally:
        path.write_bytes(before)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_one_bit_of_any_file_is_noticed(made: Path, data: Any) -> None:
    names = sorted(read_record(made / "reports" / "made_up")["files"])
    name = data.draw(st.sampled_from(names))
    path = made / "reports" / "made_up" / name
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) * 8 - 1))
    after = bytearray(before)
    after[at // 8] ^= 1 << at % 8
    path.write_bytes(bytes(after))
    try:
        found = verify_run(path.parents[len(Path(name).parts) - 1])
        assert name in list(found.differing["file"])
    finally:
        path.write_bytes(before)


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "run.json", make_record(status="failed"))
    assert cli.main(["verify", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "has not come to its end (failed)" in said and "Traceback" not in said


@pytest.mark.parametrize("command", ["verify", "rerun", "archive"])
def test_help_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert f"Example: bonescan {command} study" in " ".join(capsys.readouterr().out.split())


def test_kinds() -> None:
    names = {"store/images.npy": "images", "index.html": "pages", "cohort.csv": "results", "new/x": "results"}
    assert {name: kind_of(name) for name in names} == names


# ------------------------------------------------------------------------------------------ rerun
def test_what_differs_now_is_told_line_by_line() -> None:
    record = make_record()
    now = copied(record["environment"])
    assert list(differences(record, now, record["manifest"]["sha256"])) == []
    now["versions"] = {"python": "3.12.0", "numpy": "2.4"}
    now["hardware"]["cores"] = 64
    now["git"], now["code_sha256"], now["onednn"] = {}, "1" * 64, {"setting": "0"}
    assert list(differences(record, now, "f" * 64)) == [
        "manifest: sha256 was 000000000000, is ffffffffffff",
        "code: sha256 was 000000000000, is 111111111111",
        "git revision: was aaaaaaaaaaaa, is not known",
        "versions, numpy: was none, is 2.4",
        "versions, python: was 3.11.7, is 3.12.0",
        "hardware, cores: was 2, is 64",
        "onednn, setting: was default, is 0",
    ]


def copied(value: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(value)))


def test_the_settings_are_those_on_record(made: Path) -> None:
    paths = {"manifest": made / "cohort" / "m.csv"}
    config = rerun_config(make_record(), name="again", paths=paths)
    wanted = make_record()["config"] | {"run": "again", "manifest": str(paths["manifest"])}
    assert {key: value for key, value in config.model_dump(mode="json").items() if key in wanted} == wanted
    with pytest.raises(StudyError, match=r"is not where it was; say where it is with --manifest"):
        rerun_config(make_record(), name="again", paths={"manifest": made / "absent.csv"})
    with pytest.raises(StudyError, match="unknown parameter: of_old"):
        rerun_config(make_record(config=make_record()["config"] | {"of_old": 1}), name="x", paths=paths)


@pytest.mark.parametrize("name", ["weights_dir", "boxes"])
def test_weights_and_boxes_are_taken_from_where_they_are(made: Path, name: str) -> None:
    record = make_record(config=make_record()["config"] | {name: "theirs"})
    paths = {"manifest": made / "cohort" / "m.csv"}
    with pytest.raises(StudyError, match=f"^theirs: the {name} of .*say where it is with --{name.replace('_', '-')}$"):
        rerun_config(record, name="again", paths=paths)
    (made / "theirs").mkdir(exist_ok=True)
    config = rerun_config(record, name="again", paths=paths | {name: made / "theirs"})
    assert getattr(config, name) == str(made / "theirs")


def test_a_taken_folder_is_refused_but_not_that_of_the_same_repetition(tmp_path: Path) -> None:
    parent = {"run": "study", "record_sha256": "a" * 64}
    require_free(tmp_path / "new", parent)
    (tmp_path / "x").write_text("")
    with pytest.raises(StudyError, match="choose --run"):
        require_free(tmp_path, parent)
    write_json(tmp_path / "run.json", make_record())
    with pytest.raises(StudyError, match="does not repeat study"):
        require_free(tmp_path, parent)
    write_json(tmp_path / "run.json", make_record(parent=parent | {"differs": []}))
    require_free(tmp_path, parent)


def test_a_comparison_says_identical_or_the_largest_difference(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    same = compare_runs(run, other)
    assert same.identical and same.same == same.drawn > 5 and str(same).startswith("predictions.csv: identical")
    table = read_csv(run / "predictions.csv")
    moved = table.assign(y_score=table["y_score"].to_numpy() + np.where(np.arange(len(table)) == 3, -0.25, 0.01))
    write_csv(other / "predictions.csv", moved.iloc[::-1].iloc[1:])
    found = compare_runs(run, other)
    assert not found.identical and found.largest == pytest.approx(0.25) and found.unmatched == 1
    assert found.where == f"arm {table['arm'].iloc[3]}, scan {table['scan_id'].iloc[3]}"
    assert found.matched == len(table) - 1 and "0.25" in str(found)
    (other / "predictions.csv").unlink()
    with pytest.raises(StudyError, match=r"run other has no predictions\.csv"):
        compare_runs(run, other)


def test_other_rows_are_not_identical(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    write_csv(other / "predictions.csv", read_csv(run / "predictions.csv").assign(arm="vgg16"))
    found = compare_runs(run, other)
    assert not found.identical and found.matched == 0 and np.isnan(found.largest)


def test_a_missing_run_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "rerun", "archive"):
        more = ["--out", str(tmp_path / "out")] if command == "archive" else []
        assert cli.main([command, str(tmp_path / "absent"), *more]) == 2
        said = capsys.readouterr().err
        assert "run.json" in said and said.count("\n") == 1
