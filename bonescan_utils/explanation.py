"""Explanation: scans scored by a saved model, with the saliency map of each, carried back to both views.

The one way from a Scan to a score and a picture of what it rests on: notebook 05 and `bonescan predict` share
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from bonescan_utils.breakdown import phantom_findings
from bonescan_utils.figures import OverlayCase
from bonescan_utils.localisation import (
    COLUMNS,
    MARKS,
    Truth,
    best_threshold,
    boxed_truth,
    foci,
    lesion_marks,
    measures,
    reference_maps,
    truth_of,
)
from bonescan_utils.models import load_model, model_record
from bonescan_utils.phantom import read_labels, read_lesions
from bonescan_utils.preprocessing import Prepared, prepare
from bonescan_utils.saliency import SaliencyMaps, contrast, saliency_maps
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.scan import Scan

if TYPE_CHECKING:
    from bonescan_utils.study import Run

DRAWN_PIXELS = 9
"""Side, in counts pixels (2 cm), of the smallest focus in a picture of whole scans."""
OUTCOMES = ("Hit", "Miss", "False alarm")
Masks = Mapping[str, np.ndarray]


class Localised(NamedTuple):
    """Maps scored against the truth.

    Attributes:
        scores: A row per scan with visible lesions and map (`localisation.COLUMNS`).
        marks: A row per map and visible lesion, and per map and false focus, of all scans whose truth is known
            (`localisation.MARKS`).
    """

    scores: pd.DataFrame
    marks: pd.DataFrame


@dataclass(frozen=True)
class Explained:
    """A scored scan.

    Attributes:
        scan: The scan, in counts.
        prepared: The model's image of it.
        y_score: Score, 0-1.
        saliency: Saliency map on the model's image, (h, w), 0-1.
        raw_max: The map's maximum before it was scaled to 1, in logits.
    """

    scan: Scan
    prepared: Prepared
    y_score: float
    saliency: np.ndarray
    raw_max: float

    def by_view(self) -> dict[str, np.ndarray]:
        """Return the saliency map on each view's counts pixels, (rows, columns), 0-1."""
        places = self.prepared.placements
        return {view: np.clip(place.to_counts_space(self.saliency), 0, 1) for view, place in places.items()}


def explain(
    model: Path, scans: Sequence[Scan], *, layout: str, method: str = DEFAULT_METHOD, progress: bool = False
) -> list[Explained]:
    """Score scans and explain each score by one method; arguments and errors are those of :func:`explain_by`."""
    return explain_by([method], model, scans, layout=layout, progress=progress)[method]


def explain_by(
    methods: Sequence[str], model: Path, scans: Sequence[Scan], *, layout: str, progress: bool = False
) -> dict[str, list[Explained]]:
    """Score scans and explain each score by several methods, which share one forward pass.

    Args:
        methods: Some of `saliency.METHODS`.
        model: A saved model, with its record beside it.
        scans: Scans that have a view of the layout.
        layout: The layout that the model was trained with.
        progress: Show a progress bar.

    Returns:
        Method -> the scored scans, each with its map.

    Raises:
        ModelError: The model is missing, or is not the file that was saved.
        ScanError: A scan has no view that the layout shows, or no body.
        SaliencyError: See `saliency.saliency_maps`.
    """
    record = model_record(model)
    height, width = (int(side) for side in record["input_shape"][:2])
    prepared = [prepare(scan, layout=layout, size=(height, width)) for scan in scans]
    if not prepared:
        return {name: [] for name in methods}
    found = saliency_maps(
        load_model(model), np.stack([image.image for image in prepared]), backbone=record["backbone"], methods=methods,
        layers=record["explained_layers"], progress=progress,
    )  # fmt: skip
    return {name: _joined(scans, prepared, maps) for name, maps in found.items()}


