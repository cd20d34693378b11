"""Phantom cohorts on disk: DICOM scans, a manifest, and the truth; made again on demand from the manifest alone.

Beside `scans/<scan_id>.dcm` lies `truth/<scan_id>.npz` (lesion masks and findings), written first: where there is a
scan, there is its truth.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from bonescan_utils.dicom_write import write_dicom
from bonescan_utils.files import write_atomic, write_csv
from bonescan_utils.manifest import COLUMNS, assign_partitions, is_phantom, write_manifest
from bonescan_utils.phantom.patient import LESION_COLUMNS, draw_patient, make_scan
from bonescan_utils.phantom.template import N_TEMPLATES, load_template
from bonescan_utils.scan import VIEWS
from bonescan_utils.temporaries import remove_stale

MANIFEST_NAME = "data_manifest.csv"
DEFAULT_SEED = 2022
MIN_TO_PARTITION = 20
"""A smaller cohort is written without partitions: a handful of scans is for looking at."""


def write_cohort(
    out: Path,
    *,
    n: int,
    seed: int = DEFAULT_SEED,
    scans: str = "scans",
    n_jobs: int = -1,
    progress: bool = True,
) -> Path:
    """Make phantoms 0 to n-1 of cohort `seed` and write scans, truth, `lesions.csv` and the manifest under `out`.

    Args:
        out: The folder; scans that are there already are kept if they are what this seed makes.
        n: Number of scans; even, so that half of them have metastases.
        seed: Cohort seed, 0 or more.
        scans: Folder of the scans below `out`; the truth lies beside it.
        n_jobs: Worker processes; -1 for one a core. The result does not depend on it.
        progress: Show a progress bar.

    Returns:
        The path of the manifest.

    Raises:
        ValueError: `n` is not a positive even number, or the seed is negative.
    """
    if n < 2 or n % 2:
        raise ValueError(f"n must be an even number of at least 2 (half the scans have metastases), got {n}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    out = Path(out)
    rows = [_manifest_row(seed, index, scans) for index in range(n)]
    made = _make_all([(seed, index, out / str(row["anterior"])) for index, row in enumerate(rows)], n_jobs, progress)
    for row, (digest, counts) in zip(rows, made, strict=True):
        row |= {f"sha256_{view}": digest for view in VIEWS}
        row |= {f"counts_{view}": str(count) for view, count in zip(VIEWS, counts, strict=True)}
    manifest = pd.DataFrame(rows)
    if n >= MIN_TO_PARTITION:
        manifest["partition"] = assign_partitions(manifest, seed=seed)
    extra = [name for name in manifest.columns if name not in COLUMNS]
    write_manifest(out / MANIFEST_NAME, manifest[[*COLUMNS, *extra]])
    _write_lesions(out, manifest)
    return out / MANIFEST_NAME


def restore(df: pd.DataFrame, root: Path, *, n_jobs: int = -1, progress: bool = True) -> pd.DataFrame:
    """Make the phantom scans that a manifest names and that are not on disk.

    A processor or library that rounds differently may make other counts than those the manifest's hash was taken
    from; a phantom may differ, so the difference is returned and the scan is used.

    Args:
        df: A manifest as `read_manifest` returns it; rows without `phantom_seed` are left alone.
        root: The folder its paths are relative to.
        n_jobs: Worker processes.
        progress: Show a progress bar.

    Returns:
        One row a scan made now that differs: scan_id, expected, found (SHA-256), counts_expected, counts_found
        (both views together) and difference_percent of the counts.
    """
    phantoms = df[is_phantom(df)]
    missing = phantoms[[not _is_there(Path(root) / name) for name in phantoms["anterior"]]]
    tasks = [
        (int(row["phantom_seed"]), int(row["phantom_index"]), Path(root) / str(row["anterior"]))
        for row in missing.to_dict("records")
    ]
    made = _make_all(tasks, n_jobs, progress)
    if len(phantoms) and (tasks or not _lesions_path(Path(root), phantoms).exists()):
        _write_lesions(Path(root), phantoms)
    rows = []
    for row, (digest, counts) in zip(missing.to_dict("records"), made, strict=True):
        if row["sha256_anterior"] and digest != row["sha256_anterior"]:
            expected = int(row["counts_anterior"]) + int(row["counts_posterior"])
            change = 100 * (sum(counts) - expected) / expected
            rows.append((row["scan_id"], row["sha256_anterior"], digest, expected, sum(counts), change))
    columns = ["scan_id", "expected", "found", "counts_expected", "counts_found", "difference_percent"]
    return pd.DataFrame(rows, columns=columns)


def read_truth(scan_path: Path) -> dict[str, np.ndarray] | None:
    """Return the lesion mask, bool (1024, 256), of each view of a phantom's scan; None where no truth is kept."""
    labels = read_labels(scan_path)
    return None if labels is None else {view: found > 0 for view, found in labels.items()}


