"""Audit: leaks are found and stop training, shortcuts and drifts are told, and nothing is found where nothing is."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats.contingency import association
from vendor_files import body

from bonescan_utils.audit import AuditError, audit, cramers_v, require_no_leak
from bonescan_utils.cli import main
from bonescan_utils.duplicates import BITS, COLUMNS, NEAR_BITS, fingerprints, near_pairs, perceptual_hash
from bonescan_utils.files import read_csv
from bonescan_utils.manifest import read_manifest, write_manifest
from bonescan_utils.phantom import write_cohort
from bonescan_utils.scan import View


def png(path: Path, counts: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts).save(path)


def cohort(root: Path, n: int = 6, **columns: list[object]) -> pd.DataFrame:
    """Writes n scans of n patients, bodies of different form, and returns their manifest."""
    rows = []
    for at in range(n):
        for view in ("anterior", "posterior"):
            counts = body(at, side=view)
            rng = np.random.default_rng(at)
            for _ in range(12):  # what tells one patient from another
                y, x = rng.integers(8, 110), rng.integers(6, 24)
                counts[y : y + 10, x : x + 4] += np.uint16(rng.integers(500, 3000))
            png(root / f"{at}_{view}.png", counts)
        rows.append({"scan_id": f"s{at}", "patient_id": f"P{at}", "metastasis": at % 2, "sex": "F", "age": 60.0})
    df = pd.DataFrame(rows)
    df["partition"] = (["train", "train", "tuning", "tuning", "test", "test"] * n)[:n]
    for view in ("anterior", "posterior"):
        df[view] = [f"{at}_{view}.png" for at in range(n)]
    for name in ("label_source", "primary_cancer", "site", "scanner", "sha256_anterior", "sha256_posterior"):
        df[name] = ""
    return df.assign(**columns)


def found(df: pd.DataFrame, root: Path) -> list[tuple[str, str]]:
    table = audit(df, root, n_jobs=1, progress=False).findings
    return list(zip(table["severity"], table["check"], strict=True))


def test_a_sound_cohort_has_no_finding(tmp_path: Path) -> None:
    df = cohort(tmp_path)
    told = require_no_leak(df, tmp_path, n_jobs=1, progress=False)
    assert told.findings.empty and (told.compared, told.unread) == (6, 0)
    assert "6 scans compared, 0 could not be read: 0 leaks, 0 conflicts" in str(told)


def test_an_exact_copy_under_another_patient(tmp_path: Path) -> None:
    df = cohort(tmp_path)
    for view in ("anterior", "posterior"):
        shutil.copy(tmp_path / f"0_{view}.png", tmp_path / f"5_{view}.png")
    assert found(df, tmp_path) == [("leak", "duplicates"), ("conflict", "labels")]
    with pytest.raises(AuditError, match=r"s0 and s5: the same pixels under two patients, in train and test"):
        require_no_leak(df, tmp_path, n_jobs=1, progress=False)
    df.loc[5, ["patient_id", "metastasis", "partition"]] = ["p0 ", 0, "train"]  # one patient after all
    assert found(df, tmp_path) == []


def test_a_near_copy_leaks_between_partitions_and_warns_within_one(tmp_path: Path) -> None:
    df = cohort(tmp_path)
    for view in ("anterior", "posterior"):
        counts = np.asarray(Image.open(tmp_path / f"0_{view}.png")).astype(float)
        window = (np.clip(counts / np.percentile(counts, 99.5), 0, 1) * 255).astype(np.uint8)
        png(tmp_path / f"4_{view}.png", np.pad(window, ((6, 6), (3, 3))))
    assert found(df, tmp_path) == [("leak", "duplicates")]
    assert found(df.assign(partition=""), tmp_path) == [("leak", "duplicates")]
    assert found(df.assign(partition="train"), tmp_path) == [("warning", "duplicates")]


def test_a_patient_in_two_partitions_however_written(tmp_path: Path) -> None:
    df = cohort(tmp_path)
    df.loc[4, "patient_id"] = "\uff300 "  # full-width
    assert found(df, tmp_path) == [("leak", "partitions")]
    df.loc[5, "patient_id"] = "P0"
    assert found(df, tmp_path) == [("leak", "partitions"), ("warning", "labels")]


def test_files_that_cannot_be_read_are_told_and_stop_no_run_but_the_command_is_not_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    df = cohort(tmp_path)
    (tmp_path / "2_posterior.png").unlink()
    told = require_no_leak(df, tmp_path, n_jobs=1, progress=False)
    assert (told.compared, told.unread) == (5, 1)
    assert told.findings[["severity", "check", "scan_id"]].to_numpy().tolist() == [["warning", "unread", "s2"]]
    write_manifest(tmp_path / "m.csv", df)
    assert main(["audit", str(tmp_path / "m.csv"), "--jobs", "1"]) == 2
    assert "warning: s2: it cannot be read (absent) and was not compared" in capsys.readouterr().out


def test_phantoms_that_are_not_made_yet_are_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    df = cohort(tmp_path).assign(phantom_seed=["7"] * 5 + [""], phantom_index="1")
    for name in ("0_anterior.png", "0_posterior.png"):
        (tmp_path / name).unlink()
    write_manifest(tmp_path / "m.csv", df)
    assert main(["audit", str(tmp_path / "m.csv"), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "5 scans compared, 0 could not be read" in said and "1 phantoms are not made yet" in said


def test_hints_of_one_patient_under_two_ids(tmp_path: Path) -> None:
    df = cohort(tmp_path, person_hint=["", "", "x", "x", "y", ""])
    assert found(df, tmp_path) == [("hint", "two_ids")]
    days = {"birth_year": ["1950"] * 4 + ["1960"] * 2, "study_day": ["0", "31", "0", "31", "0", "31"]}
    df = cohort(tmp_path, **days).assign(patient_id=["A", "A", "B", "B", "C", "C"], partition="", metastasis=0)
    assert found(df, tmp_path) == [("hint", "two_ids")]
    require_no_leak(df, tmp_path, n_jobs=1, progress=False)  # a hint stops nothing


# ------------------------------------------------------------------------------------------- shortcuts and drifts
def test_a_scanner_that_tells_the_label_and_a_site_with_other_counts(tmp_path: Path) -> None:
    labels = [0] * 30 + [1] * 30
    df = pd.DataFrame({"scan_id": [f"s{at}" for at in range(60)], "metastasis": labels, "partition": "", "site": "a"})
    df["patient_id"], df["anterior"], df["posterior"] = df["scan_id"], "", ""
    df["scanner"] = ["x"] * 27 + ["y"] * 3 + ["x"] * 3 + ["y"] * 27
    df["site"] = ["a"] * 45 + ["b"] * 15
    df["counts_anterior"] = [1_000_000 + at for at in range(45)] + [2_000_000] * 15
    told = audit(df, tmp_path, images=df["scan_id"] == "", n_jobs=1, progress=False)
    assert [row["check"] for row in told.findings.to_dict("records")] == ["shortcut", "shortcut", "count_level"]
    scanner = told.associations.set_index("column").loc["scanner"]
    assert scanner["largest_share_gap"] == pytest.approx(0.8) and scanner["shortcut"]
    site = told.counts.set_index("site").loc["b"]
    assert (site["n"], site["median_counts"]) == (15, 2_000_000) and site["ratio"] > 1.9
    assert told.stops.empty and "Cramer's V" in str(told)


def test_cramers_v_against_the_plain_one_and_its_limits() -> None:
    table = np.array([[400, 100], [100, 400]])
    assert cramers_v(table) == pytest.approx(association(table, method="cramer"), abs=0.002)  # large n: no bias
    assert cramers_v(np.array([[500, 0], [0, 500]])) == pytest.approx(1, abs=1e-3)
    assert cramers_v(np.array([[25, 25], [25, 25]])) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_cramers_v_by_its_formula(rows: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(1, 40, (rows, 2))
    n = table.sum()
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi2 = max(0, ((table - expected) ** 2 / expected).sum() / n - (rows - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), 2 - 1 / (n - 1)) - 1
    assert cramers_v(table) == pytest.approx(min(1, np.sqrt(phi2 / least)))


# ------------------------------------------------------------------------------------------- near duplicates
def brute(table: pd.DataFrame, limit: float) -> set[tuple[str, str]]:
    rows = table.to_dict("records")
    near = set()
    for at, a in enumerate(rows):
        for b in rows[at + 1 :]:
            both = [view for view in ("anterior", "posterior") if a[view] and b[view]]
            bits = [bin(int(a[view], 16) ^ int(b[view], 16)).count("1") for view in both]
            if bits and sum(bits) / len(bits) <= limit:
                near.add((a["scan_id"], b["scan_id"]))
    return near


def test_near_pairs_against_a_loop_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    base = rng.integers(0, 256, (6, 32), dtype=np.uint8)
    rows = []
    for at in range(40):
        views = [base[at % 6].copy(), base[(at + 1) % 6].copy()]
        for view in views:
            view[: rng.integers(0, 8)] ^= rng.integers(0, 256, dtype=np.uint8)
        texts = [view.tobytes().hex() if rng.random() > 0.2 else "" for view in views]
        rows.append((f"s{at}", "", f"{at}", *texts, ""))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for cells in (1, 200, 1 << 22):
        monkeypatch.setattr("bonescan_utils.duplicates._CELLS", cells)
        pairs = near_pairs(table)
        assert set(zip(pairs["scan_a"], pairs["scan_b"], strict=True)) == brute(table, NEAR_BITS)
    assert len(brute(table, NEAR_BITS)) > 10


def bits(a: np.ndarray, b: np.ndarray) -> int:
    codes = [int(perceptual_hash(View("anterior", counts, None, "manifest")), 16) for counts in (a, b)]
    return (codes[0] ^ codes[1]).bit_count()


def test_what_is_done_to_a_copy_stays_near_and_other_patients_do_not(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path, n=4, seed=3, n_jobs=1, progress=False)
    table = fingerprints(read_manifest(manifest), tmp_path, n_jobs=1, progress=False)
    assert near_pairs(table, limit=NEAR_BITS + 5).empty and len(near_pairs(table, limit=BITS)) == 6
    from bonescan_utils.loading import load_scan

    counts = load_scan(read_manifest(manifest).iloc[0].to_dict(), tmp_path).anterior.counts
    window = (np.clip(counts / np.percentile(counts, 99), 0, 1) * 255).astype(np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(window).save(jpeg, "JPEG", quality=75)
    half = Image.fromarray(counts.astype(np.float32)).resize((counts.shape[1] // 2, counts.shape[0] // 2))
    for copy in (window, np.asarray(Image.open(jpeg)), np.asarray(half).astype(np.uint16), np.pad(counts, 10)):
        assert bits(counts, copy) <= NEAR_BITS
    assert perceptual_hash(View("anterior", np.zeros((30, 10), np.uint16), None, "manifest")) == ""


def test_fingerprints_are_kept_and_made_anew_for_changed_files(small_cohort: SmallCohort, monkeypatch: object) -> None:
    cache = small_cohort.root / "cache.csv"
    first = fingerprints(small_cohort.df, small_cohort.root, cache=cache, n_jobs=1, progress=False)
    read: list[str] = []
    import bonescan_utils.duplicates as module

    real = module.load_scan
    monkeypatch.setattr(module, "load_scan", lambda row, root: (read.append(row["scan_id"]), real(row, root))[1])
    second = fingerprints(small_cohort.df, small_cohort.root, cache=cache, n_jobs=1, progress=False)
    pd.testing.assert_frame_equal(first, second)
    shutil.copy(small_cohort.root / "scans/s0001.dcm", small_cohort.root / "scans/s0002.dcm")
    fingerprints(small_cohort.df, small_cohort.root, cache=cache, n_jobs=1, progress=False)
    assert read == ["s0002"]
    cache.write_text("scan_id\nx\n")
    assert fingerprints(small_cohort.df, small_cohort.root, cache=cache, n_jobs=1, progress=False)["fault"].eq("").all()


# ------------------------------------------------------------------------------------------- command
def test_the_command_prints_writes_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    df = cohort(tmp_path)
    write_manifest(tmp_path / "m.csv", df)
    assert main(["audit", str(tmp_path / "m.csv"), "--jobs", "1"]) == 0
    assert read_csv(tmp_path / "m_audit.csv").empty
    for view in ("anterior", "posterior"):
        shutil.copy(tmp_path / f"0_{view}.png", tmp_path / f"5_{view}.png")
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "m.csv"), "--jobs", "1"]) == 2
    assert "leak: s0 and s5: the same pixels" in capsys.readouterr().out
    table = read_csv(tmp_path / "m_audit.csv")
    assert list(table["severity"]) == ["leak", "conflict"] and list(table["scan_id"]) == ["s0", "s0"]
    assert main(["audit", str(tmp_path / "none.csv")]) == 2


def test_labels_may_be_missing(tmp_path: Path) -> None:
    df = cohort(tmp_path).assign(metastasis="", partition="")
    write_manifest(tmp_path / "m.csv", df, labelled=False)
    assert main(["audit", str(tmp_path / "m.csv"), "--jobs", "1"]) == 0
