"""Heads: pooling and dense layers, attached to a backbone's activation in one flat graph."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from bonescan_utils.arms import PLACES_SHARE, Arm
from bonescan_utils.backbones import cut_tensor

STANDARDISE = "standardise"
LSE_SHARPNESS = 5.0
"""Sharpness r of log-mean-exp pooling: 0 is the mean, infinity the maximum."""


def pool_levels(base: keras.Model, arm: Arm) -> Any:
    """Pools an arm's taps, in their order, and then the base's output, joined to one float32 vector per image.

    Args:
        base: a flat model that ends at the arm's output.
        arm: its ``pooling`` and its ``taps``.

    Raises:
        BackboneError: the base has no layer of that name.
    """
    pooled = [pool(cut_tensor(base, name), arm.pooling, prefix=f"{name}_") for name in arm.taps]
    pooled.append(pool(base.output, arm.pooling))
    if len(pooled) == 1:
        return pooled[0]
    return keras.layers.Concatenate(name="pool_levels", dtype="float32")(pooled)


def pool(activation: Any, pooling: str, *, prefix: str = "") -> Any:
    """Pools an activation (n, rows, columns, channels) to a float32 vector (n, channels or 2 x channels).

    ``prefix`` begins the names of the layers that do it. ``lse`` is log-mean-exp, ``log(mean(exp(r x))) / r``
    (Source: Pinheiro & Collobert, CVPR 2015, eq. 6).
    """
    average = keras.layers.GlobalAveragePooling2D(name=f"{prefix}pool_avg", dtype="float32")
    maximum = keras.layers.GlobalMaxPooling2D(name=f"{prefix}pool_max", dtype="float32")
    if pooling == "avg":
        return average(activation)
    if pooling == "max":
        return maximum(activation)
    if pooling == "avg_max":
        joined = keras.layers.Concatenate(name=f"{prefix}pool_avg_max", dtype="float32")
        return joined([average(activation), maximum(activation)])
    return _log_mean_exp(activation, prefix)


def head_of(activation: Any, arm: Arm, *, activation_function: str | None, seed: int = 0) -> Any:
    """Attaches an arm's pooling and head to the activation of its output, which is not frozen.

    Args:
        activation: symbolic tensor (n, rows, columns, channels).
        arm: its ``local_units``, ``pooling`` and settings of the head.
        activation_function: ``sigmoid`` for a score 0-1, None for the logit.
        seed: seed of the initialisation and of the dropout.
    """
    if arm.local_units:
        return attach_local_head(activation, arm, activation_function=activation_function, seed=seed)
    return attach_head(pool(activation, arm.pooling), arm, activation_function=activation_function, seed=seed)


def attach_local_head(activation: Any, arm: Arm, *, activation_function: str | None, seed: int = 0) -> Any:
    """Attaches a head that judges each place by itself: small evidence map, mean of its highest places, logit.

    A focus that is a hundredth of the image is a hundredth of a mean over the image, and most of a mean over the
    places with the most evidence (Source: weakly supervised detection by k-max pooling; Durand et al., WELDON, CVPR
    2016, eq. 3). Channels are standardised first by statistics of training scans, which `standardise` sets.

    Args:
        activation: symbolic tensor (n, rows, columns, channels).
        arm: its ``local_units`` and ``dropout`` (of whole channels).
        activation_function: ``sigmoid`` for a score 0-1, None for the logit.
        seed: seed of the initialisation and of the dropout.

    Returns:
        The symbolic float32 output (n, 1) of the layer named ``score``; the layer ``hidden`` holds what the evidence
        (``evidence``, (n, rows, columns, 1)) is a weighted sum of.
    """
    layers, glorot = keras.layers, keras.initializers.GlorotUniform
    standard = layers.BatchNormalization(center=False, scale=False, trainable=False, name=STANDARDISE)(activation)
    if arm.dropout:
        standard = layers.SpatialDropout2D(arm.dropout, seed=seed + 1, name="dropout")(standard)
    hidden = layers.Conv2D(
        arm.local_units, 3, padding="same", activation="relu", kernel_initializer=glorot(seed), name="hidden"
    )(standard)
    evidence = layers.Conv2D(1, 1, kernel_initializer=glorot(seed + 2), name="evidence", dtype="float32")(hidden)
    flat = layers.Flatten(name="places", dtype="float32")(evidence)
    highest, _ = keras.ops.top_k(flat, max(1, round(PLACES_SHARE * flat.shape[-1])), sorted=False)
    mean = keras.ops.mean(highest, axis=-1, keepdims=True)
    return layers.Dense(1, activation_function, kernel_initializer="ones", name="score", dtype="float32")(mean)


def standardise(model: keras.Model, activations: np.ndarray) -> None:
    """Sets the statistics of a local head's standardisation; does nothing to a model without one.

    Args:
        model: the model activation -> logit.
        activations: activations of some training scans (n, rows, columns, channels).
    """
    found = [layer for layer in model.layers if layer.name == STANDARDISE]
    if found:
        mean = activations.mean((0, 1, 2), dtype=np.float64)
        variance = activations.var((0, 1, 2), dtype=np.float64)
        found[0].set_weights([mean, np.maximum(variance, 1e-4 * np.median(variance[variance > 0], axis=0))])


def attach_head(pooled: Any, arm: Arm, *, activation_function: str | None, seed: int = 0) -> Any:
    """Attaches an arm's head to a backbone's pooled activation.

    Args:
        pooled: symbolic tensor (n, channels), from :func:`pool_levels` or :func:`pool`.
        arm: settings of the head.
        activation_function: ``sigmoid`` for a score 0-1, None for the logit.
        seed: seed of the initialisation and of the dropout.

    Returns:
        The symbolic float32 output (n, 1) of the layer named ``score``.
    """
    layers, glorot = keras.layers, keras.initializers.GlorotUniform
    if arm.dense_units:
        hidden = layers.Dense(arm.dense_units, "relu", kernel_initializer=glorot(seed), name="hidden", dtype="float32")
        pooled = hidden(pooled)
    if arm.dropout:
        pooled = layers.Dropout(arm.dropout, seed=seed + 1, name="dropout", dtype="float32")(pooled)
    score = layers.Dense(1, activation_function, kernel_initializer=glorot(seed + 2), name="score", dtype="float32")
    return score(pooled)


def _log_mean_exp(activation: Any, prefix: str) -> Any:
    exact = keras.layers.Activation("linear", name=f"{prefix}pool_lse", dtype="float32")(activation)
    largest = keras.layers.GlobalMaxPooling2D(keepdims=True, name=f"{prefix}pool_max", dtype="float32")(exact)
    spread = keras.ops.exp(LSE_SHARPNESS * (exact - largest))  # in (0, 1]: cannot overflow
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}pool_mean_exp", dtype="float32")(spread)
    return keras.layers.Flatten(name=f"{prefix}pool_flat")(largest + keras.ops.log(mean) / LSE_SHARPNESS)
