"""Attribution: saliency from the whole network, image in and logit out, rather than from one layer's activation.

They cost many forward or backward passes an image: Score-CAM one a channel, the gradients a dozen and more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bonescan_utils.backbones import cut_tensor

STEPS = 24
"""Points on the path of integrated gradients."""
SAMPLES, NOISE = 12, 0.1
"""SmoothGrad: noisy copies an image, and their noise as a share of the image's range."""

Attribution = Callable[[np.ndarray], np.ndarray]
"""Takes images float32 (n, h, w, 3), 0-255; returns raw maps (n, h, w), 0 and above."""


def score_cam(model: keras.Model, layer: str) -> Attribution:
    """Score-CAM of one layer: a channel weighs as much as the logit rises when only its places are shown.

    The rise is that over a black image, as in the paper's equation; its softmax over outputs would give every channel
    of a model with one output the same weight.

    Source: Wang et al., Score-CAM, CVPR workshops 2020, eqs. 4-6.
    """
    both = keras.Model(model.input, [cut_tensor(model, layer), _logit_tensor(model)])
    run = tf.function(lambda x: both(x, training=False))

    def explain(images: np.ndarray) -> np.ndarray:
        return np.stack([_score_cam_of(run, image) for image in images])

    return explain


def _score_cam_of(run: Any, image: np.ndarray) -> np.ndarray:
    """The map of one image (h, w, 3), in logits."""
    activation, _ = run(tf.constant(image[None]))
    maps = tf.image.resize(tf.cast(activation[0], tf.float32)[None], image.shape[:2])[0]  # (h, w, channels)
    low, high = tf.reduce_min(maps, (0, 1)), tf.reduce_max(maps, (0, 1))
    masks = tf.transpose((maps - low) / tf.maximum(high - low, 1e-12), (2, 0, 1))[..., None]  # (channels, h, w, 1)
    black = run(tf.zeros_like(image[None]))[1][0]
    rises = [run(image[None] * masks[at : at + 16])[1] - black for at in range(0, masks.shape[0], 16)]
    weights = tf.where(high > low, tf.concat(rises, 0), 0.0)  # an even channel shows nothing
    return np.maximum(tf.linalg.matvec(maps, weights).numpy(), 0.0)


def integrated_gradients(model: keras.Model, layer: str) -> Attribution:
    """Integrated gradients from a black image, summed over the three channels; the negative part is cut off.

    The whole, before that, adds up to the logit less that of a black image (completeness).

    Source: Sundararajan et al., ICML 2017, eq. 3, midpoint rule.
    """
    gradient = _gradient(model)
    shares = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS

    def explain(images: np.ndarray) -> np.ndarray:
        return np.stack([np.maximum(completed(gradient, image, shares), 0.0) for image in images])

    return explain


def completed(gradient: Callable[[tf.Tensor], tf.Tensor], image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Signed integrated gradients (h, w) of one image (h, w, 3)."""
    path = shares[:, None, None, None] * image[None]
    return (image * gradient(tf.constant(path)).numpy().mean(0)).sum(-1)


def smooth_grad(model: keras.Model, layer: str) -> Attribution:
    """SmoothGrad: the size of the logit's gradient, over noisy copies of the image (the same noise for every image).

    Source: Smilkov et al., arXiv 1706.03825.
    """
    gradient = _gradient(model)

    def explain(images: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, NOISE * 255, (SAMPLES, *images.shape[1:])).astype(np.float32)
        found = (gradient(tf.constant(image[None] + noise)).numpy() for image in images)
        return np.stack([np.abs(each).sum(-1).mean(0) for each in found])

    return explain


def _gradient(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    logit = keras.Model(model.input, _logit_tensor(model))

    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(logit(x, training=False))
        return tape.gradient(total, x)

    return tf.function(gradient, reduce_retracing=True)


def _logit_tensor(model: keras.Model) -> Any:
    """The logit (n,) of a model whose layer `score` ends in a sigmoid."""
    score = model.get_layer("score")
    kernel, bias = (np.asarray(w) for w in score.get_weights())
    plain = keras.layers.Dense(1, dtype="float32", name="logit")
    logit = plain(score.input)
    plain.set_weights([kernel, bias])
    return keras.layers.Flatten()(logit)[:, 0]


ATTRIBUTIONS: dict[str, Callable[[keras.Model, str], Attribution]] = {
    "scorecam": score_cam,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smooth_grad,
}
