"""Measure what each choice behind the proposed arm gives, on a phantom cohort of another seed than the study's.

    python scripts/measure_levers.py OUT

Writes `OUT/levers.csv`. The cohort (seed 7) has 1,700 scans: a logistic head on frozen VGG16's pooled layers is fitted
to 700 of them, its L2 penalty chosen by cross-validation on those, and judged on the other 1,000. No scan of
`data_manifest.csv` is read, so what is chosen here never saw the study's test partition. About 20 minutes on 2 cores,
6 GB of disk; what is there already is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from bonescan_utils import preprocessing
from bonescan_utils.arms import Arm
from bonescan_utils.features import FeatureStore, features
from bonescan_utils.image_store import build_store, open_store
from bonescan_utils.lesions import visible_lesions
from bonescan_utils.manifest import read_manifest
from bonescan_utils.phantom.cohort import read_lesions, write_cohort
from bonescan_utils.weights import resolve_weights

SEED, N, N_TRAIN = 7, 1700, 700
STRENGTHS = np.logspace(-4, 0, 9)
LAYERS = ("block3_conv3", "block4_conv1", "block4_conv2", "block4_conv3", "block5_conv1", "block5_conv3")
CHANNELS = (256, 512, 512, 512, 512, 512)
CHOICES = {
    "block5_conv3": ("block5_conv3",),
    "block4_conv3": ("block4_conv3",),
    "block4_conv1-3": LAYERS[1:4],
    "block3_conv3 + block4_conv1-3": LAYERS[:4],
    "block3_conv3 + block4_conv1-3 + block5_conv1": LAYERS[:5],
}
SETTINGS = (  # white is (factor) times (percentile) of the body; (height, width); augmented copies
    (1.0, 98.5, (320, 160), 0),
    (1.0, 99.8, (320, 160), 0),
    (3.0, 95.0, (320, 160), 0),
    (4.0, 90.0, (320, 160), 2),
)
BANDS = {"0-2": (0, 2), "3-6": (3, 6), "7 or more": (7, np.inf)}


def main(out: Path) -> None:
    """Make the cohort, compute the features of each setting, and write the table."""
    cohort = development_cohort(out)
    rows = []
    for factor, percentile, size, copies in SETTINGS:
        preprocessing.WINDOW_FACTOR, preprocessing.WINDOW_PERCENTILE = factor, percentile
        found = pooled(out / f"{factor}_{percentile}_{size[0]}", out, cohort, size, copies)
        rows += list(
            judged(found, cohort, {"white": f"{factor:g} x P{percentile:g}", "size": f"{size[0]} x {size[1]}"})
        )
        pd.DataFrame(rows).to_csv(out / "levers.csv", index=False)
    print(pd.DataFrame(rows).to_string(index=False))


def development_cohort(out: Path) -> pd.DataFrame:
    """Return manifest and visible lesions of the development cohort; its scans are made if they are not there."""
    table = read_manifest(write_cohort(out, n=N, seed=SEED))
    lesions = read_lesions(out / path for path in table["anterior"])
    table["visible"] = visible_lesions(lesions, table["scan_id"]).to_numpy()
    table["partition"] = np.where(np.arange(N) >= N - N_TRAIN, "train", "test")
    return table


def pooled(folder: Path, root: Path, cohort: pd.DataFrame, size: tuple[int, int], copies: int) -> FeatureStore:
    """Return the pooled layers of every scan, and of the copies of the training scans."""
    if not (folder / "store.json").exists():  # the window is set in this process only, hence n_jobs=1
        build_store(cohort, root, folder, copies=copies, seed=SEED, size=size, n_jobs=1)
    arm = Arm(name="levers", backbone="vgg16", output=LAYERS[-1], taps=LAYERS[:-1], copies=copies)
    return features(open_store(folder), arm, source=resolve_weights("vgg16", weights="auto"), out_dir=folder)


def judged(found: FeatureStore, cohort: pd.DataFrame, setting: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield one row per choice of layers and number of copies."""
    starts = dict(zip(LAYERS, np.cumsum([0, *CHANNELS]), strict=False))
    for name, layers in CHOICES.items():
        columns = np.concatenate([np.arange(starts[at], starts[at] + CHANNELS[LAYERS.index(at)]) for at in layers])
        for copies in range(len(found.copies) + 1):
            if copies and name == "block5_conv3":
                continue
            print(setting, name, copies, flush=True)
            yield setting | {"layers": name, "copies": copies} | auroc(found, cohort, columns, copies)


def auroc(found: FeatureStore, cohort: pd.DataFrame, columns: np.ndarray, copies: int) -> dict[str, float]:
    """Return the AUROC of all test scans, and of those of each band against all negative ones."""
    label = cohort["metastasis"].to_numpy()
    train = np.flatnonzero(cohort["partition"] == "train")
    parts = [found.gather(train, np.full(len(train), number))[:, columns] for number in range(copies + 1)]
    scaler = StandardScaler().fit(np.concatenate(parts))
    folds = list(GroupKFold(5).split(np.tile(train, copies + 1), groups=np.tile(train, copies + 1)))
    head = LogisticRegressionCV(Cs=STRENGTHS, cv=folds, scoring="neg_log_loss", max_iter=1000, n_jobs=2)
    head.fit(scaler.transform(np.concatenate(parts)), np.tile(label[train], copies + 1))
    test = np.flatnonzero(cohort["partition"] == "test")
    score = head.decision_function(scaler.transform(found.gather(test)[:, columns]))
    y, visible = label[test], cohort["visible"].to_numpy()[test]
    result = {"auroc": roc_auc_score(y, score)}
    for band, (low, high) in BANDS.items():
        inside = (y == 0) | ((visible >= low) & (visible <= high))
        result[band] = roc_auc_score(y[inside], score[inside])
    return {key: round(value, 3) for key, value in result.items()}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
