"""Heads: pooling and dense layers, attached to a backbone's activation in one flat graph."""

from __future__ import annotations

from typing import Any

import keras

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import cut_tensor

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
