"""Heads: pooling and dense layers, attached to a backbone's activation in one flat graph."""

from __future__ import annotations

from typing import Any

import keras

from bonescan_utils.arms import Arm

LSE_SHARPNESS = 5.0
"""Sharpness r of log-mean-exp pooling: 0 is the mean, infinity the maximum."""


def pool(activation: Any, pooling: str) -> Any:
    """Pools an activation (n, rows, columns, channels) to a float32 vector (n, channels or 2 x channels).

    ``lse`` is log-mean-exp, ``log(mean(exp(r x))) / r`` (Source: Pinheiro & Collobert, CVPR 2015, eq. 6).
    """
    average = keras.layers.GlobalAveragePooling2D(name="pool_avg", dtype="float32")
    maximum = keras.layers.GlobalMaxPooling2D(name="pool_max", dtype="float32")
    if pooling == "avg":
        return average(activation)
    if pooling == "max":
        return maximum(activation)
    if pooling == "avg_max":
        joined = keras.layers.Concatenate(name="pool_avg_max", dtype="float32")
        return joined([average(activation), maximum(activation)])
    return _log_mean_exp(activation)


def attach_head(activation: Any, arm: Arm, *, activation_function: str | None, seed: int = 0) -> Any:
    """Attaches an arm's head to a backbone's activation.

    Args:
        activation: symbolic tensor (n, rows, columns, channels).
        arm: settings of the head.
        activation_function: ``sigmoid`` for a score 0-1, None for the logit.
        seed: seed of the initialisation and of the dropout.

    Returns:
        The symbolic float32 output (n, 1) of the layer named ``score``.
    """
    pooled = pool(activation, arm.pooling)
    layers, glorot = keras.layers, keras.initializers.GlorotUniform
    if arm.dense_units:
        hidden = layers.Dense(arm.dense_units, "relu", kernel_initializer=glorot(seed), name="hidden", dtype="float32")
        pooled = hidden(pooled)
    if arm.dropout:
        pooled = layers.Dropout(arm.dropout, seed=seed + 1, name="dropout", dtype="float32")(pooled)
    score = layers.Dense(1, activation_function, kernel_initializer=glorot(seed + 2), name="score", dtype="float32")
    return score(pooled)


def _log_mean_exp(activation: Any) -> Any:
    exact = keras.layers.Activation("linear", name="pool_lse", dtype="float32")(activation)
    largest = keras.layers.GlobalMaxPooling2D(keepdims=True, name="pool_max", dtype="float32")(exact)
    spread = keras.ops.exp(LSE_SHARPNESS * (exact - largest))  # in (0, 1]: cannot overflow
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool_mean_exp", dtype="float32")(spread)
    return keras.layers.Flatten(name="pool_flat")(largest + keras.ops.log(mean) / LSE_SHARPNESS)
