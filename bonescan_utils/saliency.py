"""Saliency: where in an image an arm saw evidence for metastasis.

Grad-CAM and its kin come from tf-keras-vis, called with the exact layer of the BACKBONES table: its own
search for "the last convolution" picks a wrong layer in four of the five backbones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from bonescan_utils.backbones import get_backbone, split_base
from bonescan_utils.forward import compile_forward
from bonescan_utils.models import check_images

Maker = Callable[[keras.Model], Callable[[np.ndarray], np.ndarray]]
"""Of a model activation -> score makes a function activation (n, r, c, channels) -> map (n, r, c)."""


class SaliencyError(ValueError):
    """A method or model that no saliency map can be made of; one readable line."""


@dataclass(frozen=True)
class SaliencyMaps:
    """Saliency maps of some images.

    Attributes:
        maps: (n, h, w) float32, each scaled to 0-1 by its own maximum; all 0 where there is no evidence.
        raw_max: (n,) float64 maximum of each map before the scaling, in logit per activation unit: it tells a
            strong map from noise blown up to 1.
        method: how they were made.
        layer: the layer they explain.
    """

    maps: np.ndarray
    raw_max: np.ndarray
    method: str
    layer: str


def saliency_map(
    model: keras.Model,
    images: np.ndarray,
    *,
    backbone: str,
    method: str = "gradcam",
    layer: str | None = None,
    batch: int = 16,
    progress: bool = False,
) -> SaliencyMaps:
    """Explains the score of each image.

    The logit is explained, not the score, whose gradient vanishes where the model is sure.

    Args:
        model: a flat model with one sigmoid output, from ``assemble`` or ``load_model``.
        images: grey (n, h, w) or RGB (n, h, w, 3), values 0-255.
        backbone: key of BACKBONES; its ``last_conv`` is explained.
        method: a key of :data:`METHODS`.
        layer: another layer to explain (a shallower one gives a finer map).
        batch: images per pass.
        progress: show a progress bar.

    Raises:
        SaliencyError: unknown method, or not the model of this backbone.
        BackboneError: unknown backbone, images of another size, or a layer that the graph has a way round.
    """
    if method not in METHODS:
        raise SaliencyError(f"method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    layer = layer or deepest_layer(model, backbone)
    rgb = check_images(model, images)
    prefix, suffix = split_base(model, layer)
    forward, explain = compile_forward(prefix), METHODS[method](suffix)
    raw = np.zeros(images.shape[:3], np.float32)
    for start in tqdm(range(0, len(images), batch), desc=method, disable=not progress, leave=False):
        at = slice(start, start + batch)
        raw[at] = enlarge(explain(forward(rgb(images[at]))), images.shape[1:3])
    largest = raw.max(axis=(1, 2), initial=0.0).astype(np.float64)
    scaled = raw / np.where(largest > 0, largest, 1.0)[:, None, None]
    return SaliencyMaps(scaled.astype(np.float32), largest, method, layer)


def deepest_layer(model: keras.Model, backbone: str) -> str:
    """The backbone's ``last_conv``.

    Raises:
        SaliencyError: the model lacks it, or its activation has another number of channels.
    """
    row = get_backbone(backbone)
    channels = {found.name: found.output.shape[-1] for found in model.layers if found.name == row.last_conv}
    if channels.get(row.last_conv) != row.channels:
        raise SaliencyError(
            f"model {model.name} has no layer {row.last_conv!r} with {row.channels} channels: "
            f"it is not a flat {row.title}, or its head is attached to a shallower layer; name a layer"
        )
    return row.last_conv


def enlarge(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps (n, rows, columns) bilinearly enlarged to ``size`` (h, w), cell centre on cell centre.

    The enlargement of tf-keras-vis puts the first and last cells' centres on the image's edges, which moves a
    focus by up to half a cell (16 pixels).
    """
    import tensorflow as tf

    return tf.image.resize(np.asarray(maps, np.float32)[..., None], size, method="bilinear")[..., 0].numpy()


def saliency_in_mask(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Share (0-1) of a saliency map's sum that lies inside a mask of the same shape; NaN for an empty map.

    By chance it is the mask's share of the area. Source: "energy-based pointing game", Wang et al.,
    Score-CAM, CVPR workshops 2020.
    """
    saliency, mask = np.asarray(saliency, np.float64), np.asarray(mask, bool)
    if saliency.shape != mask.shape:
        raise SaliencyError(f"saliency map {saliency.shape} and mask {mask.shape} differ in shape")
    total = saliency.sum()
    return float(saliency[mask].sum() / total) if total > 0 else float("nan")


def _cam(class_name: str) -> Maker:
    """A maker of raw class activation maps by one class of tf-keras-vis.

    The class is given the part of the model after the layer, whose input is the activation to explain: the
    same map as from the whole model for a quarter of the work (its tape would run back to the image).
    """

    def make(suffix: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        visualiser = _tf_keras_vis(class_name)(suffix, model_modifier=_replace_to_linear(), clone=True)
        options = {"normalize_cam": False, "expand_cam": False, "seek_penultimate_conv_layer": False}
        return lambda activation: np.asarray(visualiser(_logit, activation, penultimate_layer=0, **options))

    return make


METHODS: Mapping[str, Maker] = {
    "gradcam": _cam("gradcam.Gradcam"),
    "gradcam++": _cam("gradcam_plus_plus.GradcamPlusPlus"),
    "layercam": _cam("layercam.Layercam"),
}
"""Ways to make a saliency map. Score-CAM is not among them: with one output it weighs all channels alike."""


def _logit(output: Any) -> Any:
    return output[:, 0]


def _tf_keras_vis(name: str) -> Any:
    import importlib

    module, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"tf_keras_vis.{module}"), attribute)


def _replace_to_linear() -> Any:
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear

    return ReplaceToLinear()
