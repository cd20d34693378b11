"""Experiment: the arms of a run, trained on its image store; each is trained once and kept with its origin.

What a notebook asks for is trained only if it is not there already: the proposed arm of notebook 03 is the
one that notebook 04 compares, and a comparison that was cut short goes on with the arm that was missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.arms import protocol
from bonescan_utils.crossval import out_of_fold
from bonescan_utils.files import read_csv
from bonescan_utils.fits import Fit, complete, with_keys
from bonescan_utils.image_store import open_store
from bonescan_utils.models import load_model, predict
from bonescan_utils.paired import paired_tests
from bonescan_utils.study import Run
from bonescan_utils.tables import comparison_table


@dataclass(frozen=True)
class Trained:
    """A trained arm of a run.

    Attributes:
        name: The arm.
        weights: Kind of the weights it started from.
        predictions: scan_id, patient_id, arm, partition, y_true, y_score (0-1) of all scans of the cohort.
        history: arm, epoch, loss, tuning_loss, tuning_auroc, lr, l2.
        best_epoch: The epoch that was kept.
        model: The saved model.
        reused: Whether it was there already.
        source: Kind, file, md5 and note of those weights.
    """

    name: str
    weights: str
    predictions: pd.DataFrame
    history: pd.DataFrame
    best_epoch: int
    model: Path
    reused: bool
    source: Mapping[str, Any]


def train_arms(
    run: Run,
    names: Sequence[str],
    *,
    seed: int,
    weights: str = "auto",
    weights_dir: str = "",
    copies: int = -1,
    epochs: int = -1,
) -> list[Trained]:
    """Train the arms that are not there yet, one after another, and return all of them in order.

    Args:
        run: The run; its cohort and its image store must be there.
        names: Arms by name.
        seed: Seed of the training.
        weights: `imagenet`, `auto` or `random`.
        weights_dir: Folder with the official weights files; '' for none.
        copies: At most this many augmented copies a scan; -1 as the arm says.
        epochs: At most this many epochs; -1 as the arm says.

    Raises:
        WeightsError: Weights that were asked for are not to be had.
        FitError: A partition lacks one of the two labels.
    """
    run.need("store"), run.need("cohort.csv")
    fits = with_keys([
        Fit(folder=str(run.folder), arm=name, seed=seed, weights=weights, weights_dir=weights_dir, copies=copies,
            epochs=epochs)
        for name in dict.fromkeys(names)
    ])  # fmt: skip
    trained = [_load(run, each, reused=there) for each, there in zip(fits, complete(fits), strict=True)]
    for arm in trained:
        if arm.reused:
            print(f"{arm.name}: trained already, kept")  # noqa: T201  # shown in the notebook
    return trained


def cross_validate(
    run: Run,
    names: Sequence[str],
    *,
    folds: int,
    seeds: int = 1,
    seed: int,
    weights: str = "auto",
    weights_dir: str = "",
    copies: int = -1,
    epochs: int = -1,
) -> pd.DataFrame:
    """Train every arm once per fold and repetition, and return the scores of the scans it never saw.

    What is there already is kept: another arm, fold or repetition costs only itself.

    Args:
        run: The run; its image store must hold the augmented copies of every scan.
        names: Arms by name.
        folds: Number of folds; 0 for no cross-validation.
        seeds: Repetitions of each fit, each with a seed and a tuning part of its own.
        seed: Seed of the study: of the folds, and of repetition 0.
        weights: As in :func:`train_arms`; so are the rest.
        weights_dir: Folder with the official weights files; '' for none.
        copies: At most this many augmented copies a scan; -1 as the arm says.
        epochs: At most this many epochs; -1 as the arm says.

    Returns:
        `crossval.out_of_fold`; no rows without folds.

    Raises:
        FitError: A partition lacks one of the two labels.
        ManifestError: A label has fewer patients than there are folds.
        WorkerError: On a cluster: a task failed.
    """
    if not folds:
        return out_of_fold([])
    fits = with_keys([
        Fit(folder=str(run.folder), arm=name, seed=seed, weights=weights, weights_dir=weights_dir, copies=copies,
            epochs=epochs, folds=folds, fold=fold, repeat=repeat)
        for name in dict.fromkeys(names) for repeat in range(seeds) for fold in range(folds)
    ])  # fmt: skip
    there = complete(fits)
    print(f"{len(fits)} fits: {sum(there)} were there, {len(fits) - sum(there)} done now")  # noqa: T201
    return out_of_fold([(each.fold, each.repeat, each.scores()) for each in fits])


def all_predictions(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return the predictions of all arms as one table."""
    return pd.concat([arm.predictions for arm in trained], ignore_index=True)


