"""Measure what augmented copies that are kept cost and give, against augmentation made anew in every epoch.

    python scripts/measure_copies.py OUT

The arm is `vgg16_finetuned` (10 epochs from cached `block4_pool`). With K copies kept, each epoch takes each scan as
itself or as one of K copies; "anew" gives it in epoch e its e-th copy, which nothing has seen before: what augmentation
layers in a training loop do. Both make the same number of gradient steps; what differs is how often the frozen part has
to run. The cohort is the development one of `measure_levers.py` (seed 7, 700 scans to train on; 100 of them are tuning
scans that the epoch is chosen by); the AUROC is that on the other 1,000. No scan of `data_manifest.csv` is read.
Writes `OUT/copies.csv`; about an hour on 2 cores, 8 GB of disk; what is there already is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from measure_levers import development_cohort
from sklearn.metrics import roc_auc_score

from bonescan_utils import transfer
from bonescan_utils.arms import Arm, get_arm
from bonescan_utils.features import FeatureStore, features
from bonescan_utils.image_store import build_store, open_store
from bonescan_utils.weights import resolve_weights

EPOCHS, SEEDS, N_TUNING = 10, (0, 1), 100
KEPT = (0, 1, 3)


def main(out: Path) -> None:
    """Compute the features of all copies, train each way, and write the table."""
    cohort = development_cohort(out)
    train = np.flatnonzero(cohort["partition"] == "train")
    cohort.loc[train[:N_TUNING], "partition"] = "tuning"
    folder, arm = out / "copies", replace(get_arm("vgg16_finetuned"), copies=EPOCHS, epochs=EPOCHS)
    if not (folder / "store.json").exists():
        build_store(cohort, out, folder, copies=EPOCHS, seed=7, size=(320, 160))
    found = features(open_store(folder), arm, source=resolve_weights("vgg16", weights="auto"), out_dir=folder)
    rows = []
    for row in trained(arm, found, cohort):
        rows.append(row)
        print(row, flush=True)
        pd.DataFrame(rows).to_csv(out / "copies.csv", index=False)


def trained(arm: Arm, found: FeatureStore, cohort: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield a row per way and seed."""
    labels, partitions = cohort["metastasis"].to_numpy(), cohort["partition"].to_numpy()
    test = np.flatnonzero(partitions == "test")
    for seed in SEEDS:
        for copies in (*KEPT, EPOCHS):
            anew = copies == EPOCHS
            draw = transfer.draw_copies
            if anew:  # in epoch e each scan is its e-th copy
                epochs = iter(range(1, EPOCHS + 1))
                transfer.draw_copies = lambda rng, number, n, of=epochs: np.full(n, next(of))
            began = time.perf_counter()
            try:
                fitted = transfer.fit(replace(arm, copies=copies), found, labels, partitions, seed=seed)
            finally:
                transfer.draw_copies = draw
            passes = (1 + copies) if not anew else EPOCHS
            yield {
                "augmentation": "anew in every epoch" if anew else f"{copies} copies kept",
                "seed": seed,
                "frozen passes a training scan": passes,
                "tuning_auroc": round(float(fitted.history["tuning_auroc"].max()), 4),
                "auroc": round(float(roc_auc_score(labels[test], fitted.predict(found, test))), 4),
                "fit_seconds": round(time.perf_counter() - began),
            }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
