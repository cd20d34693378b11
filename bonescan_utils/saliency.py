"""Saliency: where in an image an arm saw evidence for metastasis.

Grad-CAM and its kin come from tf-keras-vis, called with the exact layer of the BACKBONES table: its own
search for "the last convolution" picks a wrong layer in four of the five backbones. Methods that need the whole
network are in `attribution`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy import ndimage as ndi
from tqdm import tqdm

from bonescan_utils.attribution import ATTRIBUTIONS
from bonescan_utils.backbones import cut_tensor, get_backbone, split_base
from bonescan_utils.forward import compile_outputs
from bonescan_utils.models import check_images

FOCUSED = "focused_"
CONTRAST_PIXELS = (0.7, 3.0)
"""Widths, in pixels of the model's image, of a focus and of what surrounds it (set on a cohort of another seed)."""

Maker = Callable[[keras.Model], Callable[[np.ndarray], np.ndarray]]
"""Of a model activation -> score makes a function activation (n, r, c, channels) -> signed map (n, r, c)."""
Explainer = Callable[[np.ndarray], tuple[dict[str, np.ndarray], np.ndarray]]


class SaliencyError(ValueError):
    """A method or model that no saliency map can be made of; one readable line."""


@dataclass(frozen=True)
class SaliencyMaps:
    """Saliency maps of some images.

    Attributes:
        maps: (n, h, w) float32, each scaled to 0-1 by its own maximum; all 0 where there is no evidence.
        raw_max: (n,) float64 maximum of each map before the scaling, in logits: what the head's logit would rise by
            if the whole image looked like that place. It tells a strong map from noise blown up to 1. (Of other methods
            than class activation maps: in their own unit.)
        method: how they were made.
        layers: the layers they explain, shallow to deep.
        y_score: (n,) float64 the model's score of each image, 0-1, from the same pass.
    """

    maps: np.ndarray
    raw_max: np.ndarray
    method: str
    layers: tuple[str, ...]
    y_score: np.ndarray


def saliency_map(model: keras.Model, images: np.ndarray, *, method: str = "gradcam", **options: Any) -> SaliencyMaps:
    """Explains the score of each image by one method; arguments and errors are those of :func:`saliency_maps`."""
    return saliency_maps(model, images, methods=[method], **options)[method]


