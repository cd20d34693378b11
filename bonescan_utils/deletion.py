"""Deletion: what a score does when an image's pixels are blurred, or sharpened again, in the order of a map.

A good map deletes the evidence first: the score falls sooner than in a random order, and when the pixels come back it
rises sooner (Source: Petsiuk et al., RISE, BMVC 2018, section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage as ndi
from tqdm import tqdm

from bonescan_utils.explanation import Explained
from bonescan_utils.forward import as_rgb, compile_forward, run_in_batches
from bonescan_utils.models import load_model

SHARES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0)
"""Shares of the pixels changed; close together where lesions, a few hundredths of the image, are."""

BLUR = 8.0
"""Sigma in pixels of what stands in for a deleted pixel: wide enough that no focus is left (assumption)."""

GRAIN = 6.0
"""Sigma in pixels of the random order's patches: as coarse as a map, so that it makes no sharper edges (assumption)."""

BATCH = 20
TESTS, ORDERS = ("deletion", "insertion"), ("map", "random")


def deletion_curves(
    model: Path, explained: Sequence[Explained], *, seed: int = 0, progress: bool = False
) -> pd.DataFrame:
    """Score images with a growing share of their pixels deleted, or put back.

    Args:
        model: The saved model that the scans were explained by.
        explained: The explained scans.
        seed: Seed of the random order, and of the order of pixels that a map ranks alike.
        progress: Show a progress bar.

    Returns:
        One row per scan, test (`deletion`, `insertion`), order (`map`, `random`) and share (0-1): scan_id, test,
        order, share, y_score.

    Raises:
        ModelError: The model is missing, or is not the file that was saved.
    """
    forward, rng = compile_forward(load_model(model)), np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for one in tqdm(explained, "deletion and insertion", disable=not progress, unit="scan"):
        images, keys = _steps(one, rng)
        scores = np.concatenate(list(run_in_batches(forward, partial(_rgb, images), len(images), batch=BATCH)))[:, 0]
        rows += [key | {"y_score": float(score)} for key, score in zip(keys, scores, strict=True)]
    return pd.DataFrame(rows, columns=["scan_id", "test", "order", "share", "y_score"])


def deletion_gains(curves: pd.DataFrame) -> pd.DataFrame:
    """Return how much better than a random order each map does.

    Args:
        curves: From `deletion_curves`.

    Returns:
        One row per scan and test: scan_id, test, area_map, area_random (area under the curve, 0-1), gain (how much
        smaller the map's area is in deletion, or larger in insertion).
    """
    rows = []
    for (scan_id, test), mine in curves.groupby(["scan_id", "test"], sort=False):
        area = {
            str(order): float(np.trapezoid(points["y_score"], points["share"]))
            for order, points in mine.sort_values("share").groupby("order")
        }
        gain = (area["map"] - area["random"]) * (1 if test == "insertion" else -1)
        rows.append((scan_id, test, area["map"], area["random"], gain))
    return pd.DataFrame(rows, columns=["scan_id", "test", "area_map", "area_random", "gain"])


def _rgb(images: np.ndarray, at: slice) -> np.ndarray:
    return as_rgb(images[at])


def _steps(one: Explained, rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the images of one scan, uint8 (n, h, w), and what each of them is."""
    image = one.prepared.image
    blurred = np.round(ndi.gaussian_filter(image.astype(np.float32), BLUR)).astype(np.uint8)
    noise = ndi.gaussian_filter(rng.normal(size=image.shape), GRAIN)
    ranks = {"map": _ranks(one.saliency, noise), "random": _ranks(noise, noise)}
    images, keys = [], []
    for test, (start, end) in zip(TESTS, ((image, blurred), (blurred, image)), strict=True):
        for order in ORDERS:
            for share in SHARES:
                images.append(np.where(ranks[order] < share * image.size, end, start))
                keys.append({"scan_id": one.scan.scan_id, "test": test, "order": order, "share": share})
    return np.stack(images), keys


def _ranks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the rank of each pixel (h, w), 0 for the highest; pixels alike in `first` are ranked by `second`."""
    ranks = np.empty(first.size, np.int64)
    ranks[np.lexsort((-second.ravel(), -first.ravel()))] = np.arange(first.size)
    return ranks.reshape(first.shape)