def read_labels(scan_path: Path, *, of: str = "labels") -> dict[str, np.ndarray] | None:
    """Return a labelled truth, uint8 (1024, 256), of each view of a phantom's scan; None where none is kept.

    Args:
        scan_path: The scan's file.
        of: `labels`: n on the pixels of the metastasis with `lesion` n - 1 in `read_lesions`; `places`: 1 + index in
            `uptake.PLACES` of what is hot outside bone.
    """
    path = _truth_path(Path(scan_path))
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as truth:
        return dict(zip(VIEWS, truth[of], strict=True))


def read_lesions(scan_paths: Iterable[Path]) -> pd.DataFrame:
    """Return the findings of these phantoms, one row each: columns as `PhantomScan.lesions`, empty if none."""
    tables = []
    for path in scan_paths:
        truth = _truth_path(Path(path))
        if truth.exists():
            with np.load(truth, allow_pickle=False) as stored:
                tables.append(pd.DataFrame({name: stored[name] for name in LESION_COLUMNS}))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(LESION_COLUMNS))


def _manifest_row(seed: int, index: int, scans: str) -> dict[str, str | int]:
    """Return the manifest's row of one phantom, without partition and hashes."""
    patient = draw_patient(seed, index)
    path = f"{scans}/{patient.scan_id}.dcm"
    return {
        "scan_id": patient.scan_id, "patient_id": patient.patient_id, "anterior": path, "posterior": path,
        "metastasis": patient.metastasis, "label_source": "phantom", "age": patient.age, "sex": patient.sex,
        "primary_cancer": patient.primary_cancer, "site": "phantom", "scanner": "phantom", "partition": "",
        "phantom_seed": str(seed), "phantom_index": str(index),
    }  # fmt: skip


def _make_all(tasks: list[tuple[int, int, Path]], n_jobs: int, progress: bool) -> list[tuple[str, tuple[int, ...]]]:
    """Make phantoms in parallel; return each one's (SHA-256, counts per view)."""
    if not tasks:
        return []
    for folder in {_truth_path(path).parent for _, _, path in tasks} | {path.parent for _, _, path in tasks}:
        remove_stale(folder, deep=False)
    with Parallel(n_jobs=min(n_jobs, len(tasks)) if n_jobs > 0 else n_jobs, return_as="generator") as pool:
        templates = pool(delayed(_warm)(index) for index in range(N_TEMPLATES))
        list(tqdm(templates, "phantom templates", N_TEMPLATES, disable=not progress, unit="body"))
        scans = pool(delayed(_make)(*task) for task in tasks)
        return list(tqdm(scans, "phantom scans", len(tasks), disable=not progress, unit="scan"))


def _warm(index: int) -> None:
    """Build a template into the cache before any scan needs it."""
    load_template(index)


def _make(seed: int, index: int, path: Path) -> tuple[str, tuple[int, ...]]:
    """Make one phantom and write its truth, then its scan."""
    phantom = make_scan(seed, index)
    maps = {name: np.stack([getattr(phantom, name)[view] for view in VIEWS]) for name in ("labels", "places")}
    findings = {name: phantom.lesions[name].to_numpy() for name in LESION_COLUMNS}
    findings = {name: np.array(v, str) if v.dtype == object else v for name, v in findings.items()}
    with write_atomic(_truth_path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **maps, **findings)  # type: ignore[arg-type]
    patient = phantom.patient
    digest = write_dicom(
        path,
        phantom.scan,
        patient_id=patient.patient_id,
        sex=patient.sex,
        age=patient.age,
        study_seed=f"phantom-{seed}",
    )
    return digest, tuple(view.total for view in phantom.scan.views)


def _is_there(scan_path: Path) -> bool:
    """Whether a scan is there, and its truth as this version writes it."""
    truth = _truth_path(scan_path)
    if not (scan_path.exists() and truth.exists()):
        return False
    try:
        with zipfile.ZipFile(truth) as archive:
            return "labels.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):  # damaged: made again
        return False


def _truth_path(scan_path: Path) -> Path:
    return scan_path.parent.parent / "truth" / f"{scan_path.stem}.npz"


def _lesions_path(root: Path, phantoms: pd.DataFrame) -> Path:
    return (root / phantoms["anterior"].iloc[0]).parent.parent / "lesions.csv"


def _write_lesions(root: Path, phantoms: pd.DataFrame) -> None:
    """Gather the findings of all phantoms of a manifest into one table beside the scans' folder."""
    write_csv(_lesions_path(root, phantoms), read_lesions(root / name for name in phantoms["anterior"]))
