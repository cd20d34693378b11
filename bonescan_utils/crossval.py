"""Cross-validation: fits of all folds -> out-of-fold scores and their tables. No TensorFlow here.

Every scan is scored once (per repetition) by an arm that never saw it: not in training, not in choosing epoch or L2
penalty, not in choosing the threshold, which each fold takes from a tuning part of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bonescan_utils.bootstrap import N_BOOT
from bonescan_utils.evaluation import choose_threshold, metrics_table
from bonescan_utils.groups import area_or_note
from bonescan_utils.intervals import Estimate, auroc, undefined
from bonescan_utils.paired import COLUMNS as TEST_COLUMNS
from bonescan_utils.paired import paired_tests
from bonescan_utils.predictions import ArmScores

COLUMNS = ["scan_id", "patient_id", "arm", "fold", "repeat", "partition", "y_true", "y_score", "threshold", "y_pred"]
BY_SCORE = ("AUROC", "AUPRC", "Brier")
"""Metrics that are computed from scores; all others from the calls at each fold's own threshold."""


def out_of_fold(scores: Sequence[tuple[int, int, pd.DataFrame]]) -> pd.DataFrame:
    """Return one row per arm, repetition and scan.

    Args:
        scores: Of each fit its fold, its repetition, and its scores of the tuning and the test part: scan_id,
            patient_id, arm, partition, y_true, y_score.

    Returns:
        `COLUMNS`; `partition` is `test`, `threshold` the fold's (Youden, from its tuning part), `y_pred` 0 or 1.

    Raises:
        ValueError: A scan is scored twice in a repetition, or scans differ between arms: a fold is missing.
    """
    parts = []
    for fold, repeat, table in scores:
        tuning, test = (table[table["partition"] == name] for name in ("tuning", "test"))
        threshold = choose_threshold(tuning["y_true"], tuning["y_score"])
        called = (test["y_score"] >= threshold).astype(int)
        parts.append(test.assign(fold=fold, repeat=repeat, threshold=threshold, y_pred=called)[COLUMNS])
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat(parts, ignore_index=True)
    _check_whole(found)
    return found.sort_values(["repeat"], kind="stable").reset_index(drop=True)


def _check_whole(found: pd.DataFrame) -> None:
    twice = found.duplicated(["arm", "repeat", "scan_id"])
    if twice.any():
        row = found[twice].iloc[0]
        raise ValueError(f"scan {row['scan_id']!r} is in two folds of arm {row['arm']!r}")
    sizes = found.groupby(["arm", "repeat"])["scan_id"].agg(frozenset)
    if sizes.nunique() > 1:
        raise ValueError("arms or repetitions have scores of different scans: a fold is missing")


def pooled_metrics(found: pd.DataFrame, *, seed: int, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Evaluate every arm on its out-of-fold scores of repetition 0, all folds together.

    Scores of different folds come from different models; pooling them assumes that they mean the same. The
    AUROC of each fold by itself (`fold_table`) does not.

    Args:
        found: From `out_of_fold`.
        seed: Seed of the patient bootstrap.
        n_boot: Its resamples.

    Returns:
        As `evaluation.metrics_table`. Intervals take the models as given: they hold the chance of the scans, not
        that of the training; for that see `fold_table` and `spread_table`.
    """
    first = found[found["repeat"] == 0]
    if first.empty:
        return pd.DataFrame(columns=["arm", "metric", *Estimate._fields])
    arms = list(dict.fromkeys(first["arm"]))
    half = dict.fromkeys(arms, 0.5)
    by_score = metrics_table(first, half, seed=seed, n_boot=n_boot)
    by_call = metrics_table(first.assign(y_score=first["y_pred"].astype(float)), half, seed=seed, n_boot=n_boot)
    rows = by_call["metric"].isin(BY_SCORE)
    return by_call.where(~rows, by_score)


def pooled_tests(found: pd.DataFrame, *, reference: str, seed: int, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Compare the AUROC of a reference arm with that of each other arm on the pooled scores of repetition 0.

    Returns:
        As `paired.paired_tests`, its rows of AUROC.
    """
    first = found[found["repeat"] == 0]
    if first.empty:
        return pd.DataFrame(columns=TEST_COLUMNS)
    thresholds = dict.fromkeys(first["arm"], 0.5)
    tests = paired_tests(first, thresholds, reference=reference, seed=seed, n_boot=n_boot)
    return tests[tests["quantity"] == "AUROC"].reset_index(drop=True)


def fold_table(found: pd.DataFrame, *, seed: int = 0, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Return the AUROC of each fold.

    Args:
        found: From `out_of_fold`.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Its resamples.

    Returns:
        `arm, repeat, fold, estimate, ci_low, ci_high, method, n, n_positive, threshold`. An area that does not exist is
        NaN, and `method` is `undefined: ` and the reason.
    """
    rows: list[Mapping[str, object]] = []
    for (arm, repeat, fold), part in found.groupby(["arm", "repeat", "fold"], sort=False):
        scores = ArmScores(str(arm), *(part[name].to_numpy() for name in ArmScores._fields[1:]))
        estimate, reason = area_or_note(scores, 1, seed=seed, n_boot=n_boot)
        if reason and not estimate.method:
            estimate = undefined("scans of one label only", estimate.n, estimate.n_positive)
        about = {"arm": arm, "repeat": repeat, "fold": fold}
        rows.append({**about, **estimate._asdict(), "threshold": part["threshold"].iloc[0]})
    columns = "arm repeat fold estimate ci_low ci_high method n n_positive threshold".split()
    return pd.DataFrame(rows, columns=columns)


def spread_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how much the AUROC of each arm varies: from fold to fold, and from repetition to repetition.

    Returns:
        A row per arm: `arm`, `folds`, `repeats`, `fold_mean`, `fold_sd` (over the folds of repetition 0),
        `fold_min`, `fold_max`, and `pooled_min`, `pooled_max`, `pooled_sd` over the repetitions (NaN for fewer than
        two). Standard deviations divide by n - 1. Folds share training scans, so `fold_sd` / sqrt(folds) is no
        standard error (Bengio & Grandvalet, JMLR 2004;5:1089-1105).
    """
    by_fold = fold_table(found)
    rows = []
    for arm, part in found.groupby("arm", sort=False):
        mine = by_fold[(by_fold["arm"] == arm) & (by_fold["repeat"] == 0)]["estimate"]
        pooled = pd.Series([_area(each) for _, each in part.groupby("repeat")])
        over_folds = (len(mine), len(pooled), mine.mean(), mine.std(), mine.min(), mine.max())
        rows.append((arm, *over_folds, pooled.min(), pooled.max(), pooled.std()))
    columns = "arm folds repeats fold_mean fold_sd fold_min fold_max pooled_min pooled_max pooled_sd".split()
    return pd.DataFrame(rows, columns=columns)


def _area(scores: pd.DataFrame) -> float:
    return auroc(scores["y_true"].to_numpy(), scores["y_score"].to_numpy(dtype=float)).estimate
