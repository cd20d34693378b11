"""Transfer: arms are fitted to cached features.

A frozen arm gets a logistic head; any other arm trains the layers after its cut, and its head, by gradient
descent. Model, epoch and strength of the regularisation are chosen on tuning scans only; labels of other
partitions are never looked at.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import keras
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from tqdm import tqdm

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import build_base, split_base
from bonescan_utils.backup import Backup, Saved
from bonescan_utils.descent import Descent
from bonescan_utils.devices import strategy
from bonescan_utils.features import FeatureStore
from bonescan_utils.forward import Forward, compile_forward, run_in_batches
from bonescan_utils.heads import head_of, standardise
from bonescan_utils.precision import dtype_policy, precision_policy
from bonescan_utils.weights import WeightsSource

HISTORY = ("epoch", "loss", "tuning_loss", "tuning_auroc", "lr", "l2")
INVERSE_L2 = tuple(float(c) for c in np.logspace(-5, 1, 13))
"""Strengths C = 1/L2 that a frozen arm's logistic head is fitted with, strongest regularisation first."""

STANDARDISED_ON = 100
"""Training scans, at most, that a local head's channels are standardised on."""

LEAST_DEVIATION = 0.01
"""Least standard deviation of a pooled channel, as a share of the median channel's (see `_deviation`)."""


class FitError(ValueError):
    """Labels or partitions that an arm cannot be trained with; one readable line."""


