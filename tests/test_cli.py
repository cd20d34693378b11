"""The command: exit codes, and one readable line for whatever is wrong."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import SmallCohort, make_scan
from fabricated_run import make_record

from bonescan_utils import cli, doctor, runner
from bonescan_utils.dicom import write_dicom
from bonescan_utils.execution import CellError
from bonescan_utils.files import read_text_csv, write_json
from bonescan_utils.weights import WeightsError

COMMANDS = [
    "ingest", "audit", "label", "review", "adjudicate", "check", "run", "predict", "report", "export", "phantom",
    "plan", "doctor",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"Example: bonescan {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-p", "seeed=7"], "unknown parameter: seeed; known: run, manifest, seed"),
        (["run", "-p", "seed=seven"], "parameter seed"),
        (["run", "-p", "seed"], "expected name=value"),
        (["run", "--profile", "fast"], "expected one of quick, study, full"),
        (["run", "--run", "../x"], "parameter run"),
        (["run", "--manifest", "absent.csv"], "absent.csv"),
        (["run", "--folds", "1"], "parameter folds"),
        (["run", "--folds", "five"], "parameter folds"),
        (["run", "--seeds", "0"], "parameter seeds"),
        (["run", "-p", "n_boot=99"], "parameter n_boot"),
        (["plan", "--arms", "99"], "--arms 99: expected 1 to"),
        (["plan", "--arms", "vgg17"], "arm 'vgg17' is unknown"),
        (["plan", "--folds", "1"], "parameter folds"),
        (["check", "absent.csv"], "absent.csv"),
        (["predict", "absent.dcm", "--run", "no_such_run", "--out", "x"], "no_such_run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.out + said.err and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == [], "nothing is written"


@pytest.mark.parametrize("n", ["7", "0", "x"])
def test_phantoms_come_in_pairs(n: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["phantom", "--out", "x", "--n", n])
    assert caught.value.code == 2 and "expected an even number" in capsys.readouterr().err


def test_check_of_a_good_manifest(small_cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(small_cohort.manifest)]) == 0
    assert "no problem found; 8 scans of 8 patients" in capsys.readouterr().out


def test_check_tells_all_problems_at_once(small_cohort: SmallCohort, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_cohort.root
    (root / "scans/s0002.dcm").write_bytes((root / "scans/s0002.dcm").read_bytes()[:2000])
    (root / "scans/s0003.dcm").write_text("not a scan")
    (root / "scans/s0005.dcm").unlink()
    assert cli.main(["check", str(small_cohort.manifest)]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if "scan s" in line]
    assert {name for line in lines for name in re.findall(r"scan (s\d+)", line)} == {
        "s0002",
        "s0003",
        "s0005",
    }
    assert all(re.search(r"line \d+", line) and "column" in line and len(line) <= 500 for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "The same command resumes"),
        (WeightsError("VGG16: ImageNet weights not found in w"), 2, "weights not found in w"),
        (
            CellError("03_x", "FitError", "partition 'tuning' has 0 scans", cell=4),
            2,
            "03_x, code cell 4: FitError",
        ),
        (CellError("03_x", "KernelDied", "stopped suddenly"), 1, "The same command resumes"),
        (OSError(errno.ENOSPC, "no room to write it", "reports/x"), 3, "The disk is full"),
        (ZeroDivisionError("oops"), 1, "internal error: ZeroDivisionError: oops"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def failing(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(runner, "run_study", failing)
    monkeypatch.delenv("BONESCAN_DEBUG", raising=False)
    assert cli.main(["run"]) == code
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EDQUOT, "quota"), "The disk is full"),
        (OSError(errno.EFBIG, "too large"), "The disk is full"),
        (OSError(errno.ENOMEM, "no memory"), "Out of memory"),
        (OSError(errno.EMFILE, "too many"), "Too many open files"),
        (MemoryError(), "Out of memory"),
        (type("ResourceExhaustedError", (Exception,), {})("OOM when allocating"), "Out of memory"),
        (CellError("03_x", "ResourceExhaustedError", "OOM when allocating", cell=4), "Out of memory"),
        (CellError("02_x", "MemoryError", "", cell=4), "Out of memory"),
        (CellError("03_x", "DeviceError", "16 images at a time: not enough memory", cell=4), "16 images at a time"),
        (CellError("02_x", "KernelKilled", "the notebook's Python was killed", cell=4), "Out of memory"),
        (CellError("02_x", "OSError", "[Errno 28] no room to write it: 'x'", cell=4), "The disk is full"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_p03_out_of_resources_is_exit_code_3_in_every_command(
    command: str, error: Exception, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run_failing(command, error, monkeypatch) == 3
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and "BONESCAN_DEBUG" not in said


def _run_failing(command: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs `main` with a command that raises; its own options are not the point."""

    def failing(options: Any) -> int:
        raise error

    parsed = argparse.Namespace(command=failing, name=command)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda self, arguments: parsed)
    monkeypatch.delenv("BONESCAN_DEBUG", raising=False)
    return cli.main([command])


