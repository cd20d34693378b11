"""The image store: every scan once, copies of training scans only, the same on any number of workers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort

from bonescan_utils.cohort import load_scan
from bonescan_utils.image_store import build_store, open_store
from bonescan_utils.manifest import read_manifest
from bonescan_utils.preprocessing import prepare

SIZE = (64, 32)


@pytest.fixture
def cohort(small_cohort: SmallCohort) -> tuple[pd.DataFrame, object]:
    df = read_manifest(small_cohort.manifest)
    df["partition"] = ["train", "tuning", "train", "test"] * (len(df) // 4)
    return df, small_cohort.root


def test_store_holds_each_scan_as_prepared(cohort, tmp_path) -> None:
    df, root = cohort
    store = build_store(df, root, tmp_path / "store", size=SIZE, n_jobs=1, progress=False)
    assert store.images.shape == (len(df), *SIZE) and store.copies is None
    second = {str(k): str(v) for k, v in df.iloc[1].items()}
    np.testing.assert_array_equal(store.images[1], prepare(load_scan(second, root), size=SIZE).image)
    np.testing.assert_array_equal(store.pictures([df["scan_id"][1]])[0], store.images[1])


def test_only_training_scans_have_copies_and_they_differ(cohort, tmp_path) -> None:
    df, root = cohort
    store = build_store(df, root, tmp_path / "store", copies=2, size=SIZE, n_jobs=1, progress=False)
    assert df["partition"].iloc[store.copy_rows].eq("train").all()
    assert store.copies is not None and store.copies.shape == (len(store.copy_rows), 2, *SIZE)
    assert (store.copies[0, 0] != store.copies[0, 1]).any()


def test_copies_of_a_scan_do_not_depend_on_the_others(cohort, tmp_path) -> None:
    df, root = cohort
    full = build_store(df, root, tmp_path / "a", copies=1, size=SIZE, n_jobs=1, progress=False)
    part = build_store(df.iloc[2:3], root, tmp_path / "b", copies=1, size=SIZE, n_jobs=1, progress=False)
    assert full.copies is not None and part.copies is not None
    np.testing.assert_array_equal(part.copies[0], full.copies[1])


def test_store_is_the_same_with_two_workers(cohort, tmp_path) -> None:
    df, root = cohort
    one = build_store(df, root, tmp_path / "a", copies=1, size=SIZE, n_jobs=1, progress=False)
    two = build_store(df, root, tmp_path / "b", copies=1, size=SIZE, n_jobs=2, progress=False)
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.copies, two.copies)


def test_opened_store_is_the_built_one(cohort, tmp_path) -> None:
    df, root = cohort
    build_store(df, root, tmp_path / "store", layout="anterior", size=SIZE, n_jobs=1, progress=False)
    store = open_store(tmp_path / "store")
    assert store.scan_ids == tuple(df["scan_id"]) and store.layout == "anterior"


def test_a_failed_build_leaves_no_store(cohort, tmp_path) -> None:
    df, root = cohort
    build_store(df, root, tmp_path / "store", size=SIZE, n_jobs=1, progress=False)
    with pytest.raises(ValueError, match="layout"):
        build_store(df, root, tmp_path / "store", layout="wrong", size=SIZE, n_jobs=1, progress=False)
    with pytest.raises(FileNotFoundError, match="02_preprocessing"):
        open_store(tmp_path / "store")
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["copies.npy", "images.npy", "index.csv"]


def test_an_empty_cohort_is_refused(cohort, tmp_path) -> None:
    df, root = cohort
    with pytest.raises(ValueError, match="no scan"):
        build_store(df.iloc[:0], root, tmp_path / "store")