def _joined(scans: Sequence[Scan], prepared: Sequence[Prepared], maps: SaliencyMaps) -> list[Explained]:
    """Return scans with their images, scores and maps."""
    parts = zip(scans, prepared, maps.y_score, maps.maps, maps.raw_max, strict=True)
    return [Explained(scan, image, float(score), one, float(top)) for scan, image, score, one, top in parts]


def choose_examples(predictions: pd.DataFrame, arm: str, threshold: float, *, n: int) -> pd.DataFrame:
    """Choose test scans to look at: hits, misses and false alarms, spread evenly over their scores.

    Args:
        predictions: One row per scan and arm.
        arm: The arm.
        threshold: Its threshold.
        n: Scans of each outcome, at most.

    Returns:
        scan_id, outcome, y_true, y_score; by outcome, then from the highest score to the lowest.
    """
    rows = predictions[(predictions["arm"] == arm) & (predictions["partition"] == "test")]
    rows = rows.sort_values(["y_score", "scan_id"], ascending=[False, True])
    called, true = rows["y_score"] >= threshold, rows["y_true"] == 1
    groups = {"Hit": rows[called & true], "Miss": rows[~called & true], "False alarm": rows[called & ~true]}
    chosen = [_spread(group, n).assign(outcome=outcome) for outcome, group in groups.items()]
    return pd.concat(chosen, ignore_index=True)[["scan_id", "outcome", "y_true", "y_score"]]


def overlay_cases(
    explained: Sequence[Explained],
    outcomes: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    truth: Mapping[str, Masks | None] | None = None,
) -> list[OverlayCase]:
    """Return what `figures.plot_overlays` draws; a focus of few pixels is drawn `DRAWN_PIXELS` wide, to be seen at all.

    Args:
        explained: The scored scans.
        outcomes: The outcome of each, such as `Hit`.
        scores: The scores that the outcomes were judged by; those of the saved model, which agree with them to about
            two decimals, if not given.
        truth: Lesion masks by scan and view, on counts pixels; absent where there is no truth.
    """
    cases = []
    shown = [item.y_score for item in explained] if scores is None else scores
    for item, outcome, score in zip(explained, outcomes, shown, strict=True):
        maps = {view: ndi.maximum_filter(values, DRAWN_PIXELS) for view, values in item.by_view().items()}
        masks = (truth or {}).get(item.scan.scan_id) or {}
        cases.append(
            OverlayCase(
                title=f"{item.scan.scan_id}, score {score:.2f}",
                outcome=outcome,
                views={view.name: view for view in item.scan.views if view.name in maps},
                saliency=maps,
                truth={view: mask for view, mask in masks.items() if view in maps},
            )
        )
    return cases


def lesion_mask(prepared: Prepared, masks: Masks) -> np.ndarray:
    """Return the lesion masks of both views as one bool mask (h, w) on the model's image."""
    out = np.zeros(prepared.image.shape, bool)
    for view, place in prepared.placements.items():
        if view in masks:
            out |= place.to_model_space(np.asarray(masks[view]), (out.shape[0], out.shape[1]))  # type: ignore[misc, unused-ignore]
    return out


