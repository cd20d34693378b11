"""The manifest: all faults at once (each of them: test_faults_tables), ids as text, whole patients in one partition."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.manifest import (
    COLUMNS,
    ManifestError,
    assign_partitions,
    check_paths,
    patient_key,
    read_manifest,
    take,
    write_manifest,
)
from bonescan_utils.problems import Problem


def make_rows(n: int) -> list[dict[str, str]]:
    """Returns `n` valid rows: half of each label, four primaries."""
    rows = []
    for at in range(n):
        row = dict.fromkeys(COLUMNS, "")
        row |= {"scan_id": f"s{at:04d}", "patient_id": f"P{at:04d}", "anterior": f"scans/s{at:04d}.dcm"}
        row |= {"metastasis": str(at % 2), "age": "61.5", "sex": "F"}
        row |= {"primary_cancer": ["breast", "prostate", "lung", "kidney"][at // 2 % 4]}
        rows.append(row)
    return rows


def make_table(n: int) -> pd.DataFrame:
    """Returns a valid manifest as `read_manifest` gives it."""
    df = pd.DataFrame(make_rows(n), dtype="str")
    return df.assign(metastasis=df["metastasis"].astype("int64"), age=df["age"].astype("float64"))


def save(path: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> Path:
    """Writes rows as they are, without the package."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    texts = [str(problem) for problem in caught.value.problems]
    assert all("\n" not in text and len(text) <= 500 and "Traceback" not in text for text in texts)
    return texts


def test_reads_types_extra_columns_and_lines(tmp_path: Path) -> None:
    rows = make_rows(3)
    for row, seed in zip(rows, ("007", "", "x"), strict=True):
        row["ward"] = seed
    rows[1]["age"] = ""
    df = read_manifest(save(tmp_path / "m.csv", rows))
    assert list(df.columns) == [*COLUMNS, "ward"]
    assert df["metastasis"].tolist() == [0, 1, 0] and df["metastasis"].dtype == np.int64
    assert df["age"].isna().tolist() == [False, True, False] and df["age"].dtype == np.float64
    assert df["ward"].tolist() == ["007", "", "x"]
    assert df["site"].tolist() == ["", "", ""]
    assert df.attrs["path"] == str(tmp_path / "m.csv")
    assert df.attrs["lines"] == {"s0000": 2, "s0001": 3, "s0002": 4}


def test_seven_faults_are_told_at_once(tmp_path: Path) -> None:
    rows = make_rows(8)
    rows[0]["metastasis"] = "maybe"
    rows[1]["age"] = "999"
    rows[2]["sex"] = "male"
    rows[3]["anterior"] = "/etc/passwd"
    rows[4]["scan_id"] = "s0000"
    rows[5]["anterior"] = ""
    rows[6]["sha256_anterior"] = "abc"
    texts = problems_of(save(tmp_path / "m.csv", rows))
    assert len(texts) == 7
    wanted = [
        ("line 2", "metastasis", "maybe", "0 or 1"),
        ("line 3", "age", "999", "0 to 120"),
        ("line 4", "sex", "male", "F, M, O"),
        ("line 5", "anterior", "/etc/passwd", "relative path"),
        ("line 6", "scan_id", "s0000", "See also line 2"),
        ("line 7", "anterior", "", "a file in anterior, posterior or both"),
        ("line 8", "sha256_anterior", "abc", "64 hexadecimal digits"),
    ]
    for text, words in zip(texts, wanted, strict=True):
        assert all(word in text for word in (str(tmp_path / "m.csv"), *words))


def test_the_text_of_the_error_shows_twenty_and_counts_the_rest(tmp_path: Path) -> None:
    rows = make_rows(40)
    for row in rows:
        row["metastasis"] = "2"
    with pytest.raises(ManifestError) as caught:
        read_manifest(save(tmp_path / "m.csv", rows))
    assert len(caught.value.problems) == 40
    lines = str(caught.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "... and 20 more"


@pytest.mark.parametrize("label", ["", "2", "-1", "nan", "maybe", "1.0", "１", "non-metastatic", " 1"])
def test_a_label_is_0_or_1_and_nothing_else(tmp_path: Path, label: str) -> None:
    rows = make_rows(2)
    rows[1]["metastasis"] = label
    (text,) = problems_of(save(tmp_path / "m.csv", rows))
    assert "line 3" in text and "metastasis" in text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("anterior", "../x.dcm"),
        ("anterior", "a\x00.dcm"),
        ("posterior", "/x.dcm"),
        ("age", "120.5"),
        ("sex", "f"),
        ("scan_id", ""),
        ("scan_id", "a/b"),
        ("scan_id", ".."),
        ("scan_id", " x"),
        ("patient_id", ""),
        ("patient_id", "a\x1b[31m"),
        ("sha256_posterior", "A" * 64),
        ("site", "x" * 201),
    ],
)
def test_a_cell_out_of_range_is_told(tmp_path: Path, column: str, value: str) -> None:
    rows = make_rows(1)
    rows[0][column] = value
    (text,) = problems_of(save(tmp_path / "m.csv", rows))
    assert column in text and "line 2" in text and "\x1b" not in text and "\x00" not in text


