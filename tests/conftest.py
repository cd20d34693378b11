"""Fixtures for all tests: small fabricated scans, and a cohort of eight DICOM files. No TensorFlow here."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from bonescan_utils.dicom import write_dicom
from bonescan_utils.manifest import write_manifest
from bonescan_utils.scan import Scan, View

settings.register_profile("repeatable", derandomize=True, database=None)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
# The same examples in every run, so that a test fails for a change and not by luck; `make fuzz` searches for new ones.

ROWS, COLUMNS = 128, 32
PRIMARIES = ("prostate", "breast", "lung", "other")


def make_counts(seed: int, *, rows: int = ROWS, columns: int = COLUMNS, hot: bool = False) -> np.ndarray:
    """Returns (rows, columns) uint16 counts of a body-like ellipse, with a hot spot if wanted."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    expected = np.where((y / 0.92) ** 2 + (x / 0.6) ** 2 < 1, 60.0 + 40.0 * (np.abs(x) < 0.12), 0.2)
    if hot:
        rng = np.random.default_rng([seed, 1])
        centre = rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3)
        expected += 400.0 * np.exp(-((y - centre[0]) ** 2 / 0.003 + (x - centre[1]) ** 2 / 0.02))
    return np.random.default_rng(seed).poisson(expected).astype(np.uint16)


def make_scan(scan_id: str = "s0001", *, seed: int = 1, hot: bool = False, **size: int) -> Scan:
    """Returns a scan of two views of different noise, with 2.26 mm pixels."""
    anterior, posterior = (make_counts(2 * seed + side, hot=hot, **size) for side in (0, 1))
    pixel = (2.26, 2.26)
    return Scan(scan_id, View("anterior", anterior, pixel, "file"), View("posterior", posterior, pixel, "file"))


@pytest.fixture(autouse=True, scope="session")
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the tests, nor of the processes that they start, is left in the system's temporary folder."""
    tmp_path_factory.getbasetemp()  # pytest's own folder stays where it was, to be looked into
    before, folder = tempfile.tempdir, tempfile.mkdtemp(prefix="bonescan-")  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        tempfile.tempdir = folder
        yield
        tempfile.tempdir = before
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class SmallCohort:
    """A manifest on disk, its table, its folder, and the scans behind it."""

    manifest: Path
    df: pd.DataFrame
    root: Path
    scans: dict[str, Scan]


def make_cohort(root: Path, *, n: int = 8, **size: int) -> SmallCohort:
    """Writes `n` two-view DICOM files, half of them with a hot spot and label 1, and their manifest."""
    rows, scans = [], {}
    for at in range(n):
        scan_id, patient_id, label = f"s{at:04d}", f"P{at:04d}", at % 2
        scan = make_scan(scan_id, seed=at + 1, hot=bool(label), **size)
        path, sex, age = f"scans/{scan_id}.dcm", "FM"[at % 2], 50 + at % 40
        digest = write_dicom(root / path, scan, patient_id=patient_id, sex=sex, age=age, study_seed="test")
        rows.append(
            {
                "scan_id": scan_id,
                "patient_id": patient_id,
                "anterior": path,
                "posterior": path,
                "metastasis": label,
                "label_source": "fabricated",
                "age": float(age),
                "sex": sex,
                "primary_cancer": PRIMARIES[at // 2 % len(PRIMARIES)],
                "site": "A",
                "scanner": "none",
                "partition": "",
                "sha256_anterior": digest,
                "sha256_posterior": digest,
            }
        )
        scans[scan_id] = scan
    df = pd.DataFrame(rows)
    write_manifest(root / "data_manifest.csv", df)
    return SmallCohort(root / "data_manifest.csv", df, root, scans)


@pytest.fixture
def small_scan() -> Scan:
    """A scan of two 128 x 32 views."""
    return make_scan()


@pytest.fixture
def small_cohort(tmp_path: Path) -> SmallCohort:
    """Eight scans of eight patients as DICOM files, four of each label, in a folder of their own."""
    return make_cohort(tmp_path)


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of bytes, computed beside the code under test."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Dask cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    options = {"dashboard_address": None, "host": "127.0.0.1", "protocol": "tcp"}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as found:
        yield found