def _spread(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return at most `n` rows at even distances, the first and the last among them."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int))]


def tuned_thresholds(found: Mapping[str, Sequence[Explained]], truths: Mapping[str, Truth]) -> dict[str, float]:
    """Return per map the share of its maximum that marks lesions best (Dice); give it scans of the tuning partition."""

    def usable(items: Sequence[Explained]) -> list[Explained]:
        known = (item for item in items if item.scan.scan_id in truths)
        return [item for item in known if truths[item.scan.scan_id].lesions.any()]

    return {
        name: best_threshold(
            [item.saliency for item in usable(items)], [truths[item.scan.scan_id] for item in usable(items)]
        )
        for name, items in found.items()
    }


def phantom_truths(explained: Sequence[Explained], paths: Mapping[str, Path]) -> dict[str, Truth]:
    """Return the truth of each phantom on its model image; a scan without one is left out.

    Args:
        explained: The scored scans.
        paths: Scan id -> the scan's file.
    """
    found = {}
    for item in explained:
        path = paths[item.scan.scan_id]
        labels, places = read_labels(path), read_labels(path, of="places")
        if labels is not None and places is not None:
            found[item.scan.scan_id] = truth_of(item.prepared, labels, places, read_lesions([path]))
    return found


def truths_of(explained: Sequence[Explained], run: Run) -> dict[str, Truth]:
    """Return the truth of each scan on its model image: readers' boxes where there are, else a phantom's.

    Args:
        explained: The scored scans.
        run: Their run; with boxes if it was told to use some.
    """
    boxes = run.boxes
    boxed = [item for item in explained if boxes is not None and item.scan.scan_id in boxes.scans()]
    found = {item.scan.scan_id: boxed_truth(item.prepared, boxes.labels(item.scan)) for item in boxed if boxes}
    others = [item for item in explained if item.scan.scan_id not in found]
    return found | phantom_truths(others, run.scan_paths(item.scan.scan_id for item in others))


def findings_of(run: Run, scan_ids: Iterable[str]) -> pd.DataFrame:
    """Return the lesions that count, with their groups (`breakdown.FACTORS` as far as known), of scans of a run."""
    names = list(scan_ids)
    boxed = [] if run.boxes is None else [name for name in names if name in run.boxes.scans()]
    paths = run.scan_paths(name for name in names if name not in set(boxed))
    tables = [phantom_findings(read_lesions(paths.values()))]
    tables += [run.boxes.findings(scan) for scan in run.scans(boxed)] if run.boxes is not None else []
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def explain_other(run: Run, arm: str, scans: Sequence[Scan], *, layout: str, method: str) -> dict[str, list[Explained]]:
    """Explain scans by another arm of the run: `arm:method` -> the scored scans; empty where it has no such arm."""
    model = run.path(f"models/{arm}.keras")
    if not (arm and model.is_file()):
        return {}
    return {f"{arm}:{method}": explain(model, scans, layout=layout, method=method, progress=True)}


def localise(
    found: Mapping[str, Sequence[Explained]],
    truths: Mapping[str, Truth],
    *,
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Localised:
    """Score maps against the truth, beside reference maps of the same scans.

    Args:
        found: Name of the map, such as its method -> the scored scans; the same scans under every name.
        truths: From :func:`truths_of`; scans without visible lesions count for their false foci only.
        thresholds: Map -> share of its maximum above which a pixel is marked (`localisation.best_threshold`).
        seed: Of the random map.
    """
    rows: list[dict[str, object]] = []
    marks: list[pd.DataFrame] = []
    for number, items in enumerate(zip(*found.values(), strict=True)):
        first = items[0]
        truth = truths.get(first.scan.scan_id)
        if truth is None:
            continue
        about = {"scan_id": first.scan.scan_id, "lesions": len(np.unique(truth.lesions[truth.lesions > 0]))}
        maps = {name: (item.saliency, item.raw_max) for name, item in zip(found, items, strict=True)}
        stands_out = contrast(first.prepared.image[None])[0]
        references = reference_maps(first.prepared, truth, contrast=stands_out, seed=seed + number)
        maps |= {name: (values, 1.0) for name, values in references.items()}
        for name, (values, scale) in maps.items():
            marks.append(
                lesion_marks(foci(values, truth, scale=scale), truth).assign(map=name, scan_id=about["scan_id"])
            )
            if about["lesions"]:
                cut = (thresholds or {}).get(name, math.nan)
                rows.append(about | {"map": name} | measures(values, truth, threshold=cut))
    table = pd.concat(marks, ignore_index=True)[MARKS] if marks else pd.DataFrame(columns=MARKS)
    return Localised(pd.DataFrame(rows, columns=COLUMNS), table)
