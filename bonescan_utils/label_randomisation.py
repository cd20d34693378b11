"""Label randomisation: does a saliency map depend on the labels that the model was trained on?

The second test of Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018: an arm trained once more, all as
before but its labels. A map that stays as it was shows the image, and not what the labels have taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bonescan_utils.arms import Arm
from bonescan_utils.features import FeatureStore, features
from bonescan_utils.image_store import open_store
from bonescan_utils.model_record import ModelError, model_record
from bonescan_utils.models import assemble, load_model, save_model
from bonescan_utils.randomisation import compared_scores
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.scan import Scan
from bonescan_utils.study import Run
from bonescan_utils.transfer import fit
from bonescan_utils.weights import WeightsSource, resolve_weights

SHUFFLED = "shuffled labels"


def shuffled_scores(
    run: Run,
    model: Path,
    scans: Sequence[Scan],
    *,
    folder: Path,
    layout: str,
    method: str = DEFAULT_METHOD,
    seed: int = 0,
) -> pd.DataFrame:
    """Train the arm of a saved model on shuffled labels, and explain scans by both.

    The features of a finished run are not kept: they are computed again, into a folder of their own. The costs are
    those of the arm itself.

    Args:
        run: The run, with its image store and cohort.
        model: The arm's saved model.
        scans: Scans to explain.
        folder: Where features and the model are kept.
        layout: The layout that the model was trained with.
        method: A method of `explanation.explain`.
        seed: Seed of the shuffling and of the training.

    Returns:
        As `randomisation.randomisation_scores`, with depths `trained` and `shuffled labels`.

    Raises:
        FitError: See `transfer.fit`.
        ModelError: The weights that the model started from are not to be had.
    """
    record = model_record(model)
    settings = record["arm"]
    arm = Arm(**settings | {"taps": tuple(settings["taps"])})
    store, cohort = open_store(run.need("store")), run.cohort
    found = features(
        store, arm, source=_same_weights(record["weights"], int(record["seed"])), out_dir=folder / "features"
    )
    labels, partitions = cohort["metastasis"].to_numpy(), cohort["partition"].to_numpy()
    other = shuffled_label_model(folder / "shuffled.keras", arm, found, labels, partitions, seed=seed)
    learnt = sum(bool(layer.weights) for layer in load_model(model).layers)
    return compared_scores(
        model,
        {SHUFFLED: (learnt, other)},
        scans,
        run.truth(scan.scan_id for scan in scans),
        layout=layout,
        method=method,
    )


def _same_weights(about: dict[str, str], seed: int) -> WeightsSource:
    """Return the weights that a model started from.

    Raises:
        ModelError: They are not to be had here any more.
    """
    wanted = "random" if about["weights"] == "random" else "auto"
    source = resolve_weights(about["backbone"], weights=wanted, seed=seed)
    if source.kind != about["weights"]:
        reason = f"the model started from weights {about['weights']!r}, and here are {source.kind!r}"
        raise ModelError(f"{reason}: put them where they were, or leave out the check of shuffled labels")
    return source


def shuffled_label_model(
    path: Path, arm: Arm, features: FeatureStore, labels: np.ndarray, partitions: np.ndarray, *, seed: int = 0
) -> Path:
    """Train an arm from cached features on labels shuffled within each partition, and save it.

    Costs one fit of the arm. What such a model points to, it points to without having learnt the disease.

    Args:
        path: The model's file, `.keras`.
        arm: The arm.
        features: Its cached features.
        labels: 0/1 per scan, in the order of the features.
        partitions: Partition per scan.
        seed: Seed of the shuffling and of the training.

    Raises:
        FitError: See `transfer.fit`.
    """
    shuffled, rng = np.array(labels), np.random.default_rng(seed)
    for name in ("train", "tuning"):
        at = np.flatnonzero(np.asarray(partitions) == name)
        shuffled[at] = rng.permutation(shuffled[at])
    fitted = fit(arm, features, shuffled, partitions, seed=seed, progress=False)
    return save_model(assemble(fitted), path, fitted)
