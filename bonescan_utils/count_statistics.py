"""Count statistics of a cohort, and how well they alone tell the labels: the shortcut check.

A cohort whose labels can be read off total counts or hottest pixel rewards a network for not looking at lesions.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bonescan_utils.loading import load_scan
from bonescan_utils.scan import Scan
from bonescan_utils.workers import in_order

STATISTICS = ("total", "maximum", "p99.9", "p99", "median")
"""Of each view: all counts, the hottest pixel, percentiles of all pixels, the median of the pixels with counts."""


def count_statistics(scan: Scan) -> dict[str, float]:
    """Return `STATISTICS` of each view of a scan, in counts, named `anterior_total`, ..."""
    out: dict[str, float] = {}
    for view in scan.views:
        counts = view.counts
        filled = counts[counts > 0]
        values = (
            float(view.total),
            float(counts.max()),
            *(float(v) for v in np.percentile(counts, [99.9, 99])),
            float(np.median(filled)) if filled.size else 0.0,
        )
        out |= {f"{view.name}_{name}": value for name, value in zip(STATISTICS, values, strict=True)}
    return out


def cohort_statistics(used: pd.DataFrame, root: Path, *, n_jobs: int = -1, progress: bool = True) -> pd.DataFrame:
    """Return one row a scan: scan_id, patient_id, partition, metastasis and the statistics of its views."""
    rows = used.to_dict("records")
    work = in_order(
        partial(_of_row, root=Path(root).resolve()), rows, label="count statistics", n_jobs=n_jobs, progress=progress
    )
    table = pd.DataFrame(list(work))
    known = used[["scan_id", "patient_id", "partition", "metastasis"]].reset_index(drop=True)
    return pd.concat([known, table], axis=1)


def trivial_baseline(statistics: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Score every scan by a logistic regression on the logarithms of its count statistics, fitted on train.

    Args:
        statistics: As `cohort_statistics` returns it; a missing view's statistics count as those of a median scan.
        seed: Seed of the fit.

    Returns:
        Predictions of arm `count_statistics`: scan_id, patient_id, arm, partition, y_true, y_score.
    """
    names = [name for name in statistics.columns if name.startswith(("anterior_", "posterior_"))]
    values = statistics[names].astype(float).apply(np.log1p)
    values = values.fillna(values[statistics["partition"] == "train"].median())
    train = (statistics["partition"] == "train").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))
    model.fit(values[train], statistics.loc[train, "metastasis"])
    return statistics[["scan_id", "patient_id", "partition"]].assign(
        arm="count_statistics", y_true=statistics["metastasis"], y_score=model.predict_proba(values)[:, 1]
    )[["scan_id", "patient_id", "arm", "partition", "y_true", "y_score"]]


def _of_row(row: dict, root: Path) -> dict[str, float]:
    return count_statistics(load_scan({str(key): value for key, value in row.items()}, root))
