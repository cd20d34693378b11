"""Selection: which scans of a run the viewer shows, with their scores, outcomes, saliency maps and truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from bonescan_utils.scan import Scan
from bonescan_utils.viewer.viewed import OUTCOMES, MapOfScan, ViewedScan, outcome_of

if TYPE_CHECKING:
    from bonescan_utils.study import Run

BATCH = 16
"""Scans that are read at a time: a scan in counts takes about 1 MB, its truth half of that."""


class ExplainedScan(MapOfScan, Protocol):
    """A saliency map that knows its scan, such as `explanation.Explained`."""

    @property
    def scan(self) -> Scan:
        """The scan."""


Maps = Mapping[str, Mapping[str, Iterable[ExplainedScan]]]
"""Arm -> method -> maps."""


def gallery_scans(
    run: Run,
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    maps: Maps,
    *,
    partition: str = "test",
    n: int = 200,
) -> Iterator[ViewedScan]:
    """Give the scans of a run as the viewer shows them, a few in memory at a time.

    Args:
        run: The run folder, opened.
        predictions: One row per scan and arm: scan_id, arm, partition, y_true, y_score.
        thresholds: Threshold of each arm, 0-1.
        maps: Arm -> method -> maps, such as `explanation.explain` returns; these arms are shown. A scan without
            a map is shown without.
        partition: The partition shown.
        n: Scans of an arm, at most; see `spread_rows`.

    Raises:
        ValueError: An arm has no predictions in the partition, or no threshold.
    """
    primaries = run.cohort.set_index("scan_id")["primary_cancer"].astype(str)
    for arm, methods in maps.items():
        rows = _rows_of(predictions, arm, thresholds, partition)
        chosen = spread_rows(rows, thresholds[arm], n=n)
        found = {method: {one.scan.scan_id: one for one in many} for method, many in methods.items()}
        for start in range(0, len(chosen), BATCH):
            part = chosen.iloc[start : start + BATCH]
            truth = run.truth(part["scan_id"])
            for scan, row in zip(run.scans(part["scan_id"]), part.to_dict("records"), strict=True):
                name = scan.scan_id
                mine = {method: table[name] for method, table in found.items() if name in table}
                label, score, primary = int(row["y_true"]), float(row["y_score"]), primaries[name]
                yield ViewedScan(scan, arm, label, score, thresholds[arm], primary, mine, truth[name])


def spread_rows(rows: pd.DataFrame, threshold: float, *, n: int) -> pd.DataFrame:
    """Return at most `n` rows: as many of each outcome, at even distances of rank by score.

    What an outcome has too few scans for goes to the others, so that no more than needed is left out.

    Args:
        rows: scan_id, y_true, y_score; one row per scan.
        threshold: `y_score >= threshold` calls metastasis.
        n: Rows at most.

    Returns:
        Rows by outcome in the order of `OUTCOMES`, then from the highest score to the lowest.
    """
    judged = zip(rows["y_true"], rows["y_score"], strict=True)
    order = rows.assign(_outcome=[outcome_of(label, score, threshold) for label, score in judged])
    order = order.sort_values(["y_score", "scan_id"], ascending=[False, True])
    groups = {name: order[order["_outcome"] == name].drop(columns="_outcome") for name in OUTCOMES}
    left, kept = n, {}
    for done, name in enumerate(sorted(OUTCOMES, key=lambda name: len(groups[name]))):
        many = min(len(groups[name]), left // (len(OUTCOMES) - done))
        places = np.unique(np.linspace(0, len(groups[name]) - 1, many).round().astype(int))
        kept[name], left = groups[name].iloc[places], left - many
    return pd.concat([kept[name] for name in OUTCOMES], ignore_index=True)


def _rows_of(predictions: pd.DataFrame, arm: str, thresholds: Mapping[str, float], partition: str) -> pd.DataFrame:
    """Return an arm's predictions of a partition."""
    rows = predictions[(predictions["arm"] == arm) & (predictions["partition"] == partition)]
    if rows.empty:
        known = ", ".join(map(str, predictions.loc[predictions["partition"] == partition, "arm"].unique()))
        raise ValueError(f"arm {arm!r} has no predictions of the {partition} scans; arms that have: {known or 'none'}")
    if arm not in thresholds:
        raise ValueError(f"arm {arm!r} has no threshold; arms that have: {', '.join(thresholds) or 'none'}")
    return rows