def test_p02_a_fault_of_ours_is_exit_code_1_and_says_where_its_traceback_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert _run_failing("check", KeyError("x\n" * 2000), monkeypatch) == 1
    lines = capsys.readouterr().err.splitlines()
    (kept,) = tmp_path.iterdir()
    assert len(lines) == 2 and all(len(line) <= 500 for line in lines) and str(kept) in lines[1]
    assert "Traceback" in kept.read_text() and kept.stat().st_mode & 0o077 == 0


def test_p02_input_without_permission_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run_failing("check", PermissionError(errno.EACCES, "Permission denied", "x.csv"), monkeypatch) == 2
    assert "x.csv" in capsys.readouterr().err


def test_p02_a_place_that_cannot_be_written_is_bad_input_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "run.json", make_record())
    file, run = str(tmp_path / "file"), str(tmp_path / "run")
    for arguments in (
        ["ingest", run, "--out", f"{file}/m.csv", "--key", str(tmp_path / "key")],
        ["ingest", run, "--out", f"{run}/m.csv", "--key", f"{file}/key"],
        ["export", run, "--journal", "elsevier", "--out", file],
        ["label", str(tmp_path / "reports.csv"), "--out", f"{file}/l.csv"],
    ):
        (tmp_path / "reports.csv").write_text("accession,text\n1,No metastases.\n")
        assert cli.main(arguments) == 2, arguments
        said = capsys.readouterr().err.splitlines()[-1]
        assert file in said and "Name another file or folder" in said and len(said) <= 500
    assert not list((tmp_path / "run").glob("bonescan-traceback-*"))


def test_p03_the_table_of_problems_is_of_this_check_and_never_the_manifest(
    small_cohort: SmallCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, table = small_cohort.manifest, small_cohort.root / "problems.csv"
    before = manifest.read_bytes()
    manifest.write_text(manifest.read_text().replace(",breast,", ",br\x07east,"))
    assert cli.main(["check", str(manifest), "--problems", str(table)]) == 2 and len(read_text_csv(table)) == 2
    manifest.write_bytes(before)
    assert cli.main(["check", str(manifest), "--problems", str(manifest)]) == 2
    assert "it is the manifest itself" in capsys.readouterr().err and manifest.read_bytes() == before
    assert cli.main(["check", str(manifest), "--problems", str(table)]) == 0
    assert len(read_text_csv(table)) == 0 and "problem" in read_text_csv(table)


@pytest.mark.parametrize("given", ["m.csv", "reports.csv"])
def test_an_ingest_writes_its_quarantine_over_nothing_else(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reports.csv").write_text("accession,text\n1,x\n")
    (tmp_path / "pacs").mkdir()
    arguments = [
        "ingest",
        "pacs",
        "--out",
        "m.csv",
        "--key",
        "keys/k",
        "--reports",
        "reports.csv",
        "--quarantine",
        given,
    ]
    arguments = [str(tmp_path / word) if word[0] != "-" and word != "ingest" else word for word in arguments]
    assert cli.main(arguments) == 2 and "neither the manifest nor the reports" in capsys.readouterr().err
    assert (tmp_path / "reports.csv").read_text().startswith("accession") and not (tmp_path / "keys").exists()


@pytest.mark.parametrize(("number", "code"), [(13, 3), (10 | 3 << 8, 3), (14, 2), (8, 2), (1, 1)])
def test_p03_a_journal_that_cannot_be_written_is_told_as_a_file_is(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = number
    assert _run_failing("ingest", error, monkeypatch) == code


def test_a_node_that_does_not_answer_is_no_fault_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run_failing("predict", type("StoreError", (ConnectionError,), {})("node does not answer"), monkeypatch) == 2


def test_debug_shows_where_a_fault_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(runner, "run_study", failing)
    monkeypatch.setenv("BONESCAN_DEBUG", "1")
    assert cli.main(["run"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_predict_needs_a_model_and_says_which_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    (run / "models" / "vgg16.keras").touch()
    (run / "run.json").write_text("{}")
    write_dicom(tmp_path / "a.dcm", make_scan(), patient_id="P1", sex="F", age=60, study_seed="test")
    arguments = ["predict", str(tmp_path / "a.dcm"), "--run", str(run), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "no model of arm 'proposed'; it has: vgg16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_doctor_goes_on_where_a_part_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Any:
        raise ImportError("libcudart missing")
        yield

    monkeypatch.setattr(doctor, "_tensorflow", broken)
    monkeypatch.setattr(doctor, "_devices", broken)
    monkeypatch.setenv("BONESCAN_OFFLINE", "")
    found = list(doctor.examine(out=tmp_path))
    assert [item.mark for item in found if "libcudart" in item.found] == ["FAIL", "FAIL"]
    weights = {item.what: item.found for item in found if item.what.startswith("weights")}
    assert len(weights) == 5 and "md5" in weights["weights vgg16"]
    assert sum(item.what == "DICOM decoder" and item.mark == "ok" for item in found) == 4
    assert os.environ["BONESCAN_OFFLINE"] == ""


def test_reasons_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    assert "no GPU support on Darwin" in doctor._why_no_gpu(False)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES" in doctor._why_no_gpu(True)