def test_one_two_frame_file_may_stand_in_both_columns(tmp_path: Path) -> None:
    rows = make_rows(2)
    for row, digit in zip(rows, "ab", strict=True):
        row |= {"posterior": row["anterior"], "sha256_anterior": digit * 64, "sha256_posterior": digit * 64}
    assert len(read_manifest(save(tmp_path / "m.csv", rows))) == 2


def test_write_then_read_gives_the_same(tmp_path: Path) -> None:
    df = make_table(6).assign(ward=["1", "2", "", "0004", "1e5", "NA"])
    df.loc[0, "age"] = np.nan
    write_manifest(tmp_path / "m.csv", df)
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.csv"), df, check_dtype=False)
    first = (tmp_path / "m.csv").read_bytes()
    write_manifest(tmp_path / "m.csv", read_manifest(tmp_path / "m.csv"))
    assert (tmp_path / "m.csv").read_bytes() == first


def test_an_invalid_manifest_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="metastasis"):
        write_manifest(tmp_path / "m.csv", make_table(2).assign(metastasis=[0, 2]))
    with pytest.raises(ManifestError, match="column sex"):
        write_manifest(tmp_path / "m.csv", make_table(2).drop(columns="sex"))
    assert not list(tmp_path.iterdir())


good_ids = st.text(st.characters(codec="utf-8", exclude_characters='/\\:*?"<>|'), min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and text == text.strip() and text not in (".", "..")
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        good_ids | st.sampled_from(["0007", "1e5", "NA", "=1", "-7", "'", "null"]),
        min_size=1, max_size=6, unique_by=patient_key,
    )
)  # fmt: skip
def test_ids_survive_write_and_read(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("m") / "m.csv"
    df = make_table(len(ids)).assign(scan_id=ids, patient_id=ids[::-1])
    write_manifest(path, df)
    back = read_manifest(path)
    assert back["scan_id"].tolist() == ids and back["patient_id"].tolist() == ids[::-1]


# ------------------------------------------------------------------------------------------- partitions
def test_partitions_are_70_10_20_and_stratified() -> None:
    df = make_table(1000)
    part = assign_partitions(df, seed=3)
    share = part.value_counts(normalize=True)
    assert share["train"] == pytest.approx(0.7, abs=0.01)
    assert share["tuning"] == pytest.approx(0.1, abs=0.01)
    assert share["test"] == pytest.approx(0.2, abs=0.01)
    strata = df["metastasis"].astype(str) + df["primary_cancer"]
    table = pd.crosstab(strata, part, normalize="columns")
    assert (table.sub(table["train"], axis=0).abs() < 0.02).all(axis=None)


def test_partitions_depend_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    df = make_table(200)
    first = assign_partitions(df, seed=1)
    shuffled = df.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(assign_partitions(shuffled, seed=1).sort_index(), first)
    assert (assign_partitions(df, seed=2) != first).any()


def test_rare_primaries_are_pooled() -> None:
    df = make_table(200)
    df["primary_cancer"] = [f"rare {at}" if at < 30 else "breast" for at in range(200)]
    part = assign_partitions(df, seed=0)
    assert part.value_counts()["test"] == pytest.approx(40, abs=4)
    assert df.groupby(part)["metastasis"].mean().sub(0.5).abs().max() < 0.06


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_partitions_never_split_a_patient(data: st.DataObject) -> None:
    n = data.draw(st.integers(20, 60))
    df = make_table(n)
    owners = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    spelling = data.draw(st.lists(st.sampled_from(["p{}", "P{}", " p{}"]), min_size=n, max_size=n))
    df["patient_id"] = [text.format(owner) for text, owner in zip(spelling, owners, strict=True)]
    try:
        part = assign_partitions(df, seed=data.draw(st.integers(0, 99)))
    except ManifestError as error:
        assert "patients" in str(error)
        return
    assert part.isin(["train", "tuning", "test"]).all()
    assert part.groupby(np.array(owners)).nunique().max() == 1


def test_given_partitions_are_kept_and_checked() -> None:
    df = make_table(6).assign(partition=["train", "train", "tuning", "tuning", "test", "test"])
    assert assign_partitions(df, seed=0).tolist() == df["partition"].tolist()
    with pytest.raises(ManifestError, match="blank in some rows"):
        assign_partitions(df.assign(partition=["train"] * 5 + [""]), seed=0)
    with pytest.raises(ManifestError, match="two partitions"):
        assign_partitions(df.assign(patient_id="P1"), seed=0)
    with pytest.raises(ManifestError, match="both labels in train"):
        assign_partitions(df.assign(metastasis=[1, 1, 0, 1, 0, 1]), seed=0)


def test_a_small_cohort_still_splits_and_a_tiny_one_is_refused() -> None:
    part = assign_partitions(make_table(8), seed=0)
    assert set(part) == {"train", "tuning", "test"}
    assert make_table(8).groupby(part)["metastasis"].nunique().tolist() == [2, 2, 2]
    with pytest.raises(ManifestError, match="3 or more patients of each label"):
        assign_partitions(make_table(4), seed=0)
    with pytest.raises(ManifestError, match="0 patients with the rarer label"):
        assign_partitions(make_table(40).assign(metastasis=1), seed=0)


def test_take_is_stratified_in_order_and_keeps_lines(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", make_table(400))
    df = read_manifest(tmp_path / "m.csv")
    df["partition"] = assign_partitions(df, seed=0)
    part = take(df, 100, seed=1)
    assert len(part) == 100 and part["scan_id"].is_monotonic_increasing
    assert part["partition"].value_counts().to_dict() == {"train": 70, "test": 20, "tuning": 10}
    assert part["metastasis"].sum() == 50
    assert part.attrs["lines"]["s0399"] == 401
    pd.testing.assert_frame_equal(take(df, 100, seed=1), part)
    assert set(take(df, 100, seed=2)["scan_id"]) != set(part["scan_id"])
    assert len(take(df, 9999)) == 400
    with pytest.raises(ValueError, match="expected 1 or more"):
        take(df, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 5))
def test_take_keeps_patients_whole(n: int, scans_each: int, seed: int) -> None:
    df = make_table(60)
    df["patient_id"] = [f"P{at // scans_each}" for at in range(60)]
    part = take(df, n, seed=seed)
    assert len(part) <= n
    whole = df.groupby("patient_id").size()
    assert part.groupby("patient_id").size().to_dict() == whole[part["patient_id"].unique()].to_dict()
    if scans_each == 1:
        assert len(part) == n


# ------------------------------------------------------------------------------------------- paths
def test_paths_must_exist_under_the_root_links_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "scans").mkdir(parents=True)
    (tmp_path / "secret.dcm").write_text("x")
    df = make_table(4).assign(phantom_seed=["", "", "", "7"])
    (root / "scans/s0000.dcm").write_text("x")
    (root / "scans/s0001.dcm").symlink_to(tmp_path / "secret.dcm")
    texts = [str(problem) for problem in check_paths(df, root)]
    assert len(texts) == 2
    assert "s0001" in texts[0] and "a file under" in texts[0]
    assert "s0002" in texts[1] and "a file that exists" in texts[1]  # s0003 is a phantom: made on demand


