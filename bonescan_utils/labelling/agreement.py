"""Agreement: how far readers, and report labels, agree beyond chance: kappa with patient-bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.bootstrap import N_BOOT, PatientBootstrap
from bonescan_utils.files import read_csv, write_csv
from bonescan_utils.intervals import Estimate, undefined
from bonescan_utils.labelling.lexicon import Lexicon
from bonescan_utils.labelling.readings import READINGS
from bonescan_utils.labelling.reports import LabelError

REPORT_READING = {"positive": "abnormal", "negative": "normal", "uncertain": "unsure"}
"""What a report label says of the image; `historical` and `none` say nothing."""
REPORT_ROW = "report vs image review"
ONE_CATEGORY = "all readings are of one category"
MIN_REVIEWED = 50
"""Scans that a sample must hold before labels may be taken from reports alone."""


def cohen_kappa(a: Any, b: Any, patient_id: Any, *, seed: int, n_boot: int = N_BOOT) -> Estimate:
    """Cohen's kappa of two readers, unweighted, with a patient-bootstrap interval.

    Args:
        a: Readings of the first reader, any categories, shape `(n_scans,)`.
        b: Readings of the second of the same scans, shape `(n_scans,)`.
        patient_id: Patient of each scan, shape `(n_scans,)`.
        seed: Seed of the resamples.
        n_boot: Number of resamples.

    Returns:
        The estimate; where both readers gave one and the same category throughout it is NaN, and `method` says so.

    Raises:
        ValueError: There is no scan, or the shapes differ.

    Source:
        Cohen, Educ Psychol Meas 1960;20:37-46.
    """
    return fleiss_kappa(
        np.column_stack([_one_column(a), _one_column(b)]), patient_id, seed=seed, n_boot=n_boot, own=True
    )


def fleiss_kappa(
    ratings: Any, patient_id: Any, *, seed: int, n_boot: int = N_BOOT, own: bool = False
) -> Estimate:  # fmt: skip
    """Fleiss' kappa of any number of readers, with a patient-bootstrap interval.

    Args:
        ratings: Readings, shape `(n_scans, n_readers)`, two readers or more; every reader read every scan.
        patient_id: Patient of each scan, shape `(n_scans,)`.
        seed: Seed of the resamples.
        n_boot: Number of resamples.
        own: Each reader keeps the frequencies of their own categories, as in Cohen's kappa; else they share one.

    Raises:
        ValueError: There is no scan, fewer than two readers, or not one patient for each scan.

    Source:
        Fleiss, Psychol Bull 1971;76:378-382.
    """
    table, patients = np.asarray(ratings), np.asarray(patient_id)
    if table.ndim != 2 or table.shape[0] == 0 or table.shape[1] < 2 or patients.shape != table.shape[:1]:
        raise ValueError(
            f"expected readings (n_scans, n_readers) of at least one scan and two readers and a patient for each scan,"
            f" got {table.shape} and {patients.shape}"
        )
    categories, codes = np.unique(table, return_inverse=True)
    rated = np.eye(len(categories))[codes.reshape(table.shape)]  # (n_scans, n_readers, n_categories)
    resamples = PatientBootstrap(patients, np.zeros(len(patients)), seed=seed, n_boot=n_boot)  # one stratum
    found = resamples.estimate(lambda weights: _kappa(weights, rated, own))
    return found if math.isfinite(found.estimate) else undefined(ONE_CATEGORY, found.n, found.n_positive)


def _kappa(weights: np.ndarray, rated: np.ndarray, own: bool) -> np.ndarray:
    """Kappa of each row of weights `(resamples, n_scans)`; shape `(resamples,)`."""
    readers, n = rated.shape[1], weights.sum(axis=1)
    counts = rated.sum(axis=1)  # (n_scans, n_categories)
    pairs = (counts * (counts - 1)).sum(axis=1) / (readers * (readers - 1))  # share of agreeing pairs of readers
    observed = weights @ pairs / n
    shares = np.einsum("bs,src->brc", weights, rated) / n[:, None, None]  # (resamples, n_readers, n_categories)
    expected = np.prod(shares, axis=1).sum(axis=1) if own else (shares.mean(axis=1) ** 2).sum(axis=1)
    chance = 1 - expected
    return np.divide(observed - expected, chance, out=np.full(len(n), np.nan), where=chance > 1e-12)


def _one_column(readings: Any) -> np.ndarray:
    column = np.asarray(readings, dtype=object)
    return column.astype(str)


def agreement_table(
    matrix: pd.DataFrame, patients: pd.Series, *, reports: pd.Series | None = None, reviewed: pd.Series | None = None,
    seed: int, n_boot: int = N_BOOT,
) -> pd.DataFrame:  # fmt: skip
    """Agreement of each pair of readers, of all of them, and of the report labels with the image review.

    Args:
        matrix: From `readings.reading_matrix`.
        patients: Patient of each scan, indexed by `scan_id`.
        reports: Label of each report, indexed by `scan_id`.
        reviewed: Reading that the image review settled on, indexed by `scan_id`.
        seed: Seed of the resamples.
        n_boot: Number of resamples.

    Returns:
        `comparison, n, n_patients, observed, kappa, ci_low, ci_high, method`; only scans that all of a comparison
        read are in it. A kappa that is undefined is NaN, and `method` says why.
    """
    pairs = [(f"{a} vs {b}", matrix[[a, b]], True) for a, b in combinations(matrix.columns, 2)]
    if len(matrix.columns) > 2:
        pairs.append((f"all {len(matrix.columns)} readers", matrix, False))
    if reports is not None and reviewed is not None:
        both = pd.concat([reports.map(REPORT_READING), reviewed], axis=1, keys=["report", "review"], join="inner")
        pairs.append((REPORT_ROW, both.fillna(""), True))
    rows = [_row(name, table, patients, own, seed, n_boot) for name, table, own in pairs]
    names = ["comparison", "n", "n_patients", "observed", "kappa", "ci_low", "ci_high", "method"]
    return pd.DataFrame([row for row in rows if row], columns=pd.Index(names))


def _row(
    name: str, table: pd.DataFrame, patients: pd.Series, own: bool, seed: int, n_boot: int
) -> dict[str, object]:  # fmt: skip
    """Returns one comparison, or nothing where no scan was read by all."""
    shared = table[table.isin(READINGS).all(axis=1)]
    if shared.empty:
        return {}
    whose = patients.loc[shared.index].to_numpy()
    found = fleiss_kappa(shared.to_numpy(), whose, seed=seed, n_boot=n_boot, own=own)
    same = float((shared.nunique(axis=1) == 1).mean())
    kind = "Cohen" if own else "Fleiss"
    method = f"{kind}'s kappa, {found.method}" if math.isfinite(found.estimate) else found.method
    return {
        "comparison": name, "n": len(shared), "n_patients": len(set(whose)), "observed": same, "kappa": found.estimate,
        "ci_low": found.ci_low, "ci_high": found.ci_high, "method": method,
    }  # fmt: skip


def disagreements(matrix: pd.DataFrame, *, reports: pd.Series | None = None) -> pd.DataFrame:
    """Returns the scans on which readers differ from each other or from the report.

    Args:
        matrix: From `readings.reading_matrix`.
        reports: Label of each report, indexed by `scan_id`.

    Returns:
        `scan_id`, a column for each reader, `report_label` ('' if there is none).
    """
    labels = reports.reindex(matrix.index).fillna("") if reports is not None else pd.Series("", matrix.index)
    said = pd.concat([matrix, labels.map(REPORT_READING).fillna("")], axis=1)
    differ = said.apply(lambda row: len(set(row) - {""}) > 1, axis=1).astype(bool)
    return matrix[differ].assign(report_label=labels[differ]).reset_index()


# ---------------------------------------------------------------------------------------------- the gate
def write_agreement(path: str | Path, table: pd.DataFrame, lexicon: Lexicon) -> None:
    """Writes the agreement with the hash of the lexicon whose labels were reviewed."""
    write_csv(path, table.assign(lexicon_sha256=lexicon.sha256))


def require_agreement(path: str | Path, lexicon: Lexicon, *, min_scans: int = MIN_REVIEWED) -> pd.Series:
    """Returns the written agreement of reports with image review; without it no label comes from a report alone.

    Raises:
        LabelError: It is not written, is of another lexicon, or of a smaller sample than `min_scans`.
    """
    todo = "review a sample (`bonescan review`), then write its agreement"
    if not Path(path).is_file():
        raise LabelError(f"{path}: no such file; labels may be taken from reports only after: {todo}")
    table = read_csv(path, text=("comparison", "lexicon_sha256"), numbers=("n", "kappa"))
    rows = table[table["comparison"] == REPORT_ROW] if {"comparison", "n"} <= set(table.columns) else table[:0]
    if len(rows) != 1:
        raise LabelError(f"{path}: expected one row {REPORT_ROW!r}, found {len(rows)}; {todo}")
    row = rows.iloc[0]
    if row.get("lexicon_sha256") != lexicon.sha256:
        raise LabelError(f"{path}: it is the agreement of another lexicon; label again, then write it anew")
    if row["n"] < min_scans:
        raise LabelError(f"{path}: {row['n']:.0f} scans were compared; expected at least {min_scans}: {todo}")
    return row


def reviewed_sample(scan_ids: Sequence[str], patients: Sequence[str], n: int, *, seed: int) -> list[str]:
    """Draws scans for review: whole patients at random until there are `n` scans or more.

    Raises:
        LabelError: `n` is below 1.
    """
    if n < 1:
        raise LabelError(f"a sample of {n} scans: expected 1 or more")
    of: dict[str, list[str]] = {}
    for scan_id, patient in zip(scan_ids, patients, strict=True):
        of.setdefault(patient, []).append(scan_id)
    drawn: list[str] = []
    for patient in np.random.default_rng(seed).permutation(sorted(of)):
        if len(drawn) >= n:
            break
        drawn += of[patient]
    return drawn
