"""Leaks: a run audits its cohort once notebook 01 has written it, and goes no further on a leak."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from conftest import SmallCohort, make_cohort
from test_study import ONE, TWO, write_notebook

from bonescan_utils.audit import AuditError
from bonescan_utils.dicom_write import write_dicom
from bonescan_utils.files import read_csv, read_json, write_csv
from bonescan_utils.leaks import audit_run
from bonescan_utils.manifest import read_manifest, write_manifest
from bonescan_utils.profiles import make_config
from bonescan_utils.runner import Project, run_study
from bonescan_utils.screen import Screen


def put_run(cohort: SmallCohort, *, shared: tuple[str, ...] = (), partitions: str = "train test") -> Path:
    """Write what notebook 01 leaves in a run folder: all but the scans set aside for shared pixels are used."""
    folder = cohort.root / "run"
    used = cohort.df[~cohort.df["scan_id"].isin(shared)].reset_index(drop=True)
    names = partitions.split()
    write_csv(folder / "cohort.csv", used.assign(partition=[names[at % len(names)] for at in used.index]))
    aside = [(name, "shared_pixels") for name in shared]
    write_csv(folder / "quarantine.csv", pd.DataFrame(aside, columns=["scan_id", "code"]))
    return folder


def audited(cohort: SmallCohort, folder: Path) -> tuple[dict, str]:
    said = io.StringIO()
    told = audit_run(folder, read_manifest(cohort.manifest), n_jobs=1, screen=Screen(said, live=False))
    return told, said.getvalue()


@pytest.mark.parametrize(
    ("quarantined", "excluded", "words"),
    [
        ([], ["s0000"], "s0000 is in cohort.csv and excluded.csv"),
        (["s0000"], [], "s0000 is in cohort.csv and quarantine.csv"),
        (["elsewhere"], [], "elsewhere is in quarantine.csv and not in the manifest"),
    ],
)
def test_p01_a_scan_that_is_lost_or_doubled_stops_the_run(
    small_cohort: SmallCohort, quarantined: list[str], excluded: list[str], words: str
) -> None:
    folder = put_run(small_cohort)
    write_csv(folder / "quarantine.csv", pd.DataFrame({"scan_id": quarantined, "code": "truncated"}))
    write_csv(folder / "excluded.csv", pd.DataFrame({"scan_id": excluded, "rule": "", "reason": ""}))
    with pytest.raises(RuntimeError, match=words):
        audited(small_cohort, folder)
    write_csv(folder / "quarantine.csv", pd.DataFrame({"scan_id": [], "code": []}))
    write_csv(folder / "cohort.csv", read_csv(folder / "cohort.csv").iloc[1:])
    (folder / "excluded.csv").unlink()
    with pytest.raises(RuntimeError, match="s0000 of the manifest is in none of"):
        audited(small_cohort, folder)


def as_phantoms(cohort: SmallCohort) -> SmallCohort:
    df = cohort.df.assign(phantom_seed="7", phantom_index=[str(at) for at in cohort.df.index])
    write_manifest(cohort.manifest, df)
    return SmallCohort(cohort.manifest, df, cohort.root, cohort.scans)


def test_a_sound_cohort_passes_and_is_compared_once(small_cohort: SmallCohort) -> None:
    folder = put_run(small_cohort)
    told, said = audited(small_cohort, folder)
    assert told["images_compared"] == told["scans"] == 8 and not told["findings"]["leak"]
    assert "8 scans" in said and (folder / "fingerprints.csv").exists() and (folder / "audit.csv").exists()


def test_images_of_phantoms_are_not_read(small_cohort: SmallCohort) -> None:
    cohort = as_phantoms(small_cohort)
    shutil.rmtree(cohort.root / "scans")
    told, said = audited(cohort, put_run(cohort))
    assert (told["images_compared"], told["phantoms_not_compared"], told["unread"]) == (0, 8, 0)
    assert "8 phantoms not compared" in said


@pytest.mark.parametrize("phantoms", [False, True])
def test_p09_pixels_of_another_patient_stop_the_run(small_cohort: SmallCohort, phantoms: bool) -> None:
    shutil.copy(small_cohort.root / "scans/s0001.dcm", small_cohort.root / "scans/s0003.dcm")
    cohort = as_phantoms(small_cohort) if phantoms else small_cohort
    with pytest.raises(AuditError, match=r"s0001 and s0003: the same pixels under two patients"):
        audited(cohort, put_run(cohort, shared=("s0001", "s0003")))


def test_a_near_copy_in_another_partition_stops_the_run(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, n=4)
    half = replace(cohort.scans["s0000"], scan_id="s0009", posterior=None)
    digest = write_dicom(tmp_path / "scans/s0009.dcm", half, patient_id="P0009", sex="F", age=50, study_seed="test")
    files = {"anterior": "scans/s0009.dcm", "posterior": "", "sha256_anterior": digest, "sha256_posterior": ""}
    twin = cohort.df.iloc[[0]].assign(scan_id="s0009", patient_id="P0009", **files)
    df = pd.concat([cohort.df, twin], ignore_index=True)
    write_manifest(cohort.manifest, df)
    cohort = SmallCohort(cohort.manifest, df, tmp_path, cohort.scans)
    with pytest.raises(AuditError, match=r"s0000 and s0009: nearly the same image .* in train and tuning"):
        audited(cohort, put_run(cohort, partitions="train train train test tuning"))


@pytest.mark.slow  # three kernels
def test_p09_a_patient_in_two_partitions_stops_the_study_before_the_second_notebook(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, n=4)
    twice = cohort.df.assign(patient_id=["P1", "P2", "P3", "P1"], phantom_seed="7", phantom_index="1")
    write_manifest(cohort.manifest, twice)
    write = 'run.csv(pd.read_csv("../cohort.csv", dtype=str), "cohort.csv")\n'
    write += 'run.csv(pd.DataFrame({"scan_id": [], "code": []}), "quarantine.csv")'
    write_notebook(tmp_path / "notebooks/01_one.ipynb", [*ONE[:2], ONE[7], write, *ONE[8:]])
    write_notebook(tmp_path / "notebooks/02_two.ipynb", TWO)
    settings = {"manifest": cohort.manifest, "weights": "random"}
    project, screen = Project(tmp_path / "notebooks", tmp_path / "reports"), Screen(io.StringIO(), live=False)
    write_csv(tmp_path / "cohort.csv", twice.assign(partition=["train", "train", "tuning", "test"]))
    with pytest.raises(AuditError, match=r"s0000 and s0003: one patient in train and test\nTraining does not start"):
        run_study(make_config("quick", settings), project, screen=screen)
    folder = project.reports / "quick"
    assert read_json(folder / "run.json")["status"] == "failed" and not (folder / "two.csv").exists()
    write_csv(tmp_path / "cohort.csv", twice.assign(partition=["test", "train", "tuning", "test"]))
    (folder / "cohort.csv").unlink()  # the step is repeated
    run_study(make_config("quick", settings), project, screen=screen)
    record = read_json(folder / "run.json")
    assert record["status"] == "finished" and record["audit"]["findings"]["leak"] == 0
    assert len(read_csv(folder / "two.csv")) == 1