def paper_arms(predictions: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the predictions of the paper's comparison: the reference arm and the frozen backbones."""
    return predictions[[arm == reference or protocol(arm) == "frozen" for arm in predictions["arm"]]]


def equal_protocols(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the predictions by protocol, of all but `frozen`, where at least two arms share it."""
    by_protocol = predictions.groupby(predictions["arm"].map(protocol))
    return {name: group for name, group in by_protocol if name != "frozen" and group["arm"].nunique() > 1}


def equal_protocol_table(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    metrics: pd.DataFrame,
    weights: Mapping[str, str],
    *,
    seed: int,
    n_boot: int,
) -> pd.DataFrame:
    """Compare the backbones that were trained by one protocol, each protocol by itself.

    Args:
        predictions: One row per scan and arm.
        thresholds: Arm -> threshold.
        metrics: From `evaluation.metrics_table`, of all these arms.
        weights: Arm -> kind of its starting weights.
        seed: Seed of the bootstrap.
        n_boot: Bootstrap samples.

    Returns:
        `tables.comparison_table` of each protocol under a column `Protocol`, against the first arm of the protocol,
        with P values adjusted within it; no rows if no two arms share one.
    """
    parts = []
    for name, group in equal_protocols(predictions).items():
        reference = str(group["arm"].iloc[0])
        tests = paired_tests(group, thresholds, reference=reference, seed=seed, n_boot=n_boot)
        table = comparison_table(metrics[metrics["arm"].isin(group["arm"])], tests, weights)
        table.insert(0, "Protocol", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["Protocol", "Arm"])


def weights_of(trained: Sequence[Trained]) -> dict[str, str]:
    """Return the kind of weights that each arm started from, for tables and figures."""
    return {arm.name: arm.weights for arm in trained}


def weights_table(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return one row per arm: arm, backbone, weights, file, md5, note, best_epoch."""
    return pd.DataFrame([{"arm": arm.name, **arm.source, "best_epoch": arm.best_epoch} for arm in trained])


def check_saved(run: Run, arm: Trained, *, n: int = 8) -> pd.DataFrame:
    """Return the scores of some scans by the saved model beside those of the training run.

    They come from two computations of the same network (float32 in one piece, and cached features in the
    precision of this hardware), so they agree to about two decimals or something is wrong.

    Args:
        run: The run.
        arm: The trained arm.
        n: Number of scans.
    """
    store = open_store(run.need("store"))
    rows = np.unique(np.linspace(0, len(arm.predictions) - 1, n).astype(int))
    scores = predict(load_model(arm.model), np.asarray(store.images[rows]))
    shown = arm.predictions.iloc[rows][["scan_id", "y_true", "y_score"]].reset_index(drop=True)
    return shown.assign(saved_model=scores, difference=scores - shown["y_score"])


def _load(run: Run, fit: Fit, *, reused: bool) -> Trained:
    """Return a trained arm from its files, which are listed among what the notebook wrote."""
    record = fit.record()
    predictions = fit.scores()
    run.add(fit.place / "predictions.csv", rows=len(predictions))
    run.add(fit.place / "history.csv")
    run.add(fit.model)
    history = read_csv(fit.place / "history.csv", numbers=("lr", "l2"))
    weights = record["weights"]
    return Trained(
        fit.arm, weights["weights"], predictions, history, int(record["best_epoch"]), fit.model, reused, weights
    )
