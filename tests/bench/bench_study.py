"""The study against the Keras transfer-learning guide, arm by arm.

    python tests/bench/bench_study.py [--images 48] [--run reports/cv] [--auroc]

The guide (keras.io, "Transfer learning & fine-tuning") per arm and fold: augmentation layers, the frozen base called with
`training=False`, global average pooling, dropout 0.2, one unit; `fit` for 10 epochs; then the last stage unfrozen and
`fit` for 10 epochs more at 1e-5; float32. Its cost is measured on `--images` images (the second epoch, which holds no tracing)
and multiplied: six arms, 5 folds, 700 training, 100 tuning, 200 test scans a fold. The sixth arm is VGG16 again.

This engine's cost is the time of a finished run, `bonescan run --folds 5 --run cv`: the whole of it, notebooks, figures and Grad-CAM
included. `--auroc` also trains the guide's VGG16 on the run's training scans (about an hour on 2 cores) and compares it
with the run's arms on the same test scans.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("BONESCAN_OFFLINE", "1")

import keras
import numpy as np
import pandas as pd
from record import ROOT, record

from bonescan_utils.arms import get_arm
from bonescan_utils.backbones import BACKBONES, build_base, split_base
from bonescan_utils.files import read_csv, read_json, write_csv
from bonescan_utils.forward import as_rgb
from bonescan_utils.image_store import open_store
from bonescan_utils.paired import paired_tests
from bonescan_utils.weights import resolve_weights

SIZE, EPOCHS, FOLDS = (320, 160), 10, 5
TRAIN, TUNING, TEST = 700, 100, 200
BATCH = 16


def guide_model(name: str) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """The guide's model of one backbone, its base frozen, and the layers that its second part trains."""
    source = resolve_weights(name, weights="auto")
    base = build_base(name, input_shape=(*SIZE, 3), weights=source)
    _, suffix = split_base(base, str(get_arm(f"{name}_finetuned").cut))
    top = [layer for layer in suffix.layers if not isinstance(layer, keras.layers.BatchNormalization)]
    base.trainable = False
    image = keras.Input((*SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(image)
    x = keras.layers.RandomRotation(0.1)(x)
    x = base(x, training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(x)), top


def compile_for(model: keras.Model, rate: float) -> None:
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auroc")])


def epoch_seconds(model: keras.Model, x: np.ndarray, y: np.ndarray, rate: float) -> float:
    """Seconds per image and epoch: the second epoch of two."""
    compile_for(model, rate)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    began = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    return (time.perf_counter() - began) / len(x)


def unfreeze(model: keras.Model, top: list[keras.layers.Layer]) -> None:
    base = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    base.trainable = True
    kept = {id(layer) for layer in top}
    for layer in base.layers:
        layer.trainable = id(layer) in kept


def guide_costs(name: str, n: int) -> tuple[float, float, float]:
    """Seconds per image: an epoch of the head, an epoch of fine-tuning, a prediction."""
    x = as_rgb(np.random.default_rng(0).integers(0, 256, (n, *SIZE), np.uint8))
    y = (np.arange(n) % 2).astype(np.float32)
    model, top = guide_model(name)
    head = epoch_seconds(model, x, y, 1e-3)
    unfreeze(model, top)
    fine = epoch_seconds(model, x, y, 1e-5)
    model.predict(x, batch_size=BATCH, verbose=0)
    began = time.perf_counter()
    model.predict(x, batch_size=BATCH, verbose=0)
    return head, fine, (time.perf_counter() - began) / n


def fold_hours(head: float, fine: float, predict: float) -> float:
    """Hours of one arm and fold: two times 10 epochs, each with a look at the tuning scans, and the test scans."""
    training = TRAIN * EPOCHS * (head + fine)
    return (training + (2 * EPOCHS * TUNING + TEST) * predict) / 3600


def engine_hours(run: Path) -> float:
    """Hours of a finished run, from its record."""
    steps = read_json(run / "run.json")["steps"]
    return sum(float(step["seconds"]) for step in steps) / 3600


def train_guide(run: Path) -> pd.DataFrame:
    """The guide's VGG16 trained on the run's training scans; predictions of its test scans. Kept beside the run."""
    kept = run / "guide_predictions.csv"
    if kept.exists():
        return read_csv(kept)
    keras.utils.set_random_seed(2022)
    cohort, store = read_csv(run / "cohort.csv"), open_store(run / "store")
    rows = {name: np.flatnonzero(cohort["partition"] == name) for name in ("train", "tuning", "test")}
    y = cohort["metastasis"].to_numpy(dtype=np.float32)
    data = {name: (as_rgb(store.images[at]), y[at]) for name, at in rows.items()}
    model, top = guide_model("vgg16")
    best = [keras.callbacks.ModelCheckpoint(run / "guide.weights.h5", "val_auroc", save_best_only=True, mode="max",
                                            save_weights_only=True)]  # fmt: skip
    for rate in (1e-3, 1e-5):
        compile_for(model, rate)
        model.fit(*data["train"], batch_size=BATCH, epochs=EPOCHS, validation_data=data["tuning"], callbacks=best,
                  verbose=2)  # fmt: skip
        unfreeze(model, top)
    model.load_weights(run / "guide.weights.h5")
    scores = model.predict(data["test"][0], batch_size=BATCH, verbose=0)[:, 0]
    test = cohort.iloc[rows["test"]][["scan_id", "patient_id", "partition"]]
    found = test.assign(arm="keras_guide", y_true=cohort["metastasis"].iloc[rows["test"]], y_score=scores)
    write_csv(kept, found)
    return found


def auroc_rows(run: Path) -> list[tuple[str, float, str]]:
    guide, mine = train_guide(run), read_csv(run / "predictions.csv")
    both = pd.concat([mine[mine["partition"] == "test"], guide], ignore_index=True)[list(guide.columns)]
    tests = paired_tests(both, dict.fromkeys(both["arm"], 0.5), reference="keras_guide")
    rows = []
    from bonescan_utils.intervals import auroc

    for arm, part in both.groupby("arm", sort=False):
        rows.append((f"AUROC {arm}", auroc(part["y_true"].to_numpy(), part["y_score"].to_numpy()).estimate, "0-1"))
    for row in tests[tests["quantity"] == "AUROC"].itertuples():
        rows.append((f"AUROC guide less {row.arm_b}", row.difference, f"{row.ci_low:.3f} to {row.ci_high:.3f}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48, help="images that the guide's cost is measured on")
    parser.add_argument("--run", type=Path, default=ROOT / "reports" / "cv", help="a finished run with 5 folds")
    parser.add_argument("--auroc", action="store_true", help="also train the guide's VGG16 and compare AUROCs")
    options = parser.parse_args()
    if options.auroc:
        record("study_auroc", auroc_rows(options.run))
        return
    rows, total = [], 0.0
    for name in BACKBONES:
        head, fine, predict = guide_costs(name, options.images)
        keras.backend.clear_session()
        hours = FOLDS * fold_hours(head, fine, predict) * (2 if name == "vgg16" else 1)
        total += hours
        rows += [(f"guide {name}, head epoch ({options.images} images)", head, "s/image"),
                 (f"guide {name}, fine-tuning epoch", fine, "s/image"),
                 (f"guide {name}, 5 folds{' x 2 arms' if name == 'vgg16' else ''}", hours, "h")]  # fmt: skip
    mine = engine_hours(options.run)
    rows += [("guide, six arms, 5 folds", total, "h"), ("this engine, six arms, 5 folds, whole run", mine, "h"),
             ("guide / this engine", total / mine, "ratio")]  # fmt: skip
    record("study", rows)


if __name__ == "__main__":
    main()
