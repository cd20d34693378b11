"""Nothing is lost, no patient in two partitions: on random cohorts, against a count by hand."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_cohort
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bonescan_utils.audit import AuditError, require_no_leak
from bonescan_utils.cohort import ingest
from bonescan_utils.cohort_build import join_flows, select_scans
from bonescan_utils.flow import check_accounted, check_flow
from bonescan_utils.manifest import read_manifest
from bonescan_utils.partitions import assign_partitions, fold_partitions, patient_key
from bonescan_utils.problems import ManifestError
from bonescan_utils.tables import partition_sizes

FAULTS = ("good", "gone", "cut", "text", "empty", "changed")


def spellings(patient: str) -> list[str]:
    """Returns ways to write one id: case, spaces, full width."""
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in patient)
    return [patient, patient.lower(), f" {patient}", f"{patient}\u00a0", wide, wide.lower(), patient.swapcase()]


@st.composite
def cohorts(draw: st.DrawFn) -> pd.DataFrame:
    """Draws 16 to 24 patients, eight of each label at least, with 1 to 3 scans, the id written otherwise each time.

    Of fewer, three folds of the same number of scans may leave less than three patients of a label outside one.
    """
    rows = []
    for at in range(draw(st.integers(16, 24))):
        label = draw(st.integers(0, 1)) if at > 15 else at % 2
        for _ in range(draw(st.integers(1, 3))):
            patient = draw(st.sampled_from(spellings(f"Pat{at:02d}")))
            rows.append({"scan_id": f"s{len(rows):03d}", "patient_id": patient, "metastasis": label, "partition": ""})
    return pd.DataFrame(rows).assign(primary_cancer="breast", _true=lambda df: df["patient_id"].map(by_hand))


def by_hand(patient: str) -> str:
    """Returns the number of a drawn patient, found in another way than by the code under test."""
    return "".join(str(unicodedata.digit(c)) for c in patient if c.isdigit())


@settings(deadline=None, max_examples=25)
@given(cohorts(), st.integers(0, 9))
def test_p09_no_patient_is_in_two_partitions_however_the_id_is_written(df: pd.DataFrame, seed: int) -> None:
    parts = [assign_partitions(df, seed=seed), fold_partitions(df, folds=3, fold=seed % 3, seed=seed)]
    for partition in parts:
        assert (partition.groupby(df["_true"]).nunique() == 1).all() and set(partition) == {"train", "tuning", "test"}


def test_a_fold_that_leaves_too_few_patients_is_told_with_its_number() -> None:
    scans = [1, 1, 1, 3, 3, 1, 1, 1, 3, 1]  # of ten patients, five of each label
    patients = [f"P{at}" for at, n in enumerate(scans) for _ in range(n)]
    df = pd.DataFrame({"scan_id": [f"s{at}" for at in range(16)], "patient_id": patients, "partition": ""})
    df = df.assign(metastasis=df["patient_id"].str[1].astype(int) % 2, primary_cancer="breast")
    with pytest.raises(ManifestError, match="2 patients with the rarer label outside fold 1 of 3"):
        for fold in range(3):
            fold_partitions(df, folds=3, fold=fold, seed=1)


@settings(deadline=None, max_examples=25)
@given(cohorts(), st.randoms(use_true_random=False))
def test_p09_given_partitions_that_divide_a_patient_are_refused(df: pd.DataFrame, random) -> None:  # type: ignore[no-untyped-def]
    df = df.assign(partition=[random.choice(["train", "test"]) for _ in df.index], site="", scanner="")
    divided = (df["partition"].groupby(df["_true"]).nunique() > 1).any()
    assume(divided)
    with pytest.raises(ManifestError, match="in two partitions"):
        assign_partitions(df, seed=0)
    with pytest.raises(AuditError, match=r"one patient in .*\n.*Training does not start|one patient in"):
        require_no_leak(df, ".", images=pd.Series(False, index=df.index), n_jobs=1, progress=False)


@given(st.text(min_size=1, max_size=12))
def test_p09_ids_are_compared_by_nfkc_strip_and_casefold(text: str) -> None:
    assert patient_key(text) == unicodedata.normalize("NFKC", text).strip().casefold()
    assert patient_key(f"  {text}\u3000") == patient_key(text)


@pytest.mark.parametrize("same", ["anterior", "sha256_anterior"])
def test_p09_one_file_or_content_under_two_patients_is_refused(tmp_path: Path, same: str) -> None:
    cohort = make_cohort(tmp_path, n=4)
    text = cohort.manifest.read_text()
    text = text.replace(str(cohort.df[same].iloc[1]), str(cohort.df[same].iloc[0]))
    cohort.manifest.write_text(text)
    with pytest.raises(ManifestError, match=r"line 3.*(no other row)"):
        read_manifest(cohort.manifest)


@settings(deadline=None, max_examples=12)
@given(st.lists(st.sampled_from(FAULTS), min_size=8, max_size=8), st.integers(0, 3))
def test_p01_every_row_ends_used_or_quarantined_or_excluded(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str], seed: int
) -> None:
    cohort = make_cohort(tmp_path_factory.mktemp("mix"), n=8)
    for fault, name in zip(faults, cohort.df["anterior"], strict=True):
        spoil(cohort.root / name, fault)
    manifest = read_manifest(cohort.manifest)
    chosen = select_scans(manifest, n_scans=6, seed=seed)
    result = ingest(chosen.table, cohort.root, n_jobs=1, progress=False)
    used, aside, out = (list(table["scan_id"]) for table in (result.used, result.quarantined, chosen.excluded))
    assert sorted(used + aside + out) == sorted(cohort.df["scan_id"]), "each once, none twice, none lost"
    good = {f"s{at:04d}" for at, fault in enumerate(faults) if fault == "good"}
    assert set(used) == good - set(out)
    flow = join_flows(chosen.flow, result.flow)
    check_flow(flow, partition_sizes(result.used) if used else None)
    assert flow["n"].iloc[0] == 8 and flow["n"].iloc[-1] == len(used)
    assert int(flow["excluded"].sum()) == len(aside) + len(out)
    ends = {"used": used, "quarantined": aside, "excluded": out}
    assert check_accounted(manifest["scan_id"], ends) == {name: len(ids) for name, ids in ends.items()}


def spoil(path: Path, fault: str) -> None:
    """Damages a file in one way."""
    data = path.read_bytes()
    if fault == "gone":
        path.unlink()
    elif fault != "good":
        path.write_bytes({"cut": data[:-200], "text": b"<html>", "empty": b"", "changed": data[:-1] + b"\x7f"}[fault])


@given(st.lists(st.sampled_from("ab c d e f".split()), unique=True), st.data())
def test_p01_ids_that_are_lost_doubled_or_from_nowhere_are_found(ids: list[str], data: st.DataObject) -> None:
    places = {"used": [], "aside": []}  # type: dict[str, list[str]]
    for name in ids:
        places[data.draw(st.sampled_from(sorted(places)))].append(name)
    assert sum(check_accounted(ids, places).values()) == len(ids)
    broken = [
        (ids + ["lost"], places),
        (ids, {**places, "more": ["nowhere"]}),
        *([(ids, {**places, "more": ids[:1]}), (ids + ids[:1], places)] if ids else []),
    ]
    for given_ids, ends in broken:
        with pytest.raises(RuntimeError):
            check_accounted(given_ids, ends)
