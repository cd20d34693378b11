"""Sanity run: all sanity checks of one arm and method of a finished run; phantoms only.

Only a simulator can take the metastases out of a patient. For a cohort of patients nothing is checked and every table
is empty.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bonescan_utils.count_noise import count_noise_scores
from bonescan_utils.counterfactuals import COLUMNS, counterfactual_rows, counterfactual_scores
from bonescan_utils.deletion import deletion_curves, deletion_gains
from bonescan_utils.explanation import Explained
from bonescan_utils.label_randomisation import shuffled_scores
from bonescan_utils.randomisation import randomisation_scores
from bonescan_utils.sanity import TABLE, deletion_curve, randomisation_curve, sanity_table
from bonescan_utils.study import Run

ESTIMATES = ("estimate", "ci_low", "ci_high", "n")
DEPTHS = 4
"""Depths of randomisation, from the head alone to all weights."""
DELETED = 10
"""Scans, at most, of the deletion and insertion curves, each of which costs dozens of passes."""


@dataclass(frozen=True)
class Sanity:
    """What was checked.

    Attributes:
        verdicts: `sanity.sanity_table`.
        changed: scores and maps of phantoms without, or with, metastases (`counterfactuals.counterfactual_scores`).
        randomised: `sanity.randomisation_curve`.
        deleted: `sanity.deletion_curve`.
    """

    verdicts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=TABLE))
    changed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    randomised: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["layers", *ESTIMATES]))
    deleted: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["test", "share", *ESTIMATES]))


def check_sanity(
    run: Run,
    model: Path,
    predictions: pd.DataFrame,
    explained: Sequence[Explained],
    *,
    arm: str,
    threshold: float,
    layout: str,
    method: str,
    n: int,
    seed: int,
    shuffled_labels: bool = False,
) -> Sanity:
    """Check one method's maps of one arm on up to `n` phantoms of the test partition.

    Args:
        run: The run; its cohort must be there.
        model: The arm's saved model.
        predictions: One row per scan and arm.
        explained: The test scans with their maps.
        arm: The arm.
        threshold: Its threshold, chosen on tuning scans.
        layout: The layout that it was trained with.
        method: The method that the maps were made by.
        n: True positives to take the metastases out of, and true negatives to put some into; 0 for no check.
        seed: Of the choice of scans, the random weights, the shuffled labels and the noise.
        shuffled_labels: Also train the arm once more, on shuffled labels, and compare its maps (costs a training).
    """
    if not (run.synthetic and n):
        return Sanity()
    patients = run.cohort.set_index("scan_id")["patient_id"]
    checks = _counterfactuals(run, model, predictions, arm, threshold, layout, method, n, seed)
    some = [item for item in explained if item.scan.scan_id in set(checks["removed"]["scan_id"])]
    if not some:
        return Sanity()
    scans = [item.scan for item in some]
    with tempfile.TemporaryDirectory() as folder:
        checks["randomisation"] = randomisation_scores(
            model, scans, run.truth(scan.scan_id for scan in scans), layout=layout, folder=Path(folder), method=method,
            seed=seed, max_depths=DEPTHS, progress=True,
        )  # fmt: skip
        if shuffled_labels:
            checks["shuffled"] = shuffled_scores(
                run, model, scans, folder=Path(folder), layout=layout, method=method, seed=seed
            )
    curves = deletion_curves(model, some[:DELETED], seed=seed, progress=True)
    checks["deletion"] = deletion_gains(curves)
    checks["count_noise"] = count_noise_scores(model, some, layout=layout, method=method, draws=1, seed=seed)
    return Sanity(
        sanity_table(checks, patients, arm=arm, method=method, score_threshold=threshold, seed=seed),
        pd.concat([checks["removed"], checks["inserted"]], ignore_index=True),
        randomisation_curve(checks["randomisation"], patients, seed=seed),
        deletion_curve(curves, patients, seed=seed),
    )


def _counterfactuals(
    run: Run,
    model: Path,
    predictions: pd.DataFrame,
    arm: str,
    threshold: float,
    layout: str,
    method: str,
    n: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Scores of the same phantom patients without metastases, and of others with some put in."""
    found: dict[str, pd.DataFrame] = {}
    for change in ("removed", "inserted"):
        rows = counterfactual_rows(predictions, run.cohort, arm=arm, threshold=threshold, change=change, n=n, seed=seed)
        found[change] = counterfactual_scores(model, rows, change, layout=layout, method=method, progress=True)
    return found
