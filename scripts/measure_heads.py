"""Measure what each choice behind the proposed arm's local head gives, on another cohort than the study's.

    python scripts/measure_heads.py OUT

The cohort is the development one of `measure_levers.py` (seed 7, 700 scans to train on, of which 100 choose the epoch;
1,000 to judge by). One setting of the arm `proposed` is changed at a time. No scan of `data_manifest.csv` is read.
Writes `OUT/heads.csv`; about 30 minutes on 2 cores, 5 GB of disk; what is there already is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from measure_levers import BANDS, development_cohort
from sklearn.metrics import roc_auc_score

from bonescan_utils import heads
from bonescan_utils.arms import PLACES_SHARE, Arm, get_arm
from bonescan_utils.features import FeatureStore, features
from bonescan_utils.image_store import build_store, open_store
from bonescan_utils.transfer import fit
from bonescan_utils.weights import resolve_weights

N_TUNING, COPIES = 100, 2
SEEDS = (0, 1)
SHARES = {"highest place": 1e-9, "highest 1 %": PLACES_SHARE, "highest 10 %": 0.1, "all places": 1.0}


def main(out: Path) -> None:
    """Compute the features of each layer, train each head, and write the table."""
    cohort = development_cohort(out)
    train = np.flatnonzero(cohort["partition"] == "train")
    cohort.loc[train[:N_TUNING], "partition"] = "tuning"
    store = out / "heads"
    if not (store / "store.json").exists():
        build_store(cohort, out, store, copies=COPIES, seed=7, size=(320, 160))
    rows = []
    for what, arm, share, found in settings(store):
        for seed in SEEDS:
            rows.append({"changed": what, "seed": seed} | judged(arm, share, found, cohort, seed))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(out / "heads.csv", index=False)


def settings(store: Path) -> Iterator[tuple[str, Arm, float, FeatureStore]]:
    """Yield what is changed, the arm, the share of the places that the score rests on, and the features."""
    source, images = resolve_weights("vgg16", weights="auto"), open_store(store)
    base = replace(get_arm("proposed"), copies=COPIES)
    found = features(images, base, source=source, out_dir=store)
    for name, share in SHARES.items():
        yield name if share != PLACES_SHARE else "nothing", replace(base, copies=1), share, found
    for copies in (0, 2):
        yield f"{copies} copies", replace(base, copies=copies), PLACES_SHARE, found
    deeper = replace(base, cut="block4_conv3", output="block4_conv3")
    found = features(images, deeper, source=source, out_dir=store)
    yield "layer block4_conv3", replace(deeper, copies=1), PLACES_SHARE, found


def judged(arm: Arm, share: float, found: FeatureStore, cohort: pd.DataFrame, seed: int) -> dict[str, float]:
    """Train one head; return the AUROC of all test scans, and of those of each band against all negative ones."""
    heads.PLACES_SHARE = share  # in this process only
    labels, partitions = cohort["metastasis"].to_numpy(), cohort["partition"].to_numpy()
    fitted = fit(arm, found, labels, partitions, seed=seed)
    test = np.flatnonzero(partitions == "test")
    score, y, visible = fitted.predict(found, test), labels[test], cohort["visible"].to_numpy()[test]
    result = {"auroc": roc_auc_score(y, score)}
    for band, (low, high) in BANDS.items():
        inside = (y == 0) | ((visible >= low) & (visible <= high))
        result[band] = roc_auc_score(y[inside], score[inside])
    return {key: round(float(value), 3) for key, value in result.items()}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