def test_paths_of_a_manifest_are_told_with_line_scan_column_value_and_what_was_expected(tmp_path: Path) -> None:
    rows = make_rows(4)
    for row, (anterior, posterior) in zip(
        rows, (("a.dcm", "gone.dcm"), ("folder", ""), ("../out.dcm", "../out.dcm"), ("", "a.dcm")), strict=True
    ):
        row |= {"anterior": anterior, "posterior": posterior}
    (tmp_path / "a.dcm").write_text("x")
    (tmp_path / "folder").mkdir()
    manifest = tmp_path / "m.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False)
    base = str(tmp_path.resolve())
    df = pd.DataFrame(rows, dtype="str")
    df.attrs["path"], df.attrs["lines"] = str(manifest), {f"s{at:04d}": at + 2 for at in range(4)}
    assert check_paths(df, tmp_path) == [
        Problem(str(manifest), 2, "s0000", "posterior", "gone.dcm", "a file that exists"),
        Problem(str(manifest), 3, "s0001", "anterior", "folder", "a regular file"),
        Problem(str(manifest), 4, "s0002", "anterior", "../out.dcm", f"a file under {base}"),
    ]
    df.attrs.clear()
    assert {(problem.file, problem.line) for problem in check_paths(df, tmp_path)} == {(str(tmp_path), 0)}


def test_a_file_that_is_no_table_is_one_problem_of_that_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path) and problem.expected == "a CSV table" and problem.hint


def test_without_labels_blank_cells_are_missing_and_the_others_numbers(tmp_path: Path) -> None:
    rows = make_rows(3)
    rows[1]["metastasis"] = ""
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    label = read_manifest(tmp_path / "m.csv", labelled=False)["metastasis"]
    assert label.dtype == "Int64" and label.isna().tolist() == [False, True, False]
    assert label.dropna().tolist() == [0, 0]
    with pytest.raises(ManifestError, match="metastasis"):
        read_manifest(tmp_path / "m.csv")
