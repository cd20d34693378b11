"""Counterfactuals: the same phantom patient with all metastases removed, or with metastases put in.

Score and saliency map must follow. Only a simulator can tell: no patient is scanned with and without the disease.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from bonescan_utils.explanation import Explained, explain, lesion_mask
from bonescan_utils.manifest import is_phantom
from bonescan_utils.phantom import PhantomScan, make_scan
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.sanity import SanityError

CHANGES = ("removed", "inserted")
CHUNK = 32
"""Patients explained at once: bounds the memory to a hundred MB."""

COLUMNS = ["scan_id", "patient_id", "change", "score_before", "score_after", "energy_before", "energy_after"]


def counterfactual_rows(
    predictions: pd.DataFrame, cohort: pd.DataFrame, *, arm: str, threshold: float, change: str, n: int, seed: int = 0
) -> pd.DataFrame:
    """Draw phantoms of the test partition that an arm was right about.

    Args:
        predictions: scan_id, arm, partition, y_true, y_score.
        cohort: scan_id, patient_id, phantom_seed, phantom_index.
        arm: The arm.
        threshold: Its threshold.
        change: `removed` draws true positives, `inserted` true negatives.
        n: Scans, at most.
        seed: Seed of the draw.

    Returns:
        Rows of the cohort.

    Raises:
        SanityError: `change` is none of these.
    """
    if change not in CHANGES:
        raise SanityError(f"change must be one of {', '.join(CHANGES)}, got {change!r}")
    rows = predictions[(predictions["arm"] == arm) & (predictions["partition"] == "test")]
    positive = change == "removed"
    right = rows[((rows["y_score"] >= threshold) == positive) & ((rows["y_true"] == 1) == positive)]
    found = cohort[cohort["scan_id"].isin(right["scan_id"])]
    return found.sample(min(n, len(found)), random_state=seed).sort_values("scan_id").reset_index(drop=True)


def counterfactual_scores(
    model: Path, rows: pd.DataFrame, change: str, *, layout: str, method: str = DEFAULT_METHOD, progress: bool = False
) -> pd.DataFrame:
    """Score and explain phantoms as they are and changed.

    Args:
        model: A saved model, with its record beside it.
        rows: Rows of the cohort: scan_id, patient_id, phantom_seed, phantom_index.
        change: `removed` or `inserted`; see `phantom.make_scan`.
        layout: The layout that the model was trained with.
        method: A method of `explanation.explain`.
        progress: Show a progress bar.

    Returns:
        One row per scan: scan_id, patient_id, change, score_before, score_after, energy_before, energy_after (mean of
        the saliency map, in logits, at the lesions that were removed or are put in).

    Raises:
        SanityError: `change` is none of these, or a row is no phantom.
    """
    if change not in CHANGES:
        raise SanityError(f"change must be one of {', '.join(CHANGES)}, got {change!r}")
    others = rows.loc[~is_phantom(rows), "scan_id"]
    if len(others):
        raise SanityError(f"{len(others)} of {len(rows)} scans are no phantoms (column phantom_seed); the first is "
                          f"{others.iloc[0]}: only a phantom can be made again without its lesions")  # fmt: skip
    found: list[dict[str, Any]] = []
    with tqdm(total=len(rows), desc=f"lesions {change}", disable=not progress, unit="scan") as bar:
        for part in _chunks(rows):
            found += _changed(model, part, change, layout, method)
            bar.update(len(part))
    return pd.DataFrame(found, columns=COLUMNS)


def _changed(model: Path, rows: pd.DataFrame, change: str, layout: str, method: str) -> list[dict[str, Any]]:
    """Return the rows of some patients."""
    keys = [(int(seed), int(index)) for seed, index in zip(rows["phantom_seed"], rows["phantom_index"], strict=True)]
    before = [make_scan(*key) for key in keys]
    after = [make_scan(*key, change=change) for key in keys]
    with_lesions = before if change == "removed" else after
    explained = explain(model, [one.scan for one in before + after], layout=layout, method=method)
    pairs = zip(with_lesions, explained[: len(keys)], explained[len(keys) :], rows["patient_id"], strict=True)
    return [_row(truth, old, new, change) | {"patient_id": patient} for truth, old, new, patient in pairs]


def _row(truth: PhantomScan, before: Explained, after: Explained, change: str) -> dict[str, Any]:
    return {
        "scan_id": truth.scan.scan_id, "change": change,
        "score_before": before.y_score, "score_after": after.y_score,
        "energy_before": _energy(before, truth), "energy_after": _energy(after, truth),
    }  # fmt: skip


def _energy(one: Explained, truth: PhantomScan) -> float:
    """Return the mean of a map, in logits, at the lesions of the truth; NaN where none can be seen."""
    mask = lesion_mask(one.prepared, truth.masks)
    return float(np.mean(one.saliency[mask]) * one.raw_max) if mask.any() else float("nan")


def _chunks(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), CHUNK):
        yield rows.iloc[start : start + CHUNK]
