"""Experiment: the arms of a run, trained on its image store; each is trained once and kept with its origin.

What a notebook asks for is trained only if it is not there already: the proposed arm of notebook 03 is the
one that notebook 04 compares, and a comparison that was cut short goes on with the arm that was missing.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from bonescan_utils import provenance
from bonescan_utils.arms import Arm, protocol
from bonescan_utils.features import features
from bonescan_utils.files import read_csv, read_json, sha256_file, write_csv, write_json
from bonescan_utils.image_store import ImageStore, open_store
from bonescan_utils.models import assemble, load_model, predict, save_model
from bonescan_utils.paired import paired_tests
from bonescan_utils.profiles import study_arm
from bonescan_utils.study import Run
from bonescan_utils.tables import comparison_table
from bonescan_utils.transfer import Fitted, fit
from bonescan_utils.weights import WeightsSource, resolve_weights

NOT_TRAINING = frozenset(
    f"{name}.py"
    for name in "charts figures flow pictures style wording tables evaluation curves groups paired intervals"
    " predictions saliency explanation study".split()
)
"""Modules that training does not run: a change in them alone does not make a trained arm stale."""


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
    """

    name: str
    weights: str
    predictions: pd.DataFrame
    history: pd.DataFrame
    best_epoch: int
    model: Path
    reused: bool


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
    store, cohort = open_store(run.need("store")), run.cohort
    images = _store_hash(run.path("store"))
    trained = []
    for name in dict.fromkeys(names):
        arm = study_arm(name, copies=copies, epochs=epochs)
        source = resolve_weights(arm.backbone, weights=weights, weights_dir=weights_dir or None, seed=seed)
        key = _key(arm, source, cohort, images, seed)
        if _stored(run, name).get("key") != key:
            _train(run, arm, source, store, cohort, key, seed)
            trained.append(_load(run, name, reused=False))
        else:
            trained.append(_load(run, name, reused=True))
            print(f"{name}: trained already, kept")  # noqa: T201  # shown in the notebook
    return trained


def all_predictions(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return the predictions of all arms as one table."""
    return pd.concat([arm.predictions for arm in trained], ignore_index=True)


def all_histories(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return the training histories of all arms as one table."""
    return pd.concat([arm.history for arm in trained], ignore_index=True)


def paper_arms(predictions: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the predictions of the paper's comparison: the reference arm and the frozen backbones."""
    return predictions[[arm == reference or protocol(arm) == "frozen" for arm in predictions["arm"]]]


def equal_protocols(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the predictions by protocol, of `finetuned` and `multilevel`, where at least two arms share it."""
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


def weights_table(run: Run, trained: Sequence[Trained]) -> pd.DataFrame:
    """Return one row per arm: arm, backbone, weights, file, md5, note, best_epoch."""
    rows = []
    for arm in trained:
        record = _stored(run, arm.name)
        rows.append({"arm": arm.name, **record["weights"], "best_epoch": arm.best_epoch})
    return pd.DataFrame(rows)


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


def _train(
    run: Run, arm: Arm, source: WeightsSource, store: ImageStore, cohort: pd.DataFrame, key: str, seed: int
) -> None:
    """Train one arm; its record is written last, so that a cut leaves no arm that looks whole."""
    found = features(store, arm, source=source, out_dir=run.path("features"))
    labels, partitions = cohort["metastasis"].to_numpy(), cohort["partition"].to_numpy()
    fitted = fit(arm, found, labels, partitions, seed=seed)
    predictions = cohort[["scan_id", "patient_id", "partition"]].assign(
        arm=arm.name, y_true=labels, y_score=fitted.predict(found)
    )
    folder = run.path(f"arms/{arm.name}")
    (folder / "record.json").unlink(missing_ok=True)
    columns = ["scan_id", "patient_id", "arm", "partition", "y_true", "y_score"]
    write_csv(folder / "predictions.csv", predictions[columns])
    write_csv(folder / "history.csv", fitted.history.assign(arm=arm.name))
    save_model(assemble(fitted), run.path(f"models/{arm.name}.keras"), fitted)
    write_json(folder / "record.json", _record(fitted, key, found.seconds))
    keras.backend.clear_session()
    gc.collect()


def _record(fitted: Fitted, key: str, seconds: float) -> Mapping[str, object]:
    return {
        "key": key,
        "arm": asdict(fitted.arm),
        "weights": fitted.source.to_dict(),
        "best_epoch": fitted.best_epoch,
        "seed": fitted.seed,
        "feature_seconds": round(seconds, 1),
    }


def _load(run: Run, name: str, *, reused: bool) -> Trained:
    """Return a trained arm from its files, which are listed among what the notebook wrote."""
    folder, model = run.path(f"arms/{name}"), run.path(f"models/{name}.keras")
    record = _stored(run, name)
    predictions = read_csv(folder / "predictions.csv")
    run.add(folder / "predictions.csv", rows=len(predictions))
    run.add(folder / "history.csv")
    run.add(model)
    history = read_csv(folder / "history.csv", numbers=("lr", "l2"))
    return Trained(name, record["weights"]["weights"], predictions, history, int(record["best_epoch"]), model, reused)


def _stored(run: Run, name: str) -> dict:
    """Return the record of a trained arm; empty if it is not there whole."""
    record = run.path(f"arms/{name}/record.json")
    whole = record.exists() and run.path(f"models/{name}.keras").exists()
    return read_json(record) if whole else {}


def _key(arm: Arm, source: WeightsSource, cohort: pd.DataFrame, images: str, seed: int) -> str:
    """Return a hash of all that a trained arm depends on."""
    rows = cohort[["scan_id", "metastasis", "partition"]].to_csv(index=False)
    code = provenance.code_hash(without=NOT_TRAINING)
    versions = provenance.versions(provenance.DECISIVE)
    return provenance.digest([asdict(arm), source.identity, rows, images, seed, code, versions])


def _store_hash(folder: Path) -> str:
    return provenance.digest([(path.name, sha256_file(path)) for path in sorted(folder.glob("*.npy"))])