@dataclass(frozen=True)
class Fitted:
    """A trained arm.

    Attributes:
        arm: its settings.
        source: the weights it started from.
        input_shape: (h, w, 3) of the images.
        seed: seed of the training.
        model: features of one batch -> logit (n, 1); the part that was trained.
        history: one row per epoch (frozen arms: per L2 strength) with the columns of :data:`HISTORY`.
        best_epoch: the epoch that was kept.
    """

    arm: Arm
    source: WeightsSource
    input_shape: tuple[int, int, int]
    seed: int
    model: keras.Model = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    best_epoch: int = 0

    def predict(self, features: FeatureStore, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores 0-1 of scans from their cached features, as float64 (n,), in the order of ``rows``."""
        chosen = np.arange(len(features)) if rows is None else np.asarray(rows)
        return 1.0 / (1.0 + np.exp(-_logits(compile_forward(self.model), features, chosen)))


def fit(
    arm: Arm,
    features: FeatureStore,
    labels: np.ndarray,
    partitions: np.ndarray,
    *,
    seed: int = 0,
    progress: bool = True,
    backup: Backup | None = None,
) -> Fitted:
    """Trains one arm on the scans of partition ``train``, guided by those of ``tuning``.

    Args:
        arm: the settings.
        features: the result of ``features`` for this arm.
        labels: 0/1 per scan, in the order of the store. Those of other partitions are not read.
        partitions: ``train``, ``tuning`` or another word per scan.
        seed: of initialisation, dropout, scan order and the draw of copies.
        progress: show one line that follows the epochs.
        backup: where a gradient arm's state is kept from time to time, and taken up again; the result is the same.

    Raises:
        FitError: a partition lacks one of the two labels, lengths differ, or the training diverges.
    """
    labels, partitions = np.asarray(labels), np.asarray(partitions)
    if not len(labels) == len(partitions) == len(features):
        raise FitError(
            f"arm {arm.name}: {len(labels)} labels and {len(partitions)} partitions for {len(features)} scans"
        )
    rows = {name: np.flatnonzero(partitions == name) for name in ("train", "tuning")}
    for name, at in rows.items():
        if set(np.unique(labels[at])) != {0, 1}:
            raise FitError(
                f"arm {arm.name}: partition {name!r} has {len(at)} scans with labels "
                f"{sorted(set(labels[at].tolist()))}; both 0 and 1 are needed"
            )
    data = (arm, features, labels, rows["train"], rows["tuning"], seed)
    model, history, best = _fit_frozen(*data) if arm.frozen else _fit_gradient(*data, progress, backup)
    table = pd.DataFrame(history, columns=list(HISTORY)).astype({"epoch": int})
    return Fitted(arm, features.source, features.input_shape, seed, model, table, best)


def trainable_part(arm: Arm, source: WeightsSource, input_shape: tuple[int, int, int], *, seed: int = 0) -> keras.Model:
    """The model cut -> logit of an arm: layers after the cut and the head, BatchNorm frozen."""
    with dtype_policy(training_policy()):
        base = build_base(arm.backbone, input_shape=input_shape, weights=source, output=arm.output)
        _, suffix = split_base(base, str(arm.cut))
        for layer in suffix.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # also keeps its moving statistics still
        return keras.Model(suffix.input, head_of(suffix.output, arm, activation_function=None, seed=seed))


def training_policy() -> str:
    """Dtype policy of training: bfloat16 where the hardware has it, else float32 (float16 overflows)."""
    policy = precision_policy()
    return policy if policy == "mixed_bfloat16" else "float32"


# ------------------------------------------------------------------------------------------- frozen arms
def _fit_frozen(
    arm: Arm,
    features: FeatureStore,
    labels: np.ndarray,
    train: np.ndarray,
    tuning: np.ndarray,
    seed: int,
) -> tuple[keras.Model, list[tuple], int]:
    """Logistic regression (scikit-learn, L-BFGS, L2) on standardised pooled features, folded into one Dense.

    The strength of the L2 penalty with the least tuning loss is kept (with a hundred tuning scans it is a steadier
    guide than the tuning AUROC, whose steps are coarse); of equal ones the strongest.
    """
    pooled, target = _with_copies(features, labels, train)
    mean, deviation = pooled.mean(0), _deviation(pooled)
    x, x_tuning = (pooled - mean) / deviation, (features.gather(tuning).astype(float) - mean) / deviation
    history, best, kept = [], math.inf, 0
    for number, strength in enumerate(INVERSE_L2, start=1):
        logistic = LogisticRegression(C=strength, max_iter=2000, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak penalties on separable features
            logistic.fit(x, target)
        scores = logistic.predict_proba(x_tuning)[:, 1]
        auroc = float(roc_auc_score(labels[tuning], scores))
        losses = log_loss(target, logistic.predict_proba(x)[:, 1]), log_loss(labels[tuning], scores)
        history.append((number, *losses, auroc, math.nan, 1.0 / strength))
        if losses[1] < best:
            best, kept, weights = losses[1], number, (logistic.coef_[0], float(logistic.intercept_[0]))
    kernel, bias = weights[0] / deviation, weights[1] - float(weights[0] @ (mean / deviation))
    return _logistic_model(kernel, bias), history, kept


def _deviation(pooled: np.ndarray) -> np.ndarray:
    """Standard deviation of each channel, of at least a hundredth of the median one.

    A channel that stirs in one training scan in a thousand has next to none: divided by it, a new scan in which the
    channel stirs as well would be thousands of deviations away, and its score be decided by that alone.
    """
    deviation = pooled.std(0)
    stirring = deviation[deviation > 0]
    return np.maximum(deviation, LEAST_DEVIATION * np.median(stirring) if stirring.size else 1.0)


def _with_copies(features: FeatureStore, labels: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (float64) and labels of the training scans and all their copies."""
    numbers = range(len(features.copies) + 1)
    pooled = [features.gather(train, np.full(len(train), number)) for number in numbers]
    return np.concatenate(pooled).astype(float), np.tile(labels[train], len(numbers))


def _logistic_model(kernel: np.ndarray, bias: float) -> keras.Model:
    vector = keras.Input((len(kernel),), name="pooled", dtype="float32")
    model = keras.Model(vector, keras.layers.Dense(1, name="score", dtype="float32")(vector))
    model.set_weights([kernel[:, None], np.array([bias])])
    return model


# ------------------------------------------------------------------------------------------- gradient arms
def _fit_gradient(
    arm: Arm,
    features: FeatureStore,
    labels: np.ndarray,
    train: np.ndarray,
    tuning: np.ndarray,
    seed: int,
    progress: bool,
    backup: Backup | None,
) -> tuple[keras.Model, list[tuple], int]:
    """Gradient descent from the cut on; the weights of the kept epoch are in the model at the end."""
    if arm.copies:
        features.copy_index(train)  # says so now, not in the third epoch, if copies are missing
    with strategy().scope():
        model = trainable_part(arm, features.source, features.input_shape, seed=seed)
        standardise(model, features.gather(train[:: -(-len(train) // STANDARDISED_ON)]))
        descent = Descent(arm, model, steps_per_epoch=_batch_count(len(train), arm.batch_size))
    forward, rng = compile_forward(model), np.random.default_rng([seed, 1])
    history: list[tuple] = []
    best, best_epoch, kept = -1.0, 0, model.get_weights()
    saved = backup.load() if backup else None
    if saved is not None:
        history, best, best_epoch, kept = _taken_up(saved, descent, rng)
    bar = tqdm(range(len(history) + 1, arm.epochs + 1), desc=f"fit {arm.name}", disable=not progress, unit="epoch")
    for epoch in bar:
        loss = _run_epoch(arm, descent, features, labels, train, rng)
        if not math.isfinite(loss):
            raise FitError(f"arm {arm.name}: the loss is {loss} in epoch {epoch}; try a lower learning_rate")
        with descent.averaged():
            logits = _logits(forward, features, tuning)
            auroc = float(roc_auc_score(labels[tuning], logits))
            tuning_loss = _cross_entropy(labels[tuning], logits)
            history.append((epoch, loss, tuning_loss, auroc, descent.rate, math.nan))
            if arm.select == "last" or auroc > best:
                kept, best_epoch = model.get_weights(), epoch
        best = max(best, auroc)
        bar.set_postfix(loss=f"{loss:.3f}", tuning_auroc=f"{auroc:.3f}")
        if arm.patience and epoch - best_epoch >= arm.patience:
            break
        if backup and epoch < arm.epochs and backup.due():
            backup.save(_to_save(epoch, descent, rng, history, best, best_epoch, kept))
    model.set_weights(kept)
    return model, history, best_epoch


def _to_save(
    epoch: int,
    descent: Descent,
    rng: np.random.Generator,
    history: list[tuple],
    best: float,
    best_epoch: int,
    kept: list[np.ndarray],
) -> Saved:
    """The state of a fit after an epoch."""
    arrays = descent.state() | {f"kept_{at:05d}": values for at, values in enumerate(kept)}
    arrays |= {"history": np.array(history, np.float64), "best": np.array([best, best_epoch])}
    return Saved(epoch, arrays, {"rng": rng.bit_generator.state})


def _taken_up(
    saved: Saved, descent: Descent, rng: np.random.Generator
) -> tuple[list[tuple], float, int, list[np.ndarray]]:
    """Set model, optimizer and random numbers as they were; return history, best AUROC, its epoch, kept weights."""
    descent.restore(saved.arrays)
    rng.bit_generator.state = saved.about["rng"]
    history = [(int(row[0]), *map(float, row[1:])) for row in saved.arrays["history"]]
    kept = [saved.arrays[name] for name in sorted(saved.arrays) if name.startswith("kept_")]
    return history, float(saved.arrays["best"][0]), int(saved.arrays["best"][1]), kept


def _run_epoch(
    arm: Arm,
    descent: Descent,
    features: FeatureStore,
    labels: np.ndarray,
    train: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """One pass over the training scans in random order, each as itself or as one of its copies; mean loss."""
    order = rng.permutation(train)
    drawn = draw_copies(rng, arm.copies, len(order))
    losses = []
    for at in np.array_split(np.arange(len(order)), _batch_count(len(order), arm.batch_size)):
        x = features.gather(order[at], drawn[at])
        losses.append(descent.step(x, labels[order[at]]) * len(at))
    return float(np.sum(losses) / len(order))


def draw_copies(rng: np.random.Generator, copies: int, n: int) -> np.ndarray:
    """For each of n scans 0 for the scan itself or k for its k-th augmented copy, all equally likely."""
    return rng.integers(0, copies + 1, n)


def _batch_count(n: int, size: int) -> int:
    return max(1, math.ceil(n / size))


def _logits(forward: Forward, features: FeatureStore, rows: np.ndarray) -> np.ndarray:
    """Logits of scans, float64 (n,)."""
    outputs = run_in_batches(forward, lambda at: features.gather(rows[at]), len(rows), batch=16)
    return np.concatenate(list(outputs))[:, 0].astype(np.float64)


def _cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))
