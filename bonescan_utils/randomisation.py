"""Randomisation: does a saliency map depend on what the model has learnt?

A test of Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018: weights made random from the score down to the
image. A map that stays as it was shows the image, not the model. Their other test is `label_randomisation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from bonescan_utils.explanation import Explained, explain, lesion_mask
from bonescan_utils.files import sha256_file, write_atomic, write_json
from bonescan_utils.models import load_model, model_record
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.sanity import map_correlation
from bonescan_utils.scan import Scan

TRAINED = "trained"
"""Depth of the model as it was saved, beside the names of layers."""

STATISTICS_OF_DATA = ("moving_mean", "moving_variance")
"""Weights that are no weights: measured on images, and never negative or learnt by descent."""


def randomisation_scores(
    model: Path,
    scans: Sequence[Scan],
    truth: Mapping[str, Mapping[str, np.ndarray] | None],
    *,
    layout: str,
    folder: Path,
    method: str = DEFAULT_METHOD,
    seed: int = 0,
    max_depths: int = 8,
    progress: bool = False,
) -> pd.DataFrame:
    """Explain scans by a model whose weights are random from the score down to one layer after the other.

    Args:
        model: A saved model, with its record beside it.
        scans: Scans; those with lesions in the truth take part in the pointing game.
        truth: Lesion masks by scan and view, on counts pixels.
        layout: The layout that the model was trained with.
        folder: Where the randomised models are kept.
        method: A method of `explanation.explain`.
        seed: Seed of the random weights.
        max_depths: Depths at most, beside the trained model.
        progress: Show a progress bar.

    Returns:
        One row per depth and scan: depth (`trained`, then the deepest layer that is random), layers (how many are),
        scan_id, y_score, correlation (rank correlation with the trained model's map; NaN for an empty map),
        peak_inside (1 or 0; NaN without lesions).
    """
    models = randomised_models(model, folder, seed=seed, max_depths=max_depths)
    return compared_scores(model, models, scans, truth, layout=layout, method=method, progress=progress)


def compared_scores(
    model: Path,
    others: Mapping[str, tuple[int, Path]],
    scans: Sequence[Scan],
    truth: Mapping[str, Mapping[str, np.ndarray] | None],
    *,
    layout: str,
    method: str = DEFAULT_METHOD,
    progress: bool = False,
) -> pd.DataFrame:
    """Explain scans by a saved model and by others like it, and compare the maps.

    Args:
        model: The saved model.
        others: Name -> how many of its layers are not the model's, and its path.
        scans: As in :func:`randomisation_scores`; so are the others.
        truth: As there.
        layout: As there.
        method: As there.
        progress: As there.

    Returns:
        As :func:`randomisation_scores`, the names in column depth.
    """
    models = {TRAINED: (0, model)} | dict(others)
    rows: list[dict[str, Any]] = []
    before: list[Explained] = []
    for depth, (layers, path) in tqdm(models.items(), "randomised weights", disable=not progress, unit="depth"):
        found = explain(path, scans, layout=layout, method=method)
        before = before or found
        for one, own in zip(found, before, strict=True):
            rows.append(
                {"depth": depth, "layers": layers, "scan_id": one.scan.scan_id, "y_score": one.y_score}
                | {"correlation": map_correlation(own, one), "peak_inside": _peak_inside(one, truth)}
            )
    columns = ["depth", "layers", "scan_id", "y_score", "correlation", "peak_inside"]
    return pd.DataFrame(rows, columns=columns)


def randomised_models(model: Path, folder: Path, *, seed: int = 0, max_depths: int = 8) -> dict[str, tuple[int, Path]]:
    """Write copies of a saved model with random weights, from its last layer down to one depth after the other.

    Each kernel and bias becomes normal noise of its own root mean square, so that activations stay of the same order.

    Returns:
        Deepest random layer -> how many layers are random, path of the copy. The last copy has no trained weight.
    """
    network, record = load_model(model), model_record(model)
    weighted = [layer for layer in reversed(network.layers) if _learnt(layer)]
    depths = set(np.unique(np.linspace(1, len(weighted), min(max_depths, len(weighted))).round().astype(int)).tolist())
    rng, found = np.random.default_rng(seed), {}
    for n, layer in enumerate(weighted, start=1):
        for weight in _learnt(layer):
            value = np.asarray(weight, np.float32)
            weight.assign(rng.normal(0, float(np.sqrt((value**2).mean())), value.shape))
        if n in depths:
            path = folder / f"{model.stem}_random_{n:03d}.keras"
            with write_atomic(path) as part:
                network.save(part)
            write_json(path.with_suffix(".json"), record | {"sha256": sha256_file(path)})
            found[layer.name] = (n, path)
    return found


def _learnt(layer: keras.layers.Layer) -> list[Any]:
    """Return the weights of a layer that training can change."""
    return [weight for weight in layer.weights if weight.name not in STATISTICS_OF_DATA]


def _peak_inside(one: Explained, truth: Mapping[str, Mapping[str, np.ndarray] | None]) -> float:
    """Return whether the map's highest pixel lies in a lesion; NaN without lesions. An empty map points nowhere."""
    mask = lesion_mask(one.prepared, truth.get(one.scan.scan_id) or {})
    if not mask.any():
        return float("nan")
    return float(mask.flat[int(one.saliency.argmax())] and one.saliency.any())