def saliency_maps(
    model: keras.Model,
    images: np.ndarray,
    *,
    backbone: str,
    methods: Sequence[str],
    layers: Sequence[str] = (),
    batch: int = 16,
    progress: bool = False,
) -> dict[str, SaliencyMaps]:
    """Explains the score of each image by several methods, which share one forward pass.

    The logit is explained, not the score, whose gradient vanishes where the model is sure. Of a model that joins
    several layers the maps of all of them are enlarged and added; a logistic head on means is then explained without
    loss: the mean of the map before its negative part is cut off is the logit less the head's bias (Source: class
    activation mapping, Zhou et al., CVPR 2016, eq. 2, summed over layers).

    Args:
        model: a flat model with one sigmoid output, from ``assemble`` or ``load_model``.
        images: grey (n, h, w) or RGB (n, h, w, 3), values 0-255.
        backbone: key of BACKBONES; its ``last_conv`` is explained if no layer is named.
        methods: some of :data:`METHODS`.
        layers: one other layer to explain (a shallower one gives a finer map), or all that the model joins, in order.
        batch: images per pass; the last pass is filled up, so that a map does not depend on how many come with it.
        progress: show a progress bar.

    Returns:
        Method -> its maps, in the order asked for.

    Raises:
        SaliencyError: unknown method, or not the model of this backbone, or it joins other layers.
        BackboneError: unknown backbone, images of another size, or a layer that is not there or that the graph has a
            way round.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise SaliencyError(f"method {unknown[0]!r} is unknown; expected one of {', '.join(METHODS)}")
    layers = tuple(layers) or (deepest_layer(model, backbone),)
    rgb = check_images(model, images)
    explain = _explainer(model, layers, list(dict.fromkeys(method.removeprefix(FOCUSED) for method in methods)))
    raw = {method: np.zeros(images.shape[:3], np.float32) for method in methods}
    scores = np.zeros(len(images))
    for start in tqdm(range(0, len(images), batch), desc="saliency", disable=not progress, leave=False):
        at = slice(start, min(start + batch, len(images)))
        rows = np.minimum(np.arange(start, start + batch), len(images) - 1)
        found, y_score = explain(rgb(images[rows]))
        scores[at] = y_score[: at.stop - start]
        for method in methods:
            raw[method][at] = found[method.removeprefix(FOCUSED)][: at.stop - start]
    for method in methods:
        if method.startswith(FOCUSED):
            raw[method] *= contrast(images if images.ndim == 3 else images.mean(-1))
    return {method: _scaled(raw[method], method, layers, scores) for method in methods}


def _scaled(raw: np.ndarray, method: str, layers: tuple[str, ...], y_score: np.ndarray) -> SaliencyMaps:
    """Maps scaled to 0-1 one by one."""
    largest = raw.max(axis=(1, 2), initial=0.0).astype(np.float64)
    scaled = raw / np.where(largest > 0, largest, 1.0)[:, None, None]
    return SaliencyMaps(scaled.astype(np.float32), largest, method, layers, y_score)


def contrast(images: np.ndarray) -> np.ndarray:
    """How much each pixel stands out from what surrounds it, (n, h, w) float32, 0-1: a difference of Gaussians.

    Args:
        images: grey (n, h, w), 0-255.
    """
    near, far = (ndi.gaussian_filter(images.astype(np.float32), (0, sigma, sigma)) for sigma in CONTRAST_PIXELS)
    return np.asarray(np.maximum(near - far, 0.0) / 255.0)


def _explainer(model: keras.Model, layers: tuple[str, ...], methods: Sequence[str]) -> Explainer:
    """Function images float32 (n, h, w, 3) -> raw maps (n, h, w), 0 and above, of each method; and scores (n,)."""
    prefix, heads = _split_levels(model, layers)
    forward = compile_outputs(keras.Model(model.input, [*prefix.outputs, model.output]))
    makers = {method: [CAMS[method](head) for head in heads] for method in methods if method in CAMS}
    others = {method: ATTRIBUTIONS[method](model, layers[-1]) for method in methods if method in ATTRIBUTIONS}

    def explain(x: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        *activations, y_score = forward(x)
        maps = {name: _class_activation(made, activations, x.shape[1:3]) for name, made in makers.items()}
        return maps | {name: attribute(x) for name, attribute in others.items()}, y_score[:, 0]

    return explain


def _class_activation(
    makers: Sequence[Callable[[np.ndarray], np.ndarray]], activations: Sequence[np.ndarray], size: tuple[int, ...]
) -> np.ndarray:
    """The maps of all levels enlarged to ``size`` and added, (n, h, w), 0 and above."""
    raw = np.zeros((len(activations[0]), *size), np.float32)
    for cam_of, activation in zip(makers, activations, strict=True):
        cam = cam_of(activation) * (activation.shape[1] * activation.shape[2])  # a gradient of a mean is per cell
        if len(makers) == 1:
            cam = np.maximum(cam, 0.0)  # as Grad-CAM is defined; of a sum the negative part counts first
        raw += enlarge(cam, size)
    return np.maximum(raw, 0.0)


def _split_levels(model: keras.Model, layers: tuple[str, ...]) -> tuple[keras.Model, list[keras.Model]]:
    """Model image -> activations of the layers, and for each of them the model activation -> its part of the logit."""
    if len(layers) == 1:
        prefix, suffix = split_base(model, layers[0])
        return prefix, [suffix]
    tensors = [cut_tensor(model, layer) for layer in layers]
    names = [found.name for found in model.layers]
    if "pool_levels" not in names or len(model.get_layer("pool_levels").input) != len(layers):
        raise SaliencyError(f"model {model.name} does not join the {len(layers)} layers {', '.join(layers)}")
    joined, score = model.get_layer("pool_levels"), model.get_layer("score")
    ends = np.cumsum([pooled.shape[-1] for pooled in joined.input])[:-1]
    kernels = np.split(np.asarray(score.kernel), ends)
    levels = zip(tensors, joined.input, kernels, strict=True)
    return keras.Model(model.input, tensors), [_level_head(*level) for level in levels]


def _level_head(activation: Any, pooled: Any, kernel: np.ndarray) -> keras.Model:
    """Model of one level: its activation -> its pooled channels' part of the logit, without the bias."""
    part = keras.layers.Dense(1, use_bias=False, name="score", dtype="float32")
    head = keras.Model(activation, part(pooled))
    part.set_weights([kernel])
    return head


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


def _cam(class_name: str) -> Maker:
    """A maker of raw class activation maps by one class of tf-keras-vis.

    The class is given the part of the model after the layer, whose input is the activation to explain: the
    same map as from the whole model for a quarter of the work (its tape would run back to the image).
    """

    def make(suffix: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        visualiser = _tf_keras_vis(class_name)(suffix, model_modifier=_replace_to_linear(), clone=True)
        options = {
            "normalize_cam": False, "expand_cam": False, "seek_penultimate_conv_layer": False,
            "activation_modifier": None,  # the negative part is cut off by the caller
        }  # fmt: skip
        return lambda activation: np.asarray(visualiser(_logit, activation, penultimate_layer=0, **options))

    return make


CAMS: Mapping[str, Maker] = {
    "gradcam": _cam("gradcam.Gradcam"),
    "gradcam++": _cam("gradcam_plus_plus.GradcamPlusPlus"),
    "layercam": _cam("layercam.Layercam"),
}
"""Class activation maps of a layer."""

METHODS = (*CAMS, FOCUSED + "gradcam", *ATTRIBUTIONS)
"""Ways to make a saliency map. `focused_gradcam` is Grad-CAM times the image's own contrast: the map, whose cells are
coarse, is carried to the pixels that stand out there (as Guided Grad-CAM does with gradients; Selvaraju et al., ICCV
2017, section 3.2). Where nothing stands out it shows nothing, so it is to be compared with the contrast alone."""


def _logit(output: Any) -> Any:
    return output[:, 0]


def _tf_keras_vis(name: str) -> Any:
    import importlib

    module, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"tf_keras_vis.{module}"), attribute)


def _replace_to_linear() -> Any:
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear

    return ReplaceToLinear()
